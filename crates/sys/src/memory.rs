//! How much memory this process can count on. Linux only, from `/proc` and the control groups;
//! unknown elsewhere.

use std::fs;
use std::path::Path;

use crate::cgroup::Groups;

/// The memory of the machine, or of the control group where that is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it, in bytes.
    pub total_bytes: u64,
    /// What can be had without swapping, in bytes; file pages that the system may drop count.
    pub available_bytes: u64,
}

impl Memory {
    /// Asks the system; `None` where it does not say.
    pub fn detect() -> Option<Self> {
        if cfg!(target_os = "linux") { Self::read(Path::new("/")) } else { None }
    }

    fn read(root: &Path) -> Option<Self> {
        let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
        let (total, available) =
            (kibibytes(&text, "MemTotal:")?, kibibytes(&text, "MemAvailable:")?);
        let (limit, left) = Groups::read(root).memory().unwrap_or((u64::MAX, u64::MAX));
        Some(Self { total_bytes: total.min(limit), available_bytes: available.min(left) })
    }
}

/// The most physical memory that this process has held at once, in bytes, mapped file pages
/// included; `None` where the system does not say.
pub fn peak_resident_bytes() -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The value of a line `key  123 kB`, in bytes.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::Fixture;

    fn check(files: &[(&str, &str)], expected: Option<(u64, u64)>) {
        let fixture = Fixture::new(files.iter());
        let found = Memory::read(fixture.root());
        assert_eq!(found.map(|found| (found.total_bytes, found.available_bytes)), expected);
    }

    #[test]
    fn machine_and_group_limits() {
        let info = ("proc/meminfo", "MemTotal:  8 kB\nMemFree: 1 kB\nMemAvailable:   5 kB\n");
        check(&[], None);
        check(&[info], Some((8192, 5120)));
        let group = [
            info,
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", "30 20 0:25 / /cg rw - cgroup2 none rw\n"),
            ("cg/memory.max", "4096\n"),
            ("cg/memory.current", "4000\n"),
        ];
        check(&group, Some((4096, 96)));
    }

    #[test]
    fn a_line_of_another_form_is_no_value() {
        check(&[("proc/meminfo", "MemTotal: 8 MB\nMemAvailable: 5 kB\n")], None);
        let huge = "MemTotal: 99999999999999999999 kB\nMemAvailable: 5 kB\n";
        check(&[("proc/meminfo", huge)], None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_grows_with_use() {
        // More than other tests of this process have held and given back.
        let before = peak_resident_bytes().unwrap();
        let buffer = vec![1u8; before as usize + (64 << 20)];
        std::hint::black_box(&buffer);
        assert!(peak_resident_bytes().unwrap() >= before + (48 << 20));
        assert!(Memory::detect().unwrap().total_bytes > 0);
    }
}
