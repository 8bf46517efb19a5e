//! containerd: configuration versions 2, 3 and 4, by splices.

use super::{EngineVersion, Value};
use crate::descriptor::{Call, Handler};
use crate::name::{HandlerName, HostPath, RuntimeName};
use crate::splice::Splice;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One runtime table: `runtimes.<handler>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The table's name.
    pub handler: HandlerName,
    /// The table's keys but `options`, in the order in which they are written.
    pub keys: Vec<(String, Value)>,
    /// The keys of its `options` table.
    pub options: Vec<(String, Value)>,
}

/// Every runtime's entries that the configuration shall hold, or holds by our hand.
pub type Registrations = BTreeMap<RuntimeName, Vec<Entry>>;
