//! Several processes that make one model, as `mpirun -n 4 lucid pretrain ...` starts them.
//!
//! Rank 0 prepares, writes and speaks. The others take its decisions and find its files in the
//! run's folder, which must be on a file system that all of them see. A rank that fails says who it
//! is and ends all.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lucid_sys::Topology;
use lucid_train::{Alone, Group, Saved, checkpoints};
use serde::{Deserialize, Serialize};

use super::{ASKED, Asked};
use crate::output;

/// How a run begins, as rank 0 decided it.
#[derive(Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) asked: Asked,
    /// The checkpoint from which a run goes on; none where it begins.
    pub(super) saved: Option<PathBuf>,
}

/// The processes of a run.
pub(super) struct Ranks {
    pub(super) group: Rc<dyn Group>,
    /// Those on this machine.
    here: usize,
}

impl Ranks {
    /// Joins the others, if a launcher started this process as one of `launched`.
    pub(super) fn join(launched: Option<usize>) -> Result<Self> {
        match launched {
            Some(ranks) if ranks > 1 => joined(ranks),
            _ => Ok(Self { group: Rc::new(Alone), here: 1 }),
        }
    }

    /// Whether this process prepares, writes and speaks.
    pub(super) fn leads(&self) -> bool {
        self.group.rank() == 0
    }

    /// Whether there are others.
    pub(super) fn several(&self) -> bool {
        self.group.ranks() > 1
    }

    /// Threads to compute with unless told otherwise: ranks that their launcher has not given
    /// cores of their own share a machine's.
    pub(super) fn threads(&self) -> usize {
        let topology = Topology::detect();
        let threads = topology.default_threads();
        let shared = topology.affinity_cores == topology.logical_cores;
        if shared { (threads / self.here).max(1) } else { threads }
    }

    /// What rank 0 made of `start`, on all ranks. None where only a plan was wanted.
    pub(super) fn agree(
        &self,
        folder: &Path,
        start: impl FnOnce() -> Result<Option<Start>>,
    ) -> Result<Option<Start>> {
        let mut text = Vec::new();
        if self.leads() {
            text = serde_json::to_vec(&start()?)?;
        }
        self.group.broadcast(&mut text);
        // Rank 0 reads it as well: all have the same numbers.
        let start: Option<Start> = serde_json::from_slice(&text)?;
        if let (false, Some(start)) = (self.leads(), &start) {
            let path = folder.join(ASKED);
            let seen = std::fs::read(&path).ok();
            let seen = seen.and_then(|text| serde_json::from_slice::<Asked>(&text).ok());
            if seen.as_ref() != Some(&start.asked) {
                bail!(
                    "{} is not here what rank 0 wrote; the folder of a run on several machines \
                     must be on a file system that all of them see, under the same name",
                    path.display()
                );
            }
        }
        Ok(start)
    }

    /// Ends all ranks for what went wrong on this one.
    pub(super) fn fail(&self, error: &anyhow::Error, folder: &Path) -> ! {
        if !self.leads() {
            // What went wrong on all of them is told by rank 0, which ends the others meanwhile.
            std::thread::sleep(Duration::from_secs(1));
        }
        output::error(format_args!("{}: {error:#}", self.group.name()));
        if checkpoints(folder).exists() {
            output::note(format_args!(
                "all ranks end; lucid pretrain --resume -o {} goes on from the newest checkpoint, \
                 on fewer ranks as well",
                folder.display()
            ));
        }
        self.group.abort()
    }
}

/// The checkpoint that rank 0 chose.
pub(super) fn saved(folder: &Path) -> Result<Saved> {
    Saved::open(folder).with_context(|| {
        format!("rank 0 goes on from {}, which must be visible here as well", folder.display())
    })
}

#[cfg(feature = "mpi")]
fn joined(launched: usize) -> Result<Ranks> {
    let mpi = lucid_train::group::Mpi::join()?;
    if mpi.ranks() == 1 && launched > 1 {
        bail!(
            "started as one of {launched} ranks, but MPI knows of this one only: the launcher \
             belongs to another MPI than this lucid was built with"
        );
    }
    let hosts = mpi.hosts();
    let here = hosts.iter().filter(|host| **host == hosts[mpi.rank()]).count();
    if mpi.rank() == 0 {
        output::note(format_args!(
            "{} ranks on {}; if one is lost the run ends, and --resume goes on, on fewer as well",
            hosts.len(),
            mpi.places()
        ));
    }
    Ok(Ranks { group: Rc::new(mpi), here })
}

#[cfg(not(feature = "mpi"))]
fn joined(ranks: usize) -> Result<Ranks> {
    bail!(
        "started as one of {ranks} ranks, but this lucid was built without MPI and they would make \
         {ranks} models in one folder; build it with `cargo build --release --features mpi`"
    )
}
