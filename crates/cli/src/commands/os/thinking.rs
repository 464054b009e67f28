//! A line that moves while models think: a turn may take longer than anybody looks at nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lucid_os::{Event, Pid, Told};

/// How often it moves.
const TICK: Duration = Duration::from_millis(120);

/// Who thinks, and how much was said. What is said is not shown before it is in the log.
pub(super) struct Thinking {
    /// None where nobody looks.
    shown: bool,
    bar: Option<ProgressBar>,
    who: BTreeSet<Pid>,
    characters: usize,
}

impl Thinking {
    /// Shown or not.
    pub(super) fn new(shown: bool) -> Self {
        Self { shown, bar: None, who: BTreeSet::new(), characters: 0 }
    }

    /// Takes note of what happened.
    pub(super) fn hear(&mut self, told: &[Told]) {
        for told in told {
            match told {
                Told::Text { text, .. }
                | Told::Reasoning { text, .. }
                | Told::Arguments { text, .. } => {
                    self.characters += text.chars().count();
                }
                Told::Event(event) => match **event {
                    Event::TurnBegun { pid, .. } => {
                        // Another turn, another time.
                        self.clear();
                        self.who.insert(pid);
                    }
                    Event::Spoke { pid, .. }
                    | Event::TurnBroken { pid, .. }
                    | Event::Signalled { pid, .. }
                    | Event::Exited { pid, .. } => {
                        self.who.remove(&pid);
                        self.characters = 0;
                    }
                    _ => {}
                },
            }
        }
        if self.who.is_empty() {
            self.clear();
        } else if self.shown {
            self.show();
        }
    }

    fn show(&mut self) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(TICK);
            match ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let who: Vec<String> = self.who.iter().map(ToString::to_string).collect();
        let who = who.join(", ");
        bar.set_message(match self.characters {
            0 => format!("process {who} reads"),
            many => format!("process {who} thinks: {many} characters"),
        });
    }

    /// Writes something without the line in between.
    pub(super) fn beside(&self, write: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the line off the screen.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
