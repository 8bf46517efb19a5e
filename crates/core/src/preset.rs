//! Presets: descriptors that we ship for packages that have none.
//!
//! A preset is one file in `presets/` and one line in [`ALL`]. The comment at the file's head is its documentation: the
//! first line is the summary, the paragraph after it tells what the package must hold. It has no `version`: that
//! belongs to the package, and is given by the user or stands in the package's file [`VERSION_FILE`].

use crate::class::Class;
use crate::descriptor::spelling::nearest;
use crate::descriptor::{
    Call, Descriptor, FileKind, Finding, FindingKind, Findings, PackageFiles, VersionSource,
};
use crate::descriptor::{check_files, parse_with};
use crate::name::{NameError, PackagePath, Version};
use serde::Serialize;

/// The file at a package's top from which a preset takes the version.
pub const VERSION_FILE: &str = "VERSION";

/// All presets, in the order of the catalog.
pub const ALL: &[Preset] = &[
    preset("gvisor", include_str!("../presets/gvisor.toml"), &[GVISOR_CONFIG]),
    preset("gvisor-oci", include_str!("../presets/gvisor-oci.toml"), &[RUNSC_POD]),
    preset("kata", include_str!("../presets/kata.toml"), &[]),
    preset("crun", include_str!("../presets/crun.toml"), &[]),
];

const GVISOR_CONFIG: PresetFile = PresetFile {
    path: "etc/runsc.toml",
    executable: false,
    needs: &["bin/runsc"],
    text: include_str!("../presets/gvisor/runsc.toml"),
};
const RUNSC_POD: PresetFile = PresetFile {
    path: "bin/runsc-pod",
    executable: true,
    needs: &["bin/runsc"],
    text: include_str!("../presets/gvisor-oci/runsc-pod"),
};

const fn preset(name: &'static str, text: &'static str, files: &'static [PresetFile]) -> Preset {
    Preset { name, text, files }
}

/// A descriptor that we ship.
#[derive(Debug)]
pub struct Preset {
    /// The name by which a user asks for it: the runtime's name in the text.
    pub name: &'static str,
    /// The descriptor's text, without `version`.
    pub text: &'static str,
    /// Files that it adds to a package that lacks them.
    pub files: &'static [PresetFile],
}

/// A file that a preset adds to a package.
#[derive(Debug)]
pub struct PresetFile {
    /// Where in the package; always a valid [`PackagePath`].
    pub path: &'static str,
    /// Whether it gets mode 0755 instead of 0644.
    pub executable: bool,
    /// Executables of the package that it names, and the descriptor does not.
    pub needs: &'static [&'static str],
    /// Its content.
    pub text: &'static str,
}

impl PresetFile {
    /// What it is in a package.
    pub const fn kind(&self) -> FileKind {
        FileKind::File { executable: self.executable }
    }
}

/// Why a preset cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PresetError {
    /// There is none of that name.
    #[error("there is no preset `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        hint: String,
    },
    /// Neither the user nor the package gives a version.
    #[error("the preset `{0}` needs the package's version")]
    NoVersion(&'static str),
    /// What was given is not a version.
    #[error("the version for the preset `{preset}`, {origin}, cannot be used")]
    Version {
        /// The preset.
        preset: &'static str,
        /// Where the version came from.
        origin: &'static str,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// The preset's own text is wrong: a defect of ours.
    #[error("the preset `{preset}` is broken")]
    Broken {
        /// The preset.
        preset: &'static str,
        /// What is wrong.
        #[source]
        source: Findings,
    },
}

impl PresetError {
    /// What a caller may do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } | Self::NoVersion(_) | Self::Version { .. } => Class::Invalid,
            Self::Broken { .. } => Class::Internal,
        }
    }

    /// What to do next, if there is more to say than the message does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { hint, .. } => Some(hint.clone()),
            Self::NoVersion(_) => Some(format!(
                "give it with --runtime-version, or write it into a file {VERSION_FILE} at the package's top"
            )),
            Self::Version { .. } | Self::Broken { .. } => None,
        }
    }
}

/// The preset of that name.
///
/// # Errors
/// If there is none; the message names those that there are.
pub fn find(name: &str) -> Result<&'static Preset, PresetError> {
    ALL.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names = || ALL.iter().map(|preset| preset.name);
        let hint = nearest(name, names()).map_or_else(
            || format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        PresetError::Unknown { name: name.to_owned(), hint }
    })
}

/// The descriptor of a package of `version` that follows `preset`.
///
/// # Errors
/// If the preset's own text is wrong, which the tests exclude.
pub fn descriptor(preset: &Preset, version: &Version) -> Result<Descriptor, PresetError> {
    parse_with(&preset.source_name(), preset.text, &VersionSource::Given(version))
        .map_err(|source| PresetError::Broken { preset: preset.name, source })
}

impl Preset {
    /// What messages call its text.
    pub fn source_name(&self) -> String {
        format!("preset {}", self.name)
    }

