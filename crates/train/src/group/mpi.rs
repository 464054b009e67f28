//! Ranks over the system's MPI (OpenMPI, MPICH), through rsmpi. With the feature `mpi`.
//!
//! Whatever goes wrong inside MPI ends the program (`MPI_ERRORS_ARE_FATAL`, the standard's
//! default), and a rank that dies is noticed by what started it, which ends the others.

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Root, Source};

use super::Group;
use crate::TrainError;

/// Bytes of a host's name that are told to others.
const NAME: usize = 64;

/// The ranks that `mpirun` started.
pub struct Mpi {
    world: SimpleCommunicator,
    rank: usize,
    hosts: Vec<String>,
    processes: Vec<u32>,
    /// Ends MPI when it is dropped, after all else.
    _universe: Universe,
}

impl Mpi {
    /// Joins the others. Once in a process, and on the thread that will use it.
    ///
    /// # Errors
    /// `Group`: MPI cannot be begun.
    pub fn join() -> Result<Self, TrainError> {
        let error = |what: &str| TrainError::Group { what: what.to_owned() };
        let (universe, provided) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| error("MPI was begun before in this process"))?;
        if provided < Threading::Funneled {
            return Err(error("this MPI serves only programs of one thread; use another one"));
        }
        let world = universe.world();
        let (rank, ranks) = (world.rank() as usize, world.size() as usize);
        let mut own = [0_u8; NAME];
        let name = mpi::environment::processor_name().unwrap_or_default();
        let shown = &name.as_bytes()[..name.len().min(NAME)];
        own[..shown.len()].copy_from_slice(shown);
        let mut all = vec![0_u8; NAME * ranks];
        world.all_gather_into(&own[..], &mut all[..]);
        let host = |name: &[u8]| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
        let hosts = all.chunks(NAME).map(host).collect();
        let mut processes = vec![0; ranks];
        world.all_gather_into(&std::process::id(), &mut processes[..]);
        Ok(Self { world, rank, hosts, processes, _universe: universe })
    }

    /// The host of each rank.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Where each rank is, for a person: `node1: 0 (process 81), 1 (process 82); node2: ...`.
    /// Not every launcher names ranks by their numbers.
    pub fn places(&self) -> String {
        let mut hosts: Vec<&String> = self.hosts.iter().collect();
        hosts.sort();
        hosts.dedup();
        let of = |host: &String| {
            let ranks = (0..self.hosts.len()).filter(|&rank| self.hosts[rank] == *host);
            let ranks = ranks.map(|rank| format!("{rank} (process {})", self.processes[rank]));
            format!("{host}: {}", ranks.collect::<Vec<_>>().join(", "))
        };
        hosts.into_iter().map(of).collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        // MPI's end waits for all ranks, and they wait for this one.
        if std::thread::panicking() {
            self.abort();
        }
    }
}

impl Group for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.hosts.len()
    }

    fn name(&self) -> String {
        format!("rank {} (on {})", self.rank, self.hosts[self.rank])
    }

    fn merge(&self, numbers: &mut [f64]) {
        let own = numbers.to_vec();
        self.world.all_reduce_into(&own[..], numbers, SystemOperation::sum());
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) {
        let first = self.world.process_at_rank(0);
        let mut len = bytes.len() as u64;
        first.broadcast_into(&mut len);
        bytes.resize(len as usize, 0);
        first.broadcast_into(&mut bytes[..]);
    }

    fn exchange(&self, outgoing: &[f32], to: &[usize], incoming: &mut [f32], from: &[usize]) {
        let (to, to_places) = places(to);
        let (from, from_places) = places(from);
        let outgoing = Partition::new(outgoing, to, to_places);
        let mut incoming = PartitionMut::new(incoming, from, from_places);
        self.world.all_to_all_varcount_into(&outgoing, &mut incoming);
    }

    fn gather(&self, own: &[f32], counts: &[usize], all: &mut [f32]) {
        let (counts, at) = places(counts);
        let mut all = PartitionMut::new(all, counts, at);
        self.world.all_gather_varcount_into(own, &mut all);
    }

    fn hand_over(&self, from: usize, values: &mut [f32]) {
        if self.rank == from {
            self.world.process_at_rank(0).send(&*values);
        } else if self.rank == 0 {
            self.world.process_at_rank(from as i32).receive_into(values);
        }
    }

    fn abort(&self) -> ! {
        self.world.abort(1)
    }
}

/// Counts as MPI takes them, and where each begins.
fn places(counts: &[usize]) -> (Vec<i32>, Vec<i32>) {
    let counts: Vec<i32> = counts.iter().map(|&count| count as i32).collect();
    let mut at = 0;
    let begins = counts.iter().map(|count| {
        at += count;
        at - count
    });
    let begins = begins.collect();
    (counts, begins)
}
