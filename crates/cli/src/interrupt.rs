//! Ctrl-C: the first one stops the answer, a second within the same answer ends the program. A
//! training run also listens to SIGTERM, which is how batch systems and shutdowns announce the end.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Once, OnceLock};

/// Set while something runs that a person may want to stop.
static LISTENING: AtomicBool = AtomicBool::new(false);
/// Presses since `listen`.
static PRESSES: AtomicU32 = AtomicU32::new(0);
/// The same, for code that takes a plain flag.
static CANCEL: AtomicBool = AtomicBool::new(false);
/// Set by SIGTERM, where it is listened to.
static TERMINATED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
static BEFORE_EXIT: OnceLock<fn()> = OnceLock::new();

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
            leave();
        }
    };
    // Best effort: without it Ctrl-C ends the program, which is safe too.
    let _ = ctrlc::set_handler(handler);
}

/// Ends the program at once. Half-written files are removed here, since leaving drops nothing.
pub(crate) fn leave() -> ! {
    if let Some(before) = BEFORE_EXIT.get() {
        before();
    }
    lucid_sys::abandon_writes();
    std::process::exit(EXIT_INTERRUPTED);
}

/// What [`leave`] does first: giving a terminal back. The first one that is given stays.
pub(crate) fn before_exit(before: fn()) {
    let _ = BEFORE_EXIT.set(before);
}

/// From now on SIGTERM counts as Ctrl-C to whoever listens, however often it comes.
pub(crate) fn listen_to_terminate() {
    #[cfg(unix)]
    {
        // Best effort: without it the signal ends the program, which is safe too.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGTERM, TERMINATED.clone());
    }
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
        self.cancelled.load(Ordering::SeqCst) || TERMINATED.load(Ordering::SeqCst)
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
