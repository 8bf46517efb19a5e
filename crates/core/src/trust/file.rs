//! A policy's text: TOML, read strictly.

use super::{Accept, Identity, Keyless, NamedKey, Pattern, Policy, PublicKey, Rule, Scope, TrustRoot};
use crate::descriptor::finding::Source;
use crate::descriptor::reader::{Reader, Section, Span, Spanned};
use crate::descriptor::{FindingKind, Findings, schema, syntax};
use toml_edit::Document;

/// The largest policy that is read.
const MOST: usize = 1 << 20;

const TOP: &[&str] = &["schema", "rule"];
const RULE: &[&str] = &["match", "accept", "keys", "signers", "trust-root"];
const SIGNER: &[&str] = &["identity", "issuer"];
const ACCEPT: &str = "`accept` is \"anything\", \"digest\", \"key\" or \"keyless\"";

/// Gives the text of a file that a policy names, or says why there is none.
type Files<'f> = dyn FnMut(&str) -> Result<String, String> + 'f;

/// Reads a policy. `name` is what messages call it; `files` gives the keys and trust roots that it names.
///
/// # Errors
/// Everything that is wrong with it, in its order.
pub fn parse_policy(name: &str, text: &str, files: &mut Files<'_>) -> Result<Policy, Findings> {
    let source = Source { name, text };
    if text.len() > MOST {
        let finding = source.finding(FindingKind::TooLarge, None, "larger than 1 MiB: not a policy");
        return Err(Findings::new(vec![finding]));
    }
    let document = Document::parse(text).map_err(|error| Findings::new(vec![syntax(&source, &error)]))?;
    let mut reader = Reader::new(source);
    let top = Section::new(document.as_table(), "the policy", None);
    if schema(&mut reader, &top).is_some() {
        reader.only(&top, TOP, |key| {
            RULE.contains(&key).then(|| format!("`{key}` belongs in a `[[rule]]` table"))
        });
    }
    let rules = rules(&mut reader, &top, files);
    reader.findings.sort_by_key(|f| f.place.as_ref().map(|place| (place.line, place.column)));
    Findings::check(reader.findings)?;
    Ok(Policy { name: name.to_owned(), rules })
}

fn rules(reader: &mut Reader<'_>, top: &Section<'_>, files: &mut Files<'_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for section in reader.sections(top, "rule", "a `[[rule]]`") {
        let Some(rule) = rule(reader, &section, files) else { continue };
        if rules.iter().any(|other| other.scope == rule.scope) {
            let message = format!("a second rule for `{}`", rule.scope);
            let hint = Some("make one rule of the two; a rule may name several keys or signers".to_owned());
            reader.report(FindingKind::Duplicate, &section.value_span("match"), &message, hint);
        }
        rules.push(rule);
    }
    rules
}

