//! Limits that Linux control groups set on this process, versions 1 and 2, its own group's and
//! every parent's. Sources: proc_pid_mountinfo(5); the kernel's admin-guide/cgroup-v2 and
//! admin-guide/cgroup-v1/memory.
//!
//! All paths start at a root that tests can replace. Whatever cannot be read sets no limit.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders of this process's group and of its parents up to the mount, one chain per version
/// and controller.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    unified: Vec<PathBuf>,
    cpu: Vec<PathBuf>,
    memory: Vec<PathBuf>,
}

impl Groups {
    /// Reads `/proc/self/cgroup` and `/proc/self/mountinfo` below `root`.
    pub(crate) fn read(root: &Path) -> Self {
        let text = |name| fs::read_to_string(root.join(name)).unwrap_or_default();
        let (groups, mounts) = (text("proc/self/cgroup"), text("proc/self/mountinfo"));
        let chain = |controller: &str| {
            let (mount_root, mount_point) = find_mount(&mounts, controller)?;
            let group = find_group(&groups, controller)?;
            Some(folders(root, mount_root, mount_point, group))
        };
        Self {
            unified: chain("").unwrap_or_default(),
            cpu: chain("cpu").unwrap_or_default(),
            memory: chain("memory").unwrap_or_default(),
        }
    }

    /// The processor time that may be used, in processors.
    pub(crate) fn cpu_quota(&self) -> Option<f64> {
        let unified = self.unified.iter().filter_map(|folder| {
            let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            ratio(quota.parse().ok()?, period.parse().ok()?)
        });
        let legacy = self.cpu.iter().filter_map(|folder| {
            ratio(number(folder, "cpu.cfs_quota_us")?, number(folder, "cpu.cfs_period_us")?)
        });
        unified.chain(legacy).reduce(f64::min)
    }

    /// The smallest memory limit, and the least that a group has left below its limit, in bytes.
    /// File pages that the system can drop count as left.
    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        let unified = self.unified.iter().filter_map(|folder| {
            let cache = ["active_file", "inactive_file"];
            room(folder, "memory.max", "memory.current", cache)
        });
        let legacy = self.memory.iter().filter_map(|folder| {
            let cache = ["total_active_file", "total_inactive_file"];
            room(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", cache)
        });
        unified.chain(legacy).reduce(|a, b| (a.0.min(b.0), a.1.min(b.1)))
    }
}

fn number(folder: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
}

fn ratio(quota: u64, period: u64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

fn room(folder: &Path, limit: &str, usage: &str, cache: [&str; 2]) -> Option<(u64, u64)> {
    let limit = number(folder, limit)?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().filter_map(|line| {
        let (key, bytes) = line.split_once(' ')?;
        if cache.contains(&key) { bytes.trim().parse::<u64>().ok() } else { None }
    });
    let cached = cached.fold(0, u64::saturating_add);
    let used = number(folder, usage)?.saturating_sub(cached);
    Some((limit, limit.saturating_sub(used)))
}

/// The path of this process's group under a version 1 controller, or under version 2 if
/// `controller` is empty. Lines read `id:controller,controller:path`.
fn find_group<'text>(groups: &'text str, controller: &str) -> Option<&'text str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

/// The root within the hierarchy and the mount point of a version 1 controller, or of version 2.
fn find_mount<'text>(mounts: &'text str, controller: &str) -> Option<(&'text str, &'text str)> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (system, options) = (kind.next()?, kind.nth(1)?);
        let fits = match controller {
            "" => system == "cgroup2",
            name => system == "cgroup" && options.split(',').any(|option| option == name),
        };
        let mut mount = mount.split(' ').skip(3);
        fits.then_some((mount.next()?, mount.next()?))
    })
}

/// The group's folder and its parents. A container may see its own group mounted as the root of the
/// hierarchy.
fn folders(root: &Path, mount_root: &str, mount_point: &str, group: &str) -> Vec<PathBuf> {
    let mount = root.join(mount_point.trim_start_matches('/'));
    let inside = group.strip_prefix(mount_root).unwrap_or(group).trim_matches('/');
    let up = inside.split('/').any(|part| part == "..");
    let group = if inside.is_empty() || up { mount.clone() } else { mount.join(inside) };
    group.ancestors().take_while(|folder| folder.starts_with(&mount)).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::Fixture;

    const UNIFIED: [(&str, &str); 2] = [
        ("proc/self/cgroup", "0::/a/b\n"),
        (
            "proc/self/mountinfo",
            "30 20 0:25 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
        ),
    ];
    const LEGACY: [(&str, &str); 2] = [
        ("proc/self/cgroup", "4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n0::/\n"),
        (
            "proc/self/mountinfo",
            "31 30 0:26 /docker/x /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n\
             32 30 0:27 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
        ),
    ];

    fn check(
        system: [(&str, &str); 2],
        files: &[(&str, &str)],
        quota: Option<f64>,
        memory: Option<(u64, u64)>,
    ) {
        let fixture = Fixture::new(system.iter().chain(files));
        let groups = Groups::read(fixture.root());
        assert_eq!(groups.cpu_quota(), quota);
        assert_eq!(groups.memory(), memory);
    }

    #[test]
    fn no_limit() {
        check(UNIFIED, &[], None, None);
        let files = [
            ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/memory.current", "17\n"),
        ];
        check(UNIFIED, &files, None, None);
        check(LEGACY, &[("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")], None, None);
    }

    #[test]
    fn the_tightest_of_group_and_parents_holds() {
        let files = [
            ("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n"),
            ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "1000\n"),
            ("sys/fs/cgroup/a/b/memory.current", "700\n"),
            ("sys/fs/cgroup/a/b/memory.stat", "anon 500\ninactive_file 120\nactive_file 80\n"),
            ("sys/fs/cgroup/a/memory.max", "2000\n"),
            ("sys/fs/cgroup/a/memory.current", "1600\n"),
        ];
        check(UNIFIED, &files, Some(1.5), Some((1000, 400)));
    }

    #[test]
    fn version_1_in_a_container() {
        let files = [
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 1000\n"),
        ];
        check(LEGACY, &files, Some(0.5), Some((4096, 96)));
    }
}
