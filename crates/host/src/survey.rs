//! One look at a host: everything that a plan depends on.

use crate::config_files;
use crate::error::{HostError, Result};
use crate::hashing::{Sha256, digest_of};
use crate::observe::{self, EnginePaths, ObserveError};
use crate::root::HostRoot;
use crate::store::Store;
use crate::tree;
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::Descriptor;
use cofferdam_core::doctor::{Fitness, Overridden, Skip};
use cofferdam_core::engine::EngineVersion;
use cofferdam_core::engine::containerd::Effective;
use cofferdam_core::name::{Digest, HostPath, RuntimeName};
use cofferdam_core::observation::{
    ConfigOrigin, CriObservation, EngineObservation, PathState, TargetObservation, TreeState, TreeUses,
};
use cofferdam_core::plan::{PlanError, WorkerBinary, World};
use cofferdam_core::record::{Ledger, PREFIX, Part, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What to look at, and where things go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurveyOptions {
    /// Where trees go. None: where they are already, or the default place.
    pub prefix: Option<HostPath>,
    /// The engine.
    pub engine: EngineChoice,
    /// Whether the host runs (or will run) systemd: then recovery at boot is installed, too.
    pub systemd: bool,
    /// Checks of the doctor's whose "no" is overridden.
    #[serde(default)]
    pub skip_checks: Vec<Skip>,
}

/// The engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "engine")]
pub enum EngineChoice {
    /// The containerd that runs under this unit.
    Running {
        /// The unit's name.
        unit: String,
    },
    /// containerd's files on an offline tree.
    Offline {
        /// Its release, if it is known.
        version: Option<EngineVersion>,
    },
}

/// What can be seen of a host without its engine's help.
#[derive(Debug)]
pub struct Look {
    /// What is installed.
    pub ledger: Option<Ledger>,
    /// Where trees go.
    pub prefix: HostPath,
    /// The engine, or why it could not be observed.
    pub engine: std::result::Result<EngineObservation, ObserveError>,
    /// Who uses the installed trees; without an engine, processes alone are asked.
    pub uses: TreeUses,
}

impl Look {
    /// Looks at the host.
    ///
    /// # Errors
    /// If our records cannot be read, or say something else than `options`.
    pub fn take(root: &HostRoot, options: &SurveyOptions) -> Result<Self> {
        let ledger = Store::new(root)?.ledger()?;
        let prefix = prefix(ledger.as_ref(), options)?;
        let trees: Vec<HostPath> =
            ledger.iter().flat_map(Ledger::trees).map(|(_, installed)| installed.tree.clone()).collect();
        let (engine, uses) = match &options.engine {
            EngineChoice::Running { unit } => {
                let options = observe::Options { unit: unit.clone(), ..Default::default() };
                let engine = observe::containerd(root, &options);
                let paths = engine.as_ref().ok().and_then(|engine| EnginePaths::of(engine).ok().flatten());
                let states: Vec<HostPath> = paths.map(|paths| paths.state).into_iter().collect();
                (engine, observe::uses(&states, &trees))
            }
            EngineChoice::Offline { version } => (offline(root, *version), TreeUses::new()),
        };
        Ok(Self { ledger, prefix, engine, uses })
    }

    /// What CRI says; nothing if there is no engine.
    pub fn cri(&self) -> CriObservation {
        match &self.engine {
            Ok(engine) => engine.cri.clone(),
            Err(error) => CriObservation::Unavailable { socket: None, reason: error.to_string() },
        }
    }
}

/// One look at a host.
#[derive(Debug)]
pub struct Survey<'a> {
    root: &'a HostRoot,
    /// What is installed.
    pub ledger: Option<Ledger>,
    /// The engine.
    pub engine: EngineObservation,
    /// Where trees go.
    pub target: TargetObservation,
    /// Who uses the installed trees.
    pub uses: TreeUses,
    /// What the doctor looks at.
    pub fitness: Fitness,
    paths: BTreeMap<HostPath, PathState>,
    trees: BTreeMap<HostPath, TreeState>,
    kept: BTreeMap<Digest, String>,
    worker: Option<WorkerBinary>,
}

impl<'a> Survey<'a> {
    /// Looks at the host.
    ///
    /// # Errors
    /// If there is no engine, or something cannot be read.
    pub fn take(root: &'a HostRoot, options: &SurveyOptions) -> Result<Self> {
        let Look { ledger, prefix, engine, uses } = Look::take(root, options)?;
        let mut engine = engine?;
        if let Some(ledger) = &ledger {
            engine.apart = apart(root, ledger, &engine.files)?;
        }
        Ok(Self {
            target: observe::target(root, &prefix)?,
            kept: kept_texts(&Store::new(root)?, ledger.as_ref()),
            worker: if options.systemd { Some(worker_binary()?) } else { None },
            fitness: Fitness {
                facts: observe::facts(root, &prefix, Some(&engine)),
                skip: options.skip_checks.clone(),
            },
            paths: BTreeMap::new(),
            trees: BTreeMap::new(),
            root,
            ledger,
            engine,
            uses,
        })
    }

