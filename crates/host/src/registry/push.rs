//! An image to a registry.

use super::endpoint::{Call, Endpoint};
use super::manifest::{Blob, Document, MANIFEST};
use super::origin::Origin;
use super::{Layout, Registry, RegistryError};
use crate::error::Result;
use crate::net::HttpClient;
use cofferdam_core::name::Digest;
use http::header::LOCATION;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, SizeHint};
use std::fs::File;
use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};

const CHUNK: usize = 256 << 10;

/// Writes the image of `layout` to `registry` under its reference's tag. Blobs that are there stay. Returns the digest of
/// its manifest.
///
/// # Errors
/// If the registry does not answer or does not let us.
pub fn push(layout: &Layout, registry: &Registry) -> Result<Digest> {
    let blob = layout.manifest_blob();
    let sent = layout.manifest(&blob.digest)?;
    let what = layout.name();
    let Document::Manifest(manifest) = Document::parse(&sent.bytes, &sent.media_type, &what)? else {
        let reason = "it is an index: several images at once are not pushed".to_owned();
        return Err(RegistryError::Manifest { what, reason }.into());
    };
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        // From the beginning each time: what an upload that broke off left there is the registry's business.
        registry.at_origin(|endpoint| put_blob(layout, endpoint, blob))?;
    }
    let target = registry.reference().tag().map_or_else(|| blob.digest.to_string(), str::to_owned);
    registry.at_origin(|endpoint| {
        let place = endpoint.site.place("manifests", &target);
        let call = Call {
            content_type: Some(MANIFEST),
            body: &|| Ok(HttpClient::bytes(sent.bytes.clone())),
            ..Call::plain(Method::PUT, &place)
        };
        let what = registry.reference().to_string();
        endpoint.found(endpoint.send(&call)?, &what, "PUT of the manifest").map(drop)
    })?;
    Ok(blob.digest)
}

fn put_blob(layout: &Layout, endpoint: &Endpoint, blob: &Blob) -> std::result::Result<(), RegistryError> {
    let place = endpoint.site.place("blobs", &blob.digest.to_string());
    let there = endpoint.send(&Call::plain(Method::HEAD, &place))?;
    if there.status.is_success() {
        return Ok(());
    }
    if there.status != StatusCode::NOT_FOUND {
        return endpoint.found(there, "such blob", "HEAD of a blob").map(drop);
    }
    let place = endpoint.site.place("blobs", "uploads/");
    let what = format!("repository {}", endpoint.site.repository);
    let begun =
        endpoint.found(endpoint.send(&Call::plain(Method::POST, &place))?, &what, "POST of a blob")?;
    let upload = begun.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let upload = upload.ok_or_else(|| RegistryError::Manifest {
        what: "the answer to the POST of a blob".to_owned(),
        reason: "it does not say where the blob goes".to_owned(),
    })?;
    let mut place = endpoint.absolute(upload)?;
    place.push(if place.contains('?') { '&' } else { '?' });
    place.push_str(&format!("digest={}", blob.digest));
    let body = || {
        let file = layout.file(&blob.digest).map_err(|error| RegistryError::Layer {
            what: format!("blob {}", blob.digest),
            reason: error.chain(),
        })?;
        Ok(FileBody { file, left: blob.size }.boxed_unsync())
    };
    let call = Call {
        content_type: Some("application/octet-stream"),
        body: &body,
        ..Call::plain(Method::PUT, &place)
    };
    endpoint.found(endpoint.send(&call)?, "such upload", "PUT of a blob").map(drop)
}

/// A file as a request's body, read as it is sent.
struct FileBody {
    file: File,
    left: u64,
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let most = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        if most == 0 {
            return Poll::Ready(None);
        }
        let mut bytes = vec![0; most];
        let read = self.file.read(&mut bytes);
        Poll::Ready(Some(match read {
            Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                bytes.truncate(n);
                self.left -= n as u64;
                Ok(Frame::data(bytes.into()))
            }
            Err(error) => Err(error),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
