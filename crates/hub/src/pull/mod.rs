//! Fetching a model: [`plan_pull`] asks the hub what there is and chooses, [`pull`] does it.
//! The plan is data, so a caller can show it and ask before a byte of weights moves.

mod api;
mod choose;
mod digest;
mod download;
mod http;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::names::check_file_name;
use crate::{HubConfig, HubError, PullSpec, RepoId};
use api::RepoListing;
use download::Download;
use http::Client;

pub use digest::Checksum;

/// One file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path in the repository, checked: it cannot leave the destination.
    pub name: String,
    /// Its size as the hub declares it.
    pub bytes: u64,
    /// What its content must hash to, if the hub says.
    pub checksum: Option<Checksum>,
}

/// What a pull will fetch, from where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullPlan {
    /// The repository.
    pub repo: RepoId,
    /// The commit that the files are taken from.
    pub revision: String,
    /// In the order in which they are fetched.
    pub files: Vec<PlannedFile>,
    /// The sum of their sizes.
    pub total_bytes: u64,
    /// How much of that is still to be fetched: finished and partial files do not count.
    pub missing_bytes: u64,
    /// Why these files, as a sentence for a person.
    pub reason: String,
    /// Other models of the repository that `ORG/REPO:FILE` could name, with their sizes.
    pub alternatives: Vec<(String, u64)>,
    /// The repository's folder in Lucid's cache.
    pub folder: PathBuf,
    /// What to open afterwards: the (first) weights file, or the folder of a safetensors model.
    pub model: PathBuf,
}

/// Something that happened during a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PullEvent<'a> {
    /// A file's transfer begins, or goes on from what an earlier pull left.
    Started {
        /// The file.
        file: &'a PlannedFile,
        /// Bytes that are on disk already.
        resumed_bytes: u64,
    },
    /// Bytes arrived.
    Progress {
        /// The file.
        file: &'a PlannedFile,
        /// Bytes of this file on disk.
        file_bytes: u64,
        /// Bytes of the whole plan on disk.
        done_bytes: u64,
        /// [`PullPlan::total_bytes`].
        total_bytes: u64,
    },
    /// What is on disk is being read again to check it.
    Verifying {
        /// The file.
        file: &'a PlannedFile,
    },
    /// An attempt failed; the next follows after a pause.
    Retrying {
        /// The file.
        file: &'a PlannedFile,
        /// What went wrong.
        reason: &'a str,
        /// The pause.
        wait: Duration,
    },
    /// The file is complete and checked.
    Finished {
        /// The file.
        file: &'a PlannedFile,
        /// Whether its content was compared with a checksum of the hub (else its size alone).
        checked: bool,
    },
}

/// Asks the hub which files `spec` (`ORG/REPO`, `ORG/REPO:FILE` or `ORG/REPO:LABEL`) needs.
///
/// Without a file: the best GGUF for a person's machine (Q4_K_M first) with all its shards, else
/// safetensors with configuration and tokenizer. Never a pickle.
///
/// # Errors
/// [`HubError`]: the name, the network, a refusal of the hub, or nothing that Lucid reads.
pub fn plan_pull(config: &HubConfig, spec: &str) -> Result<PullPlan, HubError> {
    let spec: PullSpec = spec.parse()?;
    if config.offline {
        return Err(HubError::Offline { repo: spec.repo.to_string() });
    }
    let client = Client::new(config)?;
    let RepoListing { revision, mut files } = api::list(&client, &spec.repo)?;
    let choice = choose::choose(&spec, &files)?;
    let folder = config.cache.join(spec.repo.organisation()).join(spec.repo.name());
    let mut planned = Vec::new();
    let (mut total_bytes, mut missing_bytes) = (0u64, 0u64);
    for index in choice.files {
        let file = &mut files[index];
        check_file_name(&file.name).map_err(|reason| HubError::UnsafeFile {
            repo: spec.repo.to_string(),
            file: crate::names::printable(&file.name),
            reason,
        })?;
        api::complete(&client, &spec.repo, &revision, file)?;
        let file = PlannedFile {
            name: file.name.clone(),
            bytes: file.bytes.unwrap_or_default(),
            checksum: file.checksum.clone(),
        };
        let too_large = || HubError::BadReply {
            url: client.model_url(&spec.repo),
            reason: "the sizes of its files exceed 2^64 bytes".to_owned(),
        };
        total_bytes = total_bytes.checked_add(file.bytes).ok_or_else(too_large)?;
        missing_bytes += file.bytes - download::bytes_on_disk(&folder, &file);
        planned.push(file);
    }
    let model =
        choice.opens.map_or_else(|| folder.clone(), |index| folder.join(&files[index].name));
    let alternatives = choice.alternatives;
    Ok(PullPlan {
        repo: spec.repo,
        revision,
        files: planned,
        total_bytes,
        missing_bytes,
        reason: choice.reason,
        alternatives,
        folder,
        model,
    })
}

/// Fetches what `plan` lists into Lucid's cache and returns the path to open.
///
/// Each file arrives as a hidden `.part` beside its place and is renamed once its size and
/// checksum are right, so a pull can be killed at any moment and the next one goes on from there.
/// Files that are complete already are verified and kept. `cancel` is looked at between reads;
/// a silent connection is noticed after [`crate::Retry::silence_max`].
///
/// # Errors
/// [`HubError`]; what arrived is kept unless its content is wrong.
pub fn pull(
    config: &HubConfig,
    plan: &PullPlan,
    progress: &mut dyn FnMut(PullEvent<'_>),
    cancel: &AtomicBool,
) -> Result<PathBuf, HubError> {
    if config.offline {
        return Err(HubError::Offline { repo: plan.repo.to_string() });
    }
    for file in &plan.files {
        check_file_name(&file.name).map_err(|reason| HubError::UnsafeFile {
            repo: plan.repo.to_string(),
            file: crate::names::printable(&file.name),
            reason,
        })?;
    }
    std::fs::create_dir_all(&plan.folder)
        .map_err(|source| HubError::io("create", &plan.folder, source))?;
    download::check_room(&plan.folder, &plan.files)?;
    let client = Client::new(config)?;
    let mut done_bytes = 0;
    for file in &plan.files {
        Download {
            client: &client,
            repo: &plan.repo,
            url: client.file_url(&plan.repo, &plan.revision, &file.name),
            file,
            folder: &plan.folder,
            done_before: done_bytes,
            total_bytes: plan.total_bytes,
            cancel,
        }
        .run(progress)?;
        done_bytes += file.bytes;
    }
    Ok(plan.model.clone())
}
