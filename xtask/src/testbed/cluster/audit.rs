//! What the API server wrote about its requests.

use super::super::error::{Error, Result};
use super::Cluster;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};

/// A moment in the API server's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

/// One request that the API server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` ...
    pub verb: String,
    /// The resource with its group, `sandboxnodes.cofferdam.dev`; empty for other URLs.
    pub resource: String,
    /// `status`, `token` ...; mostly empty.
    pub subresource: String,
    /// The object's namespace, if it has one.
    pub namespace: String,
    /// The object's name; empty for lists and what the server names.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
}

impl Request {
    /// Whether it asks for a change.
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

/// The part of an audit event that matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    resource: String,
    subresource: String,
    api_group: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl Cluster {
    /// The present moment, for [`Cluster::requests_since`].
    ///
    /// # Errors
    /// The log cannot be examined.
    pub fn mark(&self) -> Result<Mark> {
        let path = self.plane.audit_log();
        Ok(Mark(std::fs::metadata(&path).map_err(Error::io("examine", &path))?.len()))
    }

    /// Every request that was answered since then; a watch counts when it begins.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn requests_since(&self, mark: Mark) -> Result<Vec<Request>> {
        let path = self.plane.audit_log();
        let mut file = File::open(&path).map_err(Error::io("open", &path))?;
        file.seek(SeekFrom::Start(mark.0)).map_err(Error::io("read", &path))?;
        let mut requests = Vec::new();
        for line in BufReader::new(file).lines() {
            let line = line.map_err(Error::io("read", &path))?;
            // The last line may be half-written.
            let Ok(event) = serde_json::from_str::<Event>(&line) else { continue };
            requests.extend(event.request());
        }
        Ok(requests)
    }

    /// [`Cluster::requests_since`], counted by user and verb.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn request_counts(&self, mark: Mark) -> Result<BTreeMap<(String, String), usize>> {
        let mut counts = BTreeMap::new();
        for request in self.requests_since(mark)? {
            *counts.entry((request.user, request.verb)).or_default() += 1;
        }
        Ok(counts)
    }
}

impl Event {
    /// Nothing for the stage of a request that another event counts.
    fn request(self) -> Option<Request> {
        let counted = match self.verb.as_str() {
            "watch" => "ResponseStarted",
            _ => "ResponseComplete",
        };
        let object = self.object_ref;
        let resource = if object.api_group.is_empty() {
            object.resource
        } else {
            format!("{}.{}", object.resource, object.api_group)
        };
        (self.stage == counted).then_some(Request {
            user: self.user.username,
            verb: self.verb,
            resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
            code: self.response_status.code,
        })
    }
}
