//! `runtime.toml` -> [`Descriptor`], strictly: all findings at once, each with its place.

use super::finding::{Finding, FindingKind, Findings, Source};
use super::overrides;
use super::quantity::{self, Measure};
use super::reader::{Reader, Section, Spanned};
use super::{Call, Descriptor, Handler, Overhead, Relocate, Requirement};
use crate::name::{HandlerName, HostPath, PackagePath, RuntimeName, Version};
use toml_edit::Document;

/// The form of descriptors that this release reads.
const SCHEMA: i64 = 1;

/// A descriptor is written by hand and read whole.
const MAX_BYTES: usize = 1 << 20;

const TOP: &[&str] = &["schema", "name", "version", "prefix", "setuid", "handler", "base", "relocate"];
const HANDLER: &[&str] = &[
    "name",
    "shim",
    "oci-runtime",
    "config",
    "pod-annotations",
    "container-annotations",
    "privileged-without-host-devices",
    "snapshotter",
    "overhead",
    "requires",
    "engine",
];
const OVERHEAD: &[&str] = &["cpu", "memory"];
const BASE: &[&str] = &["runtime"];
const RELOCATE: &[&str] = &["files", "from", "keys", "keep", "by-name"];

/// Where a descriptor's version comes from.
pub(crate) enum VersionSource<'a> {
    /// The text's own `version`.
    Own,
    /// From outside: a preset's text has none.
    Given(&'a Version),
}

/// Reads a package's `runtime.toml`. `source_name` is what messages call the file.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse(source_name: &str, text: &str) -> Result<Descriptor, Findings> {
    parse_with(source_name, text, &VersionSource::Own)
}

pub(crate) fn parse_with(
    name: &str,
    text: &str,
    version: &VersionSource<'_>,
) -> Result<Descriptor, Findings> {
    let source = Source { name, text };
    if text.len() > MAX_BYTES {
        let mut finding = source.finding(FindingKind::TooLarge, None, "larger than 1 MiB: not a descriptor");
        finding.hint =
            Some("runtime.toml holds a few lines for each handler; see docs/descriptor.md".to_owned());
        return Err(Findings::new(vec![finding]));
    }
    let document = Document::parse(text).map_err(|error| Findings::new(vec![syntax(&source, &error)]))?;
    let mut reader = Reader::new(source);
    let top = Section::new(document.as_table(), "the descriptor", None);
    let descriptor = descriptor(&mut reader, &top, version);
    match descriptor {
        Some(descriptor) if reader.findings.is_empty() => Ok(descriptor),
        _ => {
            reader.findings.sort_by_key(|f| f.place.as_ref().map(|place| (place.line, place.column)));
            Err(Findings::new(reader.findings))
        }
    }
}

pub(crate) fn syntax(source: &Source<'_>, error: &toml_edit::TomlError) -> Finding {
    let message = error.message().trim().replace('\n', ", ");
    let mut finding =
        source.finding(FindingKind::Syntax, error.span().as_ref(), &format!("not TOML: {message}"));
    if message.contains("duplicate key") {
        finding.kind = FindingKind::Duplicate;
        finding.hint = Some("a key may stand once in its table: remove one of the two".to_owned());
    }
    finding
}

/// None only if there is a finding.
fn descriptor(reader: &mut Reader<'_>, top: &Section<'_>, version: &VersionSource<'_>) -> Option<Descriptor> {
    // A descriptor of another schema would give findings without meaning: its one finding is enough.
    schema(reader, top)?;
    reader.only(top, TOP, |key| {
        if HANDLER.contains(&key) {
            return Some(format!("`{key}` belongs in a `[[handler]]` table"));
        }
        RELOCATE.contains(&key).then(|| format!("`{key}` belongs in `[relocate]`"))
    });
    let name = required::<RuntimeName>(reader, top, "name", "name = \"kata\"");
    let version = match version {
        VersionSource::Own => required(reader, top, "version", "version = \"1.0.0\""),
        VersionSource::Given(version) => {
            if top.has("version") {
                let hint = Some("it is given, or stands in the package's file VERSION".to_owned());
                let span = top.key_span("version");
                reader.report(
                    FindingKind::Contradiction,
                    &span,
                    "a preset has no `version` of its own",
                    hint,
                );
            }
            Some((*version).clone())
        }
    };
    let handlers = handlers(reader, top);
    let base = base(reader, top, name.as_ref());
    let relocate = relocate(reader, top);
    let (prefix, setuid) = (paths(reader, top, "prefix"), paths(reader, top, "setuid"));
    Some(Descriptor { name: name?, version: version?, handlers, base, relocate, prefix, setuid })
}

fn paths(reader: &mut Reader<'_>, top: &Section<'_>, key: &'static str) -> Vec<PackagePath> {
    let mut found = Vec::new();
    for Spanned { value, span } in reader.texts(top, key) {
        match PackagePath::new(value) {
            Ok(path) => found.push(path),
            Err(error) => reader.bad_name(&span, key, &error),
        }
    }
    found
}

