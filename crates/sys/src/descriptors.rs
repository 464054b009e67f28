//! How many files and sockets this process may have open. Systems start programs with a low bound
//! (1,024 is common) for the sake of ones that use `select`, and let them raise it.

/// Raises the bound on open files and sockets as far as the system lets a program do it itself, but
/// not beyond `wanted`. Returns the bound then; none where the system has none or does not tell.
pub fn raise_descriptor_limit(wanted: u64) -> Option<u64> {
    system::raise(wanted)
}

#[cfg(all(target_pointer_width = "64", any(target_os = "linux", target_os = "macos")))]
mod system {
    /// `struct rlimit` of POSIX; both systems have 64-bit `rlim_t` here.
    #[repr(C)]
    struct Limits {
        current: u64,
        most: u64,
    }

    /// `RLIMIT_NOFILE`. Sources: Linux's include/uapi/asm-generic/resource.h (alpha, mips and
    /// sparc differ), Darwin's sys/resource.h.
    #[cfg(target_os = "linux")]
    const OPEN_FILES: i32 = 7;
    #[cfg(target_os = "macos")]
    const OPEN_FILES: i32 = 8;

    // SAFETY: these are the declarations of POSIX for the structure above.
    unsafe extern "C" {
        fn getrlimit(resource: i32, limits: *mut Limits) -> i32;
        fn setrlimit(resource: i32, limits: *const Limits) -> i32;
    }

    pub(super) fn raise(wanted: u64) -> Option<u64> {
        let mut limits = Limits { current: 0, most: 0 };
        // SAFETY: `limits` is a writable `struct rlimit` that outlives the call.
        if unsafe { getrlimit(OPEN_FILES, &raw mut limits) } != 0 {
            return None;
        }
        let before = limits.current;
        let raised = wanted.min(limits.most);
        if raised <= before {
            return Some(before);
        }
        limits.current = raised;
        // SAFETY: `limits` is a readable `struct rlimit` that outlives the call.
        let set = unsafe { setrlimit(OPEN_FILES, &raw const limits) };
        Some(if set == 0 { raised } else { before })
    }
}

#[cfg(not(all(target_pointer_width = "64", any(target_os = "linux", target_os = "macos"))))]
mod system {
    pub(super) fn raise(_wanted: u64) -> Option<u64> {
        None
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod tests {
    use super::raise_descriptor_limit;

    /// What the system says: the line of /proc/self/limits has the current bound and the most.
    fn told() -> (u64, u64) {
        let text = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    #[test]
    fn the_bound_rises_to_what_is_allowed_and_never_falls() {
        let (before, most) = told();
        assert_eq!(raise_descriptor_limit(1), Some(before));
        let wanted = (before + 1).min(most);
        assert_eq!(raise_descriptor_limit(wanted), Some(wanted));
        assert_eq!(told().0, wanted);
        assert_eq!(raise_descriptor_limit(u64::MAX), Some(most));
    }
}
