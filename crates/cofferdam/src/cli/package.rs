//! The commands that take a package, and what they say of it.

use super::values::{image, source};
use super::{AccessArgs, CompressionArg, LimitArgs, NodeArgs, OUTPUT, PlaceArg, TrustArgs};
use clap::Args;
use cofferdam_core::doctor::Skip;
use cofferdam_core::reference::Reference;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::package::{Place, Source};
use cofferdam_host::survey::SurveyOptions;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    // First: an option after those of the package would stand under their headings.
    /// Go on although this check of the doctor's says no (repeatable)
    #[arg(long, value_name = "NAME", value_parser = Skip::new)]
    pub(crate) skip_check: Vec<Skip>,
    /// Do not start the engine on the new configuration in isolation first
    #[arg(long)]
    pub(crate) skip_rehearsal: bool,
    #[command(flatten)]
    pub(crate) package: PackageArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

impl InstallArgs {
    /// What to look at.
    pub(crate) fn survey(&self) -> SurveyOptions {
        SurveyOptions { skip_checks: self.skip_check.clone(), ..self.node.survey() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) package: PackageArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// A package that is to come here: where it is, what describes it, and what is asked of it.
#[derive(Debug, Args)]
pub(crate) struct PackageArgs {
    /// The package: dir:PATH, tar:FILE, layout:PATH (an image here) or oci:REFERENCE (in a registry)
    #[arg(value_name = "SOURCE", value_parser = source)]
    source: PlaceArg,
    #[command(flatten)]
    described: DescribedArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

impl PackageArgs {
    /// The package.
    ///
    /// # Errors
    /// If a file that an option names cannot be read, or is not valid.
    pub(crate) fn source(&self) -> Result<Source> {
        let source = self.described.source(self.access.place(&self.source)?)?;
        Ok(Source { policy: self.trust.policy()?, limits: self.limits.limits(), ..source })
    }
}

/// What describes a package that does not do so itself.
#[derive(Debug, Args)]
pub(crate) struct DescribedArgs {
    /// The descriptor to use for a package without runtime.toml (see catalog)
    #[arg(long, value_name = "PRESET")]
    pub(crate) preset: Option<String>,
    /// The package's version, for a preset, if the package has no file VERSION
    #[arg(long, value_name = "VERSION", requires = "preset")]
    pub(crate) runtime_version: Option<String>,
    /// A runtime.toml to use for a package without one (docs/descriptor.md)
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    pub(crate) descriptor: Option<PathBuf>,
}

impl DescribedArgs {
    /// The package at `place`.
    pub(crate) fn source(&self, place: Place) -> Result<Source> {
        let descriptor = self.descriptor.as_deref().map(descriptor_text).transpose()?;
        let (preset, version) = (self.preset.clone(), self.runtime_version.clone());
        Ok(Source { preset, version, descriptor, ..Source::plain(place) })
    }
}

/// A descriptor's text.
pub(crate) fn descriptor_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| HostError::std_io("read", path.display(), error))
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true).multiple(true).args(["push", "out"]))]
pub(crate) struct PackArgs {
    /// The package: dir:PATH, tar:FILE, layout:PATH or oci:REFERENCE
    #[arg(value_name = "SOURCE", value_parser = source)]
    pub(crate) source: PlaceArg,
    #[command(flatten)]
    pub(crate) described: DescribedArgs,
    /// The image's reference, e.g. registry.example.com/kata:3.26
    #[arg(short, long, value_name = "REFERENCE", value_parser = image)]
    pub(crate) tag: Option<Reference>,
    /// Write the image to the registry that --tag names
    #[arg(long, requires = "tag")]
    pub(crate) push: bool,
    /// Write the image to a new folder, in the OCI layout
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// How layers are compressed: gzip (every tool reads it) or zstd (smaller, and unpacks faster)
    #[arg(long, value_name = "gzip|zstd", value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) compression: CompressionArg,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Print JSON (docs/json.md)
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}
