//! Ctrl-C: the first one stops the answer, a second within the same answer ends the program.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Set while something runs that a person may want to stop.
static LISTENING: AtomicBool = AtomicBool::new(false);
/// Presses since `listen`.
static PRESSES: AtomicU32 = AtomicU32::new(0);
/// The same, for code that takes a plain flag.
static CANCEL: AtomicBool = AtomicBool::new(false);

/// The exit status of a program that was interrupted: 128 + SIGINT.
pub(crate) const EXIT_INTERRUPTED: i32 = 130;

/// Installs the handler, once. Until then, or where it cannot be installed, Ctrl-C ends the
/// program, as usual.
///
/// The line editor installs a handler of its own when it is made; so this comes after it.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(set_handler);
}

fn set_handler() {
    let handler = || {
        let presses = PRESSES.fetch_add(1, Ordering::SeqCst);
        CANCEL.store(true, Ordering::SeqCst);
        if presses > 0 || !LISTENING.load(Ordering::SeqCst) {
            // Leaving at once drops nothing; half-written files are removed here.
            lucid_sys::abandon_writes();
            std::process::exit(EXIT_INTERRUPTED);
        }
    };
    // Best effort: without it Ctrl-C ends the program, which is safe too.
    let _ = ctrlc::set_handler(handler);
}

/// Until dropped, Ctrl-C is noted and not the program's end.
pub(crate) struct Listening {
    cancelled: &'static AtomicBool,
}

/// Starts to listen.
pub(crate) fn listen() -> Listening {
    install();
    PRESSES.store(0, Ordering::SeqCst);
    CANCEL.store(false, Ordering::SeqCst);
    LISTENING.store(true, Ordering::SeqCst);
    Listening { cancelled: &CANCEL }
}

impl Listening {
    /// Whether Ctrl-C was pressed meanwhile.
    pub(crate) fn interrupted(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// The same as a flag.
    pub(crate) fn flag(&self) -> &'static AtomicBool {
        self.cancelled
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.store(false, Ordering::SeqCst);
    }
}