pub(crate) fn schema(reader: &mut Reader<'_>, top: &Section<'_>) -> Option<()> {
    if !top.has("schema") {
        reader.missing(top, "schema", "schema = 1");
        return Some(());
    }
    let Spanned { value, span } = reader.integer(top, "schema")?;
    if value == SCHEMA {
        return Some(());
    }
    let hint = if value > SCHEMA {
        "install a newer Cofferdam, or write `schema = 1`"
    } else {
        "write `schema = 1`"
    };
    let message = format!("schema {value} is not known: this release reads schema {SCHEMA}");
    reader.report(FindingKind::Schema, &span, &message, Some(hint.to_owned()));
    None
}

fn required<T>(reader: &mut Reader<'_>, section: &Section<'_>, key: &str, example: &str) -> Option<T>
where
    T: std::str::FromStr<Err = crate::name::NameError>,
{
    if !section.has(key) {
        reader.missing(section, key, example);
        return None;
    }
    reader.named(section, key).map(|spanned| spanned.value)
}

fn handlers(reader: &mut Reader<'_>, top: &Section<'_>) -> Vec<Handler> {
    let sections = reader.sections(top, "handler", "`[[handler]]`");
    if sections.is_empty() && reader.findings.iter().all(|f| f.kind != FindingKind::WrongType) {
        reader.missing(top, "handler", "[[handler]]");
    }
    let mut seen: Vec<HandlerName> = Vec::new();
    let mut handlers = Vec::new();
    for section in &sections {
        let name = handler_name(reader, section);
        if let Some(name) = &name {
            if seen.contains(name) {
                let hint = Some("every handler of an engine has a name of its own".to_owned());
                let message = format!("two handlers are named `{name}`");
                reader.report(FindingKind::Duplicate, &section.value_span("name"), &message, hint);
            }
            seen.push(name.clone());
        }
        handlers.extend(handler(reader, section, name));
    }
    handlers
}

