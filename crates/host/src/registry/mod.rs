//! Images in registries and in the OCI layout, as the OCI's image and distribution specifications have them.
//!
//! ```text
//! login      who we are: Docker's files to the logins that a reference needs
//! helper     the programs that keep logins, for those who ask for them
//! mirror     what this host's engines are told of registries
//! challenge  what a registry asks for: WWW-Authenticate to scheme and parameters
//! site       a place where an image may be had: a registry or a mirror of one
//! endpoint   requests to one such place: credentials, redirects, what its answers mean
//! token      what it is told of who we are
//! retry      which failures are worth another try
//! client     a registry with its mirrors: which is asked, and when again
//! blob       a blob as it streams, resumed where it broke off
//! manifest   manifests, indexes, configurations; the choice of a platform
//! origin     where manifests and blobs come from: a registry or a folder
//! attached   what is kept beside an image: signatures
//! lineage    from a digest to the manifest for this machine, through indexes
//! layout     an image in a folder
//! tarred     an image in an archive: a packed layout, or what `docker save` writes
//! files      what a layer is: an archive, or a plain file
//! unpack     an image to a folder, each byte checked against the digest that names it;  tally: how far it is
//! push       an image to a registry
//! ```
//!
//! The types are our own: of the specifications' many fields a handful is needed, and all of them are untrusted.

mod attached;
mod blob;
mod challenge;
mod client;
mod endpoint;
mod error;
pub(crate) mod files;
mod helper;
mod layout;
mod lineage;
mod login;
pub(crate) mod manifest;
mod mirror;
mod origin;
mod push;
mod retry;
mod site;
mod tally;
mod tarred;
mod token;
mod unpack;

pub(crate) use attached::{Attached, Referrer, Referring, read_referrers};
pub use client::Registry;
pub use error::RegistryError;
pub(crate) use error::broken_stream;
pub use helper::HelperHost;
pub use layout::{Layout, LayoutWriter};
pub(crate) use lineage::Lineage;
pub use login::{Keyring, Login};
pub use mirror::HostSettings;
pub(crate) use origin::Origin;
pub use push::push;
pub(crate) use tarred::{Tarred, is_image_archive};
pub use unpack::unpack_image;
pub(crate) use unpack::{described, unpack};
