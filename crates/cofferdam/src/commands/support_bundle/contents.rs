//! What goes into a bundle. Each part goes through `redact`; a part that cannot be had says why.

use crate::cli::NodeArgs;
use crate::commands::{doctor, status};
use cofferdam_core::class::Class;
use cofferdam_core::engine::containerd::Effective;
use cofferdam_core::name::HostPath;
use cofferdam_core::plan::{self, WORKER_UNIT};
use cofferdam_core::redact;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::process::Command;
use cofferdam_host::root::HostRoot;
use cofferdam_host::store::Store;
use cofferdam_host::survey::Survey;
use cofferdam_host::systemd::Manager;
use cofferdam_host::{history, observe};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Our unit that recovers at boot.
const RECOVER_UNIT: &str = "cofferdam-recover.service";

/// Where registries' hosts are described, unless the engine says otherwise.
const CERTS: &str = "/etc/containerd/certs.d";

const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// One file of a bundle.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) about: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// All files of a bundle.
pub(super) struct Contents {
    parts: Vec<Part>,
}

impl Contents {
    /// Looks at the node. What cannot be looked at is told in the bundle: it may be what is wrong.
    pub(super) fn gather(node: &NodeArgs, time: &str) -> Result<Self> {
        let root = node.open_root()?;
        let store = Store::new(&root)?;
        let mut contents = Self { parts: Vec::new() };
        contents.json("versions.json", "versions and when this was made", Ok(versions(&root, time)));
        let options = node.survey();
        contents.json("status.json", "cofferdam status", status::document(&root, &options));
        contents.json("doctor.json", "cofferdam doctor", doctor::document(&root, &options));
        let mut survey = Survey::take(&root, &options);
        let drift = survey.as_mut().map_err(|error| HostError::new(error.class(), error.chain()));
        let drift = drift.and_then(|survey| survey.plan(plan::drift)).and_then(|drift| value(&drift));
        contents.json("verify.json", "cofferdam verify: what is not as it was installed", drift);
        let log = history::read(&store).and_then(|log| value(&log.entries));
        contents.json("log.json", "what was done here", log);
        for (name, about) in [
            ("ledger.json", "what is installed, and every object that is Cofferdam's"),
            ("journal.json", "the change under way, or interrupted"),
        ] {
            if let Some(found) = record(&root, name).transpose() {
                contents.json(name, about, found);
            }
        }
        contents.of_engine(&root, survey.as_ref().ok());
        if root.is_live() {
            for unit in [node.unit.as_str(), WORKER_UNIT, RECOVER_UNIT] {
                contents.of_unit(&root, unit);
            }
            contents.of_our_journal();
        }
        Ok(contents)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// The engine's configuration: its files, those that they import, its own dump, and registries' hosts.
    fn of_engine(&mut self, root: &HostRoot, survey: Option<&Survey<'_>>) {
        let dump = survey.and_then(|survey| survey.engine.dump.as_deref());
        let files = match survey {
            Some(survey) => Ok(survey.engine.files.clone()),
            None => path(observe::DEFAULT_CONFIG).and_then(|config| observe::config_files(root, &config)),
        };
        match files {
            Ok(files) => {
                for (path, text) in &files {
                    self.toml(&format!("engine{path}"), "a file of the engine's configuration", text);
                }
            }
            Err(error) => {
                self.text("engine/config.txt", "why the configuration cannot be read", &error.chain());
            }
        }
        if let Some(dump) = dump {
            self.toml("engine/dump.toml", "the engine's effective configuration", dump);
        }
        for file in hosts_files(root, dump) {
            if let Ok(Some(text)) = read_text(root, &file) {
                self.toml(&format!("engine{file}"), "a registry's hosts", &text);
            }
        }
    }

    fn of_unit(&mut self, root: &HostRoot, name: &str) {
        let state = match Manager::connect().and_then(|mut systemd| systemd.unit(name)) {
            Ok(state) => state,
            Err(error) => {
                let file = format!("units/{name}.txt");
                return self.text(&file, "why systemd cannot be asked", &error.to_string());
            }
        };
        self.json(&format!("units/{name}.json"), "a unit's state", value(&state));
        let files = std::iter::once(&state.fragment_path).chain(&state.drop_in_paths);
        for file in files.filter_map(|file| HostPath::new(file.as_str()).ok()) {
            if let Ok(Some(text)) = read_text(root, &file) {
                self.add(format!("units{file}"), "a unit's file", redact::unit_file(&text).into_bytes());
            }
        }
    }

    /// What our units said. The engine's own log stays: nobody knows what is in it.
    fn of_our_journal(&mut self) {
        let args = ["-u", WORKER_UNIT, "-u", RECOVER_UNIT, "-n", "500", "--no-pager", "-o", "short-iso"];
        let text = match Command::new("journalctl").args(args).limit(COMMAND_LIMIT).run() {
            Ok(output) => output.text(),
            Err(error) => error.to_string(),
        };
        self.text("units/journal.txt", "what Cofferdam's units said", &text);
    }

    fn json(&mut self, name: &str, about: &'static str, found: Result<Value>) {
        match found.map(redact::json).and_then(|found| pretty(&found)) {
            Ok(bytes) => self.add(name.to_owned(), about, bytes),
            Err(error) => self.text(&format!("{name}.txt"), "why there is no such file", &error.chain()),
        }
    }

    fn toml(&mut self, name: &str, about: &'static str, text: &str) {
        match redact::toml(text) {
            Ok(text) => self.add(name.to_owned(), about, text.into_bytes()),
            Err(reason) => {
                self.text(
                    &format!("{name}.txt"),
                    about,
                    &format!("withheld, since it is not TOML: {reason}"),
                );
            }
        }
    }

    fn text(&mut self, name: &str, about: &'static str, text: &str) {
        self.add(name.to_owned(), about, format!("{}\n", redact::text(text.trim_end())).into_bytes());
    }

    fn add(&mut self, name: String, about: &'static str, bytes: Vec<u8>) {
        // A name may be a registry's, with a user in it.
        self.parts.push(Part { name: redact::text(&name), about, bytes });
    }
}

fn versions(root: &HostRoot, time: &str) -> Value {
    let kernel = rustix::system::uname();
    let os = path("/etc/os-release").and_then(|path| read_text(root, &path)).ok().flatten();
    json!({
        "cofferdam": env!("CARGO_PKG_VERSION"),
        "kernel": kernel.release().to_string_lossy(),
        "machine": kernel.machine().to_string_lossy(),
        "os-release": os.unwrap_or_default().lines().collect::<Vec<_>>(),
        "time": time,
        "offline": !root.is_live(),
    })
}

/// One of our records as it stands, whatever its schema.
fn record(root: &HostRoot, name: &str) -> Result<Option<Value>> {
    let path = path(&format!("{}/{name}", cofferdam_core::record::STATE))?;
    let Some(bytes) = root.read(&path)? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| HostError::new(Class::Internal, format!("{path} cannot be understood: {error}")))
}

/// `hosts.toml` of each registry, in the folders that the engine names (`config_path`, separated by colons).
fn hosts_files(root: &HostRoot, dump: Option<&str>) -> Vec<HostPath> {
    let named = dump.and_then(|dump| Effective::parse(dump).ok()).and_then(|effective| {
        effective.registry_config_path().filter(|path| !path.is_empty()).map(str::to_owned)
    });
    let folders = named.unwrap_or_else(|| CERTS.to_owned());
    let folders = folders.split(':').filter_map(|folder| HostPath::new(folder.trim_end_matches('/')).ok());
    folders
        .flat_map(|folder| {
            let hosts = root.list(&folder).unwrap_or_default();
            hosts.into_iter().filter_map(move |host| folder.join(&format!("{}/hosts.toml", host.name)).ok())
        })
        .collect()
}

fn read_text(root: &HostRoot, path: &HostPath) -> Result<Option<String>> {
    Ok(root.read(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn path(text: &str) -> Result<HostPath> {
    HostPath::new(text).map_err(|error| HostError::new(Class::Internal, error.to_string()))
}

fn value(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| HostError::new(Class::Internal, error.to_string()))
}

fn pretty(value: &Value) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}
