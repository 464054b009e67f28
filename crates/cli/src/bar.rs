//! A bar for work of a known size, on a screen only, and only once it has taken a while.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// What is over sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// A progress bar on standard error.
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    started: Instant,
}

impl Bar {
    /// A bar of bytes that says what is being done.
    pub(crate) fn new(what: &'static str) -> Self {
        Self::with("{msg} {bar:30} {bytes} of {total_bytes}, {eta} left", what)
    }

    /// A bar of tokens.
    pub(crate) fn of_tokens(what: &'static str) -> Self {
        Self::with("{msg} {bar:30} {pos} of {len} tokens, {eta} left", what)
    }

    /// A bar of conversations.
    pub(crate) fn of_items(what: &'static str) -> Self {
        Self::with("{msg} {bar:30} {pos} of {len} conversations, {eta} left", what)
    }

    fn with(template: &str, what: &'static str) -> Self {
        let style = ProgressStyle::with_template(template).ok();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0).with_message(what);
            style.map_or(bar.clone(), |style| bar.with_style(style))
        });
        Self { bar, started: Instant::now() }
    }

    /// `done` of `total` bytes or tokens.
    pub(crate) fn show(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar
            && self.started.elapsed() > PATIENCE
        {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