    /// The root that was looked at.
    pub const fn root(&self) -> &'a HostRoot {
        self.root
    }

    /// Plans with `planner`, looking up each path and checking each tree that it asks for.
    ///
    /// # Errors
    /// What the planner says, or if a path cannot be looked at.
    pub fn plan<T>(
        &mut self,
        planner: impl Fn(&World<'_>) -> std::result::Result<T, PlanError>,
    ) -> Result<T> {
        loop {
            let world = World {
                ledger: self.ledger.as_ref(),
                engine: &self.engine,
                target: &self.target,
                uses: &self.uses,
                paths: &self.paths,
                trees: &self.trees,
                kept: &self.kept,
                worker: self.worker,
                fitness: &self.fitness,
            };
            match planner(&world) {
                Err(PlanError::Unobserved(path)) => {
                    let state = self.root.state(&path)?;
                    self.paths.insert(path, state);
                }
                Err(PlanError::Unchecked { tree, manifest }) => {
                    let state = tree::check(self.root, &tree, manifest.as_ref())?;
                    self.trees.insert(tree, state);
                }
                result => return Ok(result?),
            }
        }
    }

    /// Takes every tree that is there for sound: no file of them is read.
    ///
    /// # Errors
    /// If a path cannot be looked at.
    pub fn trust_trees(&mut self) -> Result<()> {
        let trees = self.ledger.iter().flat_map(Ledger::trees).map(|(_, installed)| installed.tree.clone());
        for tree in trees.collect::<Vec<_>>() {
            let state = match self.root.state(&tree)? {
                PathState::Folder => TreeState::Sound,
                _ => TreeState::Absent,
            };
            self.trees.insert(tree, state);
        }
        Ok(())
    }

    /// The checks that say no to a package, and are overridden.
    pub fn overridden(&self, wanted: &Descriptor) -> Vec<Overridden> {
        self.fitness.overridden(&self.engine, &self.target, wanted)
    }

    /// Handlers that the engine lists and has in its present files: one that somebody took out of these without a restart
    /// goes with the next one, whoever asks for it.
    pub fn lasting_handlers(&self) -> Vec<String> {
        let CriObservation::Ready(cri) = &self.engine.cri else { return Vec::new() };
        let effective = self.engine.dump.as_deref().and_then(|dump| Effective::parse(dump).ok());
        let lasts = |name: &String| {
            effective.as_ref().is_none_or(|effective| effective.handlers().contains_key(name.as_str()))
        };
        cri.handlers.iter().filter(|name| lasts(name)).cloned().collect()
    }

    /// Handlers that must work after a change if they work before it: the engine's default, and those of our
    /// other runtimes that were proven once.
    pub fn handlers_to_keep(&self, changing: Option<&RuntimeName>) -> Vec<String> {
        let CriObservation::Ready(cri) = &self.engine.cri else { return Vec::new() };
        let others = self.ledger.iter().flat_map(|ledger| &ledger.runtimes);
        let proven =
            others.filter(|(name, runtime)| Some(*name) != changing && runtime.verdict == Verdict::Proven);
        let ours = proven.flat_map(|(_, runtime)| runtime.handlers().map(ToString::to_string));
        let lasting = self.lasting_handlers();
        std::iter::once(cri.default_handler.clone())
            .chain(ours)
            .filter(|handler| lasting.contains(handler))
            .collect()
    }
}

/// One prefix on a host: trees do not move.
pub(crate) fn prefix(ledger: Option<&Ledger>, options: &SurveyOptions) -> Result<HostPath> {
    match (ledger, &options.prefix) {
        (Some(ledger), Some(wanted)) if ledger.prefix != *wanted => Err(HostError::new(
            Class::Invalid,
            format!("runtimes are installed in {} already, so they cannot go to {wanted}", ledger.prefix),
        )
        .with_hint("leave --prefix out, or remove all runtimes first")),
        (Some(ledger), _) => Ok(ledger.prefix.clone()),
        (None, Some(wanted)) => Ok(wanted.clone()),
        (None, None) => {
            HostPath::new(PREFIX).map_err(|error| HostError::new(Class::Internal, error.to_string()))
        }
    }
}

/// containerd as the files of an offline tree describe it.
fn offline(
    root: &HostRoot,
    version: Option<EngineVersion>,
) -> std::result::Result<EngineObservation, ObserveError> {
    let config = HostPath::new(observe::DEFAULT_CONFIG)
        .map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
    let (config_resolved, files) = config_files::read(root, &config)?;
    Ok(EngineObservation {
        version,
        version_text: version.map(|version| version.to_string()).unwrap_or_default(),
        process: None,
        config,
        config_resolved,
        config_origin: ConfigOrigin::Default,
        files,
        apart: BTreeMap::new(),
        dump: None,
        unit: None,
        cri: CriObservation::Offline,
    })
}

/// The texts of the ledger's configuration files that the engine does not read. One that is no text any more is not
/// ours any more.
fn apart(
    root: &HostRoot,
    ledger: &Ledger,
    read: &BTreeMap<HostPath, String>,
) -> Result<BTreeMap<HostPath, String>> {
    let mut apart = BTreeMap::new();
    for (path, file) in ledger.files.iter().filter(|(path, _)| !read.contains_key(*path)) {
        // By another name the engine may read it all the same: a folder above it became a link.
        let read = read.contains_key(&root.real(path)?);
        let part = file.part != Part::Whole && !read;
        let regular = part && matches!(root.state(path)?, PathState::File { .. });
        let bytes = if regular { root.read(path)? } else { None };
        if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
            apart.insert(path.clone(), text);
        }
    }
    Ok(apart)
}

/// The kept texts that are there and whole: a plan does without the others.
fn kept_texts(store: &Store<'_>, ledger: Option<&Ledger>) -> BTreeMap<Digest, String> {
    let digests = ledger.iter().flat_map(|ledger| ledger.files.values()).filter_map(|file| file.before);
    digests.filter_map(|digest| Some((digest, String::from_utf8(store.kept(&digest).ok()?).ok()?))).collect()
}

fn worker_binary() -> Result<WorkerBinary> {
    let path = std::path::Path::new("/proc/self/exe");
    let fail = |error| HostError::std_io("read", path.display(), error);
    let file = std::fs::File::open(path).map_err(fail)?;
    let size = file.metadata().map_err(fail)?.len();
    Ok(WorkerBinary { digest: digest_of::<Sha256>(file).map_err(fail)?, size })
}
