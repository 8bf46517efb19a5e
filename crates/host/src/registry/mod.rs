//! Images in registries and in the OCI layout, as the OCI's image and distribution specifications have them.
//!
//! ```text
//! login      who we are: a dockerconfigjson file to the one login that a reference needs
//! challenge  what a registry asks for: WWW-Authenticate to scheme and parameters
//! client     requests to one registry: credentials, redirects, what its answers mean
//! manifest   manifests, indexes, configurations; the choice of a platform
//! origin     where manifests and blobs come from: a registry or a folder
//! layout     an image in a folder
//! tarred     an image in an archive: a packed layout, or what `docker save` writes
//! files      what a layer is: an archive, or a plain file
//! unpack     an image to a folder, each byte checked against the digest that names it
//! push       an image to a registry
//! ```
//!
//! The types are our own: of the specifications' many fields a handful is needed, and all of them are untrusted.

mod challenge;
mod client;
mod error;
pub(crate) mod files;
mod layout;
mod login;
pub(crate) mod manifest;
mod origin;
mod push;
mod tarred;
mod unpack;

pub use client::Registry;
pub use error::RegistryError;
pub use layout::{Layout, LayoutWriter};
pub use login::Login;
pub(crate) use origin::Origin;
pub use push::push;
pub(crate) use tarred::{Tarred, is_image_archive};
pub(crate) use unpack::{described, unpack};
