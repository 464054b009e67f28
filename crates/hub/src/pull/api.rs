//! The hub's listing of a repository. Source: the OpenAPI description of the Hugging Face Hub
//! (`/api/models/{repo}/revision/{rev}?blobs=true`) and, for a file of which the listing lacks
//! size or checksum, the headers `X-Linked-Size` and `X-Linked-Etag` of its `resolve` address.

use std::io::Read as _;

use serde::Deserialize;

use super::digest::Checksum;
use super::http::{Client, Method};
use crate::names::printable;
use crate::{HubError, RepoId};

/// A listing beyond this is not read.
const REPLY_BYTES_MAX: u64 = 16 << 20;

/// A file of a repository as the hub describes it. The name is not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RepoFile {
    pub(super) name: String,
    pub(super) bytes: Option<u64>,
    pub(super) checksum: Option<Checksum>,
}

#[derive(Debug)]
pub(super) struct RepoListing {
    pub(super) revision: String,
    pub(super) files: Vec<RepoFile>,
}

#[derive(Deserialize)]
struct Reply {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: Option<String>,
    oid: Option<String>,
    size: Option<u64>,
}

pub(super) fn list(client: &Client, repo: &RepoId) -> Result<RepoListing, HubError> {
    let url = client.model_url(repo);
    let bytes = client.retrying(&url, || {
        let reply = client.request(Method::Get, &url, 0, &repo.to_string())?;
        let mut bytes = Vec::new();
        reply
            .body
            .take(REPLY_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| super::http::Failure::passing(error.to_string()))?;
        Ok(bytes)
    })?;
    parse(&bytes).map_err(|reason| HubError::BadReply { url, reason })
}

fn parse(bytes: &[u8]) -> Result<RepoListing, String> {
    if bytes.len() as u64 > REPLY_BYTES_MAX {
        return Err(format!("longer than {REPLY_BYTES_MAX} bytes"));
    }
    let reply: Reply =
        serde_json::from_slice(bytes).map_err(|error| printable(&error.to_string()))?;
    // Only a commit id may enter the addresses that follow.
    let is_commit =
        |sha: &String| sha.len() == 40 && sha.bytes().all(|byte| byte.is_ascii_hexdigit());
    let revision = reply.sha.filter(is_commit).unwrap_or_else(|| "main".to_owned());
    let files = reply.siblings.into_iter().map(RepoFile::from).collect();
    Ok(RepoListing { revision, files })
}

impl From<Sibling> for RepoFile {
    fn from(sibling: Sibling) -> Self {
        // The git blob of a large file is its pointer: it says nothing about the content.
        let (bytes, checksum) = match sibling.lfs {
            Some(large) => (large.size.or(sibling.size), large.sha256.or(large.oid)),
            None => (sibling.size, sibling.blob_id),
        };
        let checksum = checksum.as_deref().and_then(Checksum::parse);
        Self { name: sibling.rfilename, bytes, checksum }
    }
}

/// Asks for a file's size and checksum where the listing lacks them.
pub(super) fn complete(
    client: &Client,
    repo: &RepoId,
    revision: &str,
    file: &mut RepoFile,
) -> Result<(), HubError> {
    if file.bytes.is_some() && file.checksum.is_some() {
        return Ok(());
    }
    let url = client.file_url(repo, revision, &file.name);
    let what = format!("{repo}:{}", file.name);
    let reply = client.retrying(&url, || client.request(Method::Head, &url, 0, &what))?;
    let declared = reply.linked_etag.as_deref().and_then(Checksum::parse);
    file.checksum = file.checksum.take().or(declared);
    file.bytes = file.bytes.or(reply.linked_bytes).or(reply.body_bytes);
    if file.bytes.is_none() {
        let reason = "it declares no size".to_owned();
        return Err(HubError::BadReply { url, reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing() {
        let sha = "a".repeat(40);
        let oid = "b".repeat(64);
        let text = format!(
            r#"{{"sha":"{sha}","private":false,"siblings":[
                {{"rfilename":"m.gguf","size":7,"blobId":"{sha}",
                  "lfs":{{"sha256":"{oid}","size":7,"pointerSize":134}}}},
                {{"rfilename":"config.json","size":2,"blobId":"{sha}"}},
                {{"rfilename":"bare"}}]}}"#
        );
        let listing = parse(text.as_bytes()).unwrap();
        assert_eq!(listing.revision, sha);
        assert_eq!(listing.files[0].checksum, Some(Checksum::Sha256(oid)));
        assert_eq!(listing.files[1].checksum, Some(Checksum::GitBlob(sha)));
        assert_eq!((listing.files[2].bytes, &listing.files[2].checksum), (None, &None));
    }

    #[test]
    fn hostile_listings() {
        let deep = "[".repeat(1 << 20);
        let bad = ["", "{", "[]", "null", &deep, r#"{"siblings":3}"#, r#"{"siblings":[{}]}"#];
        for bad in bad.into_iter().chain([r#"{"siblings":[{"rfilename":"a","size":-1}]}"#]) {
            assert!(parse(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(40)]);
        }
        let evil = parse(br#"{"sha":"../../x","siblings":[]}"#).unwrap();
        assert_eq!(evil.revision, "main");
        assert!(parse(&vec![b' '; REPLY_BYTES_MAX as usize + 1]).is_err());
    }
}