/// Reads what goes with a way to accept.
type ReadAccept = fn(&mut Reader<'_>, &Section<'_>, &mut Files<'_>) -> Option<Accept>;

/// None only if there is a finding.
fn rule(reader: &mut Reader<'_>, section: &Section<'_>, files: &mut Files<'_>) -> Option<Rule> {
    reader.only(section, RULE, |key| {
        SIGNER
            .contains(&key)
            .then(|| "write `signers = [{ identity = \"...\", issuer = \"...\" }]`".to_owned())
    });
    let scope = required(reader, section, "match", "match = \"ghcr.io/acme\"").and_then(|text| {
        Scope::new(text.value).map_err(|error| bad(reader, &text.span, "match", &error)).ok()
    });
    let accept = required(reader, section, "accept", "accept = \"key\"").and_then(|text| {
        let (needed, read): (&[&str], ReadAccept) = match text.value {
            "anything" => (&[], |_, _, _| Some(Accept::Anything)),
            "digest" => (&[], |_, _, _| Some(Accept::Digest)),
            "key" => (&["keys"], keys),
            "keyless" => (&["signers", "trust-root"], keyless),
            other => {
                let message = format!("`{other}` is nothing that can be accepted");
                reader.report(FindingKind::BadValue, &text.span, &message, Some(ACCEPT.to_owned()));
                return None;
            }
        };
        for key in ["keys", "signers", "trust-root"] {
            if section.has(key) && !needed.contains(&key) {
                let message = format!("`{key}` has no meaning with `accept = \"{}\"`", text.value);
                reader.report(FindingKind::Contradiction, &section.key_span(key), &message, None);
            }
        }
        read(reader, section, files)
    });
    Some(Rule { scope: scope?, accept: accept? })
}

fn keys(reader: &mut Reader<'_>, section: &Section<'_>, files: &mut Files<'_>) -> Option<Accept> {
    let names = reader.texts(section, "keys");
    if !section.has("keys") {
        reader.missing(section, "keys", "keys = [\"cosign.pub\"]");
    } else if names.is_empty() {
        let hint = Some("name a file with a public key".to_owned());
        reader.report(FindingKind::BadValue, &section.value_span("keys"), "`keys` names no key", hint);
    }
    let mut keys = Vec::new();
    for Spanned { value, span } in names {
        let key = files(value).and_then(|text| PublicKey::from_pem(&text));
        match key {
            Ok(key) => keys.push(NamedKey { name: value.to_owned(), key }),
            Err(reason) => bad(reader, &span, "keys", &format!("{value}: {reason}")),
        }
    }
    Some(Accept::Key(keys))
}

fn keyless(reader: &mut Reader<'_>, section: &Section<'_>, files: &mut Files<'_>) -> Option<Accept> {
    let signers = signers(reader, section);
    let file = required(reader, section, "trust-root", "trust-root = \"trusted_root.json\"")?;
    match files(file.value).and_then(TrustRoot::new) {
        Ok(root) => Some(Accept::Keyless(Keyless { signers, root })),
        Err(reason) => {
            bad(reader, &file.span, "trust-root", &format!("{}: {reason}", file.value));
            None
        }
    }
}

fn signers(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<Identity> {
    let sections = reader.sections(section, "signers", "a signer");
    if !section.has("signers") {
        reader.missing(section, "signers", "signers = [{ identity = \"...\", issuer = \"...\" }]");
    } else if sections.is_empty() && reader.findings.is_empty() {
        let span = section.value_span("signers");
        reader.report(FindingKind::BadValue, &span, "`signers` names nobody", None);
    }
    let mut signers = Vec::new();
    for signer in sections {
        reader.only(&signer, SIGNER, |_| None);
        let identity = required(reader, &signer, "identity", "identity = \"ann@example.com\"");
        let identity = identity.and_then(|text| {
            Pattern::new(text.value).map_err(|error| bad(reader, &text.span, "identity", &error)).ok()
        });
        let issuer = required(reader, &signer, "issuer", "issuer = \"https://accounts.google.com\"");
        let issuer = issuer.and_then(|text| match text.value {
            "" => {
                bad(reader, &text.span, "issuer", "it is empty");
                None
            }
            issuer if issuer.contains('*') => {
                bad(reader, &text.span, "issuer", "an issuer is named exactly, not by a pattern");
                None
            }
            issuer => Some(issuer.to_owned()),
        });
        if let (Some(identity), Some(issuer)) = (identity, issuer) {
            signers.push(Identity { identity, issuer });
        }
    }
    signers
}

fn required<'t>(
    reader: &mut Reader<'_>,
    section: &Section<'t>,
    key: &str,
    example: &str,
) -> Option<Spanned<&'t str>> {
    if !section.has(key) {
        reader.missing(section, key, example);
    }
    reader.text(section, key)
}

fn bad(reader: &mut Reader<'_>, span: &Span, key: &str, reason: &str) {
    reader.report(FindingKind::BadValue, span, &format!("`{key}`: {reason}"), None);
}