fn handler_name(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<HandlerName> {
    let name: HandlerName = required(reader, section, "name", "name = \"kata-qemu\"")?;
    if name.as_str() == "runc" {
        let hint = Some("choose another name, e.g. `runc-2`".to_owned());
        let message = "`runc` is the name of the engines' own default handler";
        reader.report(FindingKind::BadName, &section.value_span("name"), message, hint);
    }
    Some(name)
}

/// None only if there is a finding.
fn handler(reader: &mut Reader<'_>, section: &Section<'_>, name: Option<HandlerName>) -> Option<Handler> {
    reader.only(section, HANDLER, |key| match key {
        "files" | "from" | "keys" | "keep" | "by-name" => Some(format!("`{key}` belongs in `[relocate]`")),
        "runtime-type" | "config-type-url" | "entry" | "options" => {
            Some(format!("`{key}` belongs in `[handler.engine.containerd]`"))
        }
        "version" | "schema" => Some(format!("`{key}` belongs at the top, before the first `[[handler]]`")),
        _ => None,
    });
    let call = call(reader, section);
    let config = reader.named::<PackagePath>(section, "config");
    if config.is_some() && matches!(call, Some(Call::OciRuntime(_))) {
        let hint =
            Some("an OCI runtime is given no configuration file by its engine: remove `config`".to_owned());
        let span = section.key_span("config");
        reader.report(FindingKind::Contradiction, &span, "`config` needs a `shim`", hint);
    }
    let snapshotter = snapshotter(reader, section);
    let overhead = overhead(reader, section);
    let pod_annotations = owned(reader.texts(section, "pod-annotations"));
    let container_annotations = owned(reader.texts(section, "container-annotations"));
    let privileged_without_host_devices = reader.flag(section, "privileged-without-host-devices");
    let requires = requires(reader, section);
    let containerd = overrides::engines(reader, section);
    Some(Handler {
        name: name?,
        call: call?,
        config: config.map(|config| config.value),
        pod_annotations,
        container_annotations,
        privileged_without_host_devices,
        snapshotter,
        overhead,
        requires,
        containerd,
    })
}

fn call(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Call> {
    let shim = reader.named(section, "shim");
    let oci = reader.named(section, "oci-runtime");
    match (section.has("shim"), section.has("oci-runtime")) {
        (true, true) => {
            let hint = Some("keep the one by which engines shall call this runtime".to_owned());
            let span = section.key_span("oci-runtime");
            let message = "a handler has a `shim` or an `oci-runtime`, not both";
            reader.report(FindingKind::Contradiction, &span, message, hint);
            None
        }
        (false, false) => {
            let hint = "add `shim = \"bin/containerd-shim-...-v2\"` or `oci-runtime = \"bin/...\"`";
            let message = "`[[handler]]` has neither `shim` nor `oci-runtime`";
            reader.report(FindingKind::MissingKey, section.span(), message, Some(hint.to_owned()));
            None
        }
        _ => shim.map(|s| Call::Shim(s.value)).or_else(|| oci.map(|o| Call::OciRuntime(o.value))),
    }
}

fn snapshotter(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<String> {
    let Spanned { value, span } = reader.text(section, "snapshotter")?;
    // containerd's identifiers (pkg/identifiers): letters and digits, with `.`, `_` or `-` between them.
    let inner = |b: u8| b.is_ascii_alphanumeric();
    let fits = value.bytes().all(|b| inner(b) || matches!(b, b'.' | b'_' | b'-'))
        && value.bytes().next().is_some_and(inner)
        && value.bytes().last().is_some_and(inner)
        && value.len() <= 76;
    if !fits {
        let hint = Some("e.g. `devmapper`, `nydus` or `erofs`".to_owned());
        let message = format!("`snapshotter`: `{value}` is not a snapshotter's name");
        reader.report(FindingKind::BadName, &span, &message, hint);
    }
    Some(value.to_owned())
}

fn requires(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<Requirement> {
    let mut found = Vec::new();
    for Spanned { value, span } in reader.texts(section, "requires") {
        match Requirement::find(value) {
            Some(requirement) => found.push(requirement),
            None => {
                let message = format!("`requires`: `{value}` is not something that a host is checked for");
                reader.report(FindingKind::BadValue, &span, &message, Some(Requirement::hint(value)));
            }
        }
    }
    found
}

fn owned(texts: Vec<Spanned<&str>>) -> Vec<String> {
    texts.into_iter().map(|text| text.value.to_owned()).collect()
}

fn overhead(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Overhead> {
    let table = reader.section(section, "overhead", "`overhead`")?;
    reader.only(&table, OVERHEAD, |_| None);
    let cpu = quantity(reader, &table, "cpu", Measure::Cpu);
    let memory = quantity(reader, &table, "memory", Measure::Memory);
    if !table.has("cpu") && !table.has("memory") {
        reader.missing(&table, "cpu` or `memory", "memory = \"320Mi\"");
    }
    Some(Overhead { cpu, memory })
}

fn quantity(reader: &mut Reader<'_>, table: &Section<'_>, key: &str, measure: Measure) -> Option<String> {
    let Spanned { value, span } = reader.text(table, key)?;
    if let Err(wrong) = quantity::check(value, measure) {
        reader.report(
            FindingKind::BadQuantity,
            &span,
            &format!("`{key}`: {}", wrong.message),
            Some(wrong.hint),
        );
    }
    Some(value.to_owned())
}

fn base(reader: &mut Reader<'_>, top: &Section<'_>, own: Option<&RuntimeName>) -> Option<RuntimeName> {
    let table = reader.section(top, "base", "`[base]`")?;
    reader.only(&table, BASE, |_| None);
    let base: RuntimeName = required(reader, &table, "runtime", "runtime = \"kata\"")?;
    if Some(&base) == own {
        let hint =
            Some("name the other runtime whose files this package needs, or remove `[base]`".to_owned());
        let span = table.value_span("runtime");
        reader.report(FindingKind::Contradiction, &span, "a package cannot be its own base", hint);
    }
    Some(base)
}

fn relocate(reader: &mut Reader<'_>, top: &Section<'_>) -> Option<Relocate> {
    let table = reader.section(top, "relocate", "`[relocate]`")?;
    reader.only(&table, RELOCATE, |_| None);
    let from: Option<HostPath> = required(reader, &table, "from", "from = \"/opt/kata\"");
    if from.as_ref().is_some_and(|from| from.as_str() == "/") {
        let hint = Some("write the folder for which the package was built, e.g. `/opt/kata`".to_owned());
        let message = "`from` is `/`: every absolute path would move";
        reader.report(FindingKind::BadValue, &table.value_span("from"), message, hint);
    }
    let files = reader.texts(&table, "files");
    if !table.has("files") {
        reader.missing(&table, "files", "files = [\"etc/*.toml\"]");
    }
    for file in &files {
        if let Err(error) = PackagePath::new(file.value) {
            reader.bad_name(&file.span, "files", &error);
        } else if file.value.split('/').any(|part| part == "**") {
            let hint = Some("`*` does not cross `/`: write one pattern for each depth".to_owned());
            let message = format!("`files`: `{}` uses `**`, which is not supported", file.value);
            reader.report(FindingKind::NotSupported, &file.span, &message, hint);
        }
    }
    let mut keys = |name| owned(reader.texts(&table, name));
    let (keys, keep, by_name) = (keys("keys"), keys("keep"), keys("by-name"));
    Some(Relocate { files: owned(files), from: from?, keys, keep, by_name })
}
