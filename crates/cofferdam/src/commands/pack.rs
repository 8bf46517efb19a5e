//! `cofferdam pack`.

use crate::cli::PackArgs;
use crate::show;
use cofferdam_core::name::Digest;
use cofferdam_core::reference::Reference;
use cofferdam_host::error::Result;
use cofferdam_host::package::{Place, Source, TemporaryRoom};
use cofferdam_host::registry::{self, Registry};
use serde::Serialize;
use std::process::ExitCode;

/// What is printed as JSON (docs/json.md).
#[derive(Serialize)]
struct Packed {
    /// The runtime's name.
    name: String,
    /// Its version.
    version: String,
    /// The digest of the image's manifest.
    digest: Digest,
    /// What installs exactly this image; only of a pushed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

pub(crate) fn run(args: &PackArgs) -> Result<ExitCode> {
    let room = TemporaryRoom::default();
    // Credentials that cannot be read are told of before anything is packed.
    let remote = match &args.tag {
        Some(reference) if args.push => Some(args.access.remote(reference.clone())?),
        _ => None,
    };
    let source = args.described.source(args.access.place(&args.source)?)?;
    let source = Source { limits: args.limits.limits(), ..source };
    let package = room.open(&source, None, &mut |_| {})?;
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => room.path()?.join("image"),
    };
    let tag = args.tag.as_ref().and_then(Reference::tag);
    let layout = package.pack_as(&folder, tag, args.compression.into())?;
    let digest = match &remote {
        Some(remote) => registry::push(&layout, &Registry::to_push(remote)?)?,
        None => layout.digest(),
    };
    let descriptor = &package.package.descriptor;
    let source = remote.map(|remote| Place::Oci(remote).pinned(Some(digest)).to_string());
    let packed =
        Packed { name: descriptor.name.to_string(), version: descriptor.version.to_string(), digest, source };
    if args.json {
        show::json(&packed)?;
        return Ok(ExitCode::SUCCESS);
    }
    show::say(&format!("{} {}:", packed.name, packed.version));
    show::line(packed.source.as_deref().unwrap_or(&digest.to_string()));
    Ok(ExitCode::SUCCESS)
}