    /// The package's version: what the user gave, else the first line of the package's file [`VERSION_FILE`].
    ///
    /// # Errors
    /// If there is neither, or it does not have a version's form.
    pub fn version(&self, given: Option<&str>, version_file: Option<&str>) -> Result<Version, PresetError> {
        let from_file =
            version_file.and_then(|text| text.lines().next()).map(str::trim).filter(|v| !v.is_empty());
        let (text, origin) = match (given, from_file) {
            (Some(given), _) => (given, "as given"),
            (None, Some(line)) => (line, "from the package's file `VERSION`"),
            (None, None) => return Err(PresetError::NoVersion(self.name)),
        };
        Version::new(text).map_err(|source| PresetError::Version { preset: self.name, origin, source })
    }

    /// The files that it adds to a package of these `files`: what the package has itself, stays.
    pub fn added(&self, files: &PackageFiles) -> impl Iterator<Item = (PackagePath, &'static PresetFile)> {
        self.files
            .iter()
            .filter_map(|file| Some((PackagePath::new(file.path).ok()?, file)))
            .filter(|(path, _)| !files.contains_key(path))
    }

    /// What is wrong with a package of these `files` (without those that the preset adds) for `descriptor`, which is
    /// this preset's: see [`check_files`]. Files that only an added file needs are looked for as well.
    pub fn check_files(&self, descriptor: &Descriptor, files: &PackageFiles) -> Vec<Finding> {
        let mut complete = files.clone();
        complete.extend(self.added(files).map(|(path, file)| (path, file.kind())));
        let mut findings = check_files(descriptor, &self.source_name(), self.text, &complete);
        for (path, file) in self.added(files) {
            for need in file.needs {
                let state = PackagePath::new(*need).ok().and_then(|need| files.get(&need));
                findings.extend(self.unmet(&path, need, state));
            }
        }
        findings
    }

    /// The finding about `need`, which the added file at `path` calls, if there is one.
    fn unmet(&self, path: &PackagePath, need: &str, state: Option<&FileKind>) -> Option<Finding> {
        let (kind, what) = match state {
            Some(FileKind::Link | FileKind::File { executable: true }) => return None,
            Some(FileKind::File { executable: false }) => (FindingKind::NotExecutable, "is not executable"),
            Some(FileKind::Folder) => (FindingKind::NotAFile, "is a folder"),
            None => (FindingKind::MissingFile, "is not in the package"),
        };
        Some(Finding {
            kind,
            file: self.source_name(),
            place: None,
            message: format!("`{need}`, which the preset's `{path}` calls, {what}"),
            hint: Some(format!("`cofferdam catalog show {}` tells what the package must hold", self.name)),
        })
    }

    /// The comment at the head of its text, line by line.
    fn comment(&self) -> impl Iterator<Item = &'static str> {
        self.text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim)
    }
}

/// One preset as the catalog shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CatalogEntry {
    /// Its name.
    pub name: &'static str,
    /// One line: what the runtime is.
    pub summary: &'static str,
    /// What the package must hold, and what the preset does, as a paragraph without line ends.
    pub description: String,
    /// The handlers that it gives.
    pub handlers: Vec<String>,
    /// Files that the package must have.
    pub needs: Vec<String>,
    /// Files that the preset adds if the package lacks them.
    pub adds: Vec<&'static str>,
    /// The descriptor's text.
    pub text: &'static str,
}

/// All presets, for `cofferdam catalog`.
///
/// # Errors
/// If a preset's own text is wrong, which the tests exclude.
pub fn catalog() -> Result<Vec<CatalogEntry>, PresetError> {
    ALL.iter().map(catalog_entry).collect()
}

/// One preset, for `cofferdam catalog show NAME`.
///
/// # Errors
/// If a preset's own text is wrong, which the tests exclude.
pub fn catalog_entry(preset: &Preset) -> Result<CatalogEntry, PresetError> {
    let version = Version::new("0").map_err(|source| PresetError::Version {
        preset: preset.name,
        origin: "a placeholder",
        source,
    })?;
    let descriptor = descriptor(preset, &version)?;
    let adds: Vec<&'static str> = preset.files.iter().map(|file| file.path).collect();
    let named = descriptor.handlers.iter().flat_map(|handler| {
        let (Call::Shim(call) | Call::OciRuntime(call)) = &handler.call;
        std::iter::once(call).chain(&handler.config).map(PackagePath::as_str)
    });
    let mut needs: Vec<String> = Vec::new();
    for path in named.chain(preset.files.iter().flat_map(|file| file.needs.iter().copied())) {
        if !adds.contains(&path) && !needs.iter().any(|known| known == path) {
            needs.push(path.to_owned());
        }
    }
    Ok(CatalogEntry {
        name: preset.name,
        summary: preset.comment().next().unwrap_or_default(),
        description: preset.comment().skip(1).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "),
        handlers: descriptor.handlers.iter().map(|handler| handler.name.to_string()).collect(),
        needs,
        adds,
        text: preset.text,
    })
}
