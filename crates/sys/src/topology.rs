//! How many processors there are, and how many of them this process may use.
//!
//! On Linux from `/sys/devices/system/cpu` (cores), `/proc/self/status` (affinity) and the control
//! groups (quota); elsewhere, and where those cannot be read, from the standard library.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::cgroup::Groups;

/// What this process can count on. All counts are at least 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Topology {
    /// Cores of the machine; threads of one core count once.
    pub physical_cores: usize,
    /// Hardware threads of the machine.
    pub logical_cores: usize,
    /// Hardware threads that this process may run on.
    pub affinity_cores: usize,
    /// Cores that have at least one such hardware thread.
    pub affinity_physical_cores: usize,
    /// Processor time that control groups allow, in processors; `None` without a limit.
    pub quota_cores: Option<f64>,
}

impl Topology {
    /// Asks the system.
    pub fn detect() -> Self {
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let root = if cfg!(target_os = "linux") { Some(Path::new("/")) } else { None };
        root.and_then(Self::read).unwrap_or(Self {
            physical_cores: available,
            logical_cores: available,
            affinity_cores: available,
            affinity_physical_cores: available,
            quota_cores: None,
        })
    }

    /// How many threads to compute with unless told otherwise: one per core that may be used (a
    /// second hardware thread of a core adds little to code that saturates its arithmetic or its
    /// memory), within the quota.
    pub fn default_threads(&self) -> usize {
        let quota = self.quota_cores.map_or(usize::MAX, |quota| quota as usize);
        self.affinity_physical_cores.min(quota).max(1)
    }

    /// Reads the files that Linux offers below `root`.
    fn read(root: &Path) -> Option<Self> {
        let folder = root.join("sys/devices/system/cpu");
        let text = |path: &Path| fs::read_to_string(path).ok();
        let online = parse_list(&text(&folder.join("online"))?)?;
        let status = text(&root.join("proc/self/status")).unwrap_or_default();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let mut allowed = allowed.and_then(parse_list).unwrap_or_else(|| online.clone());
        allowed.retain(|cpu| online.contains(cpu));
        if allowed.is_empty() {
            return None;
        }
        // A core is known by the list of its threads, the same for each of them.
        let core = |cpu: &usize| {
            let topology = folder.join(format!("cpu{cpu}/topology"));
            let siblings = text(&topology.join("core_cpus_list"))
                .or_else(|| text(&topology.join("thread_siblings_list")));
            siblings.map_or_else(|| cpu.to_string(), |list| list.trim().to_owned())
        };
        let count = |cpus: &BTreeSet<usize>| cpus.iter().map(core).collect::<BTreeSet<_>>().len();
        Some(Self {
            physical_cores: count(&online),
            logical_cores: online.len(),
            affinity_cores: allowed.len(),
            affinity_physical_cores: count(&allowed),
            quota_cores: Groups::read(root).cpu_quota(),
        })
    }
}

/// Parses `0-3,8,10-11`. `None` if it is empty, not of that form, or names a processor beyond any
/// machine.
fn parse_list(list: &str) -> Option<BTreeSet<usize>> {
    const LIMIT: usize = 1 << 16;
    let mut cpus = BTreeSet::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= LIMIT {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A folder that looks like the root of some Linux system; removed when dropped.
    pub(crate) struct Fixture(PathBuf);

    impl Fixture {
        pub(crate) fn new<'text>(
            files: impl Iterator<Item = &'text (&'text str, &'text str)>,
        ) -> Self {
            static COUNTER: AtomicUsize = AtomicUsize::new(0);
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!("lucid-sys-root-{}-{number}", std::process::id());
            let root = std::env::temp_dir().join(name);
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        pub(crate) fn root(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn check(files: &[(&str, &str)], expected: Option<(Topology, usize)>) {
        let fixture = Fixture::new(files.iter());
        let found = Topology::read(fixture.root());
        assert_eq!(found.map(|found| (found, found.default_threads())), expected);
    }

    #[test]
    fn two_threads_per_core_and_an_affinity_mask() {
        let files = [
            ("sys/devices/system/cpu/online", "0-3,6\n"),
            ("sys/devices/system/cpu/cpu0/topology/core_cpus_list", "0-1\n"),
            ("sys/devices/system/cpu/cpu1/topology/core_cpus_list", "0-1\n"),
            ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2-3\n"),
            ("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "2-3\n"),
            ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t1-2,6-9\n"),
        ];
        let mut expected = Topology {
            physical_cores: 3,
            logical_cores: 5,
            affinity_cores: 3,
            affinity_physical_cores: 3,
            quota_cores: None,
        };
        check(&files, Some((expected, 3)));
        let status = ("proc/self/status", "Cpus_allowed_list:\t0-1\n");
        (expected.affinity_cores, expected.affinity_physical_cores) = (2, 1);
        check(&[&files[..5], &[status]].concat(), Some((expected, 1)));
    }

    #[test]
    fn a_quota_bounds_the_threads() {
        let topology = Topology {
            physical_cores: 8,
            logical_cores: 16,
            affinity_cores: 16,
            affinity_physical_cores: 8,
            quota_cores: Some(2.5),
        };
        assert_eq!(topology.default_threads(), 2);
        assert_eq!(Topology { quota_cores: Some(0.3), ..topology }.default_threads(), 1);
        assert_eq!(Topology { quota_cores: Some(64.0), ..topology }.default_threads(), 8);
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed() {
        check(&[], None);
        check(&[("sys/devices/system/cpu/online", "3-1\n")], None);
        check(&[("sys/devices/system/cpu/online", "0-99999999999\n")], None);
        check(&[("sys/devices/system/cpu/online", "")], None);
    }

    #[test]
    fn this_machine_has_a_processor() {
        let topology = Topology::detect();
        assert!(topology.default_threads() >= 1);
        assert!(topology.affinity_physical_cores <= topology.affinity_cores);
        assert!(topology.affinity_cores <= topology.logical_cores);
    }
}
