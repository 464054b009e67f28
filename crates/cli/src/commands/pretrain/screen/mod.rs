//! `--tui`: a full screen with curves, on a thread of its own, so that keys are heard while a step
//! is computed.
//!
//! Invariant: whatever ends the program short of `kill -9`, the terminal is as it was:
//! [`Screen::close`], the panic hook and the hook for a second Ctrl-C all call [`restore`], which
//! acts once.

mod draw;
mod state;

use std::io::{self, IsTerminal as _, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lucid_train::Wish;
use lucid_train::record::Event;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::{cursor, execute, terminal};

use crate::interrupt;
pub(super) use state::Facts;
use state::{Page, State};

/// Between two looks at the keys.
const KEYS_EVERY: Duration = Duration::from_millis(100);
/// Between two pictures, at least: clocks move on even where no step ends.
const PICTURE_EVERY: Duration = Duration::from_millis(500);

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What a person asked for by key and was not yet given.
#[derive(Debug, Default)]
struct Asked {
    stop: AtomicBool,
    /// By Ctrl-C.
    interrupted: AtomicBool,
    sample: AtomicBool,
    validate: AtomicBool,
    save: AtomicBool,
}

impl Asked {
    /// What is wanted after an event. Wishes are granted after steps: taken at another event, they
    /// would be lost.
    fn after(&self, event: &Event) -> Wish {
        match event {
            Event::Step { .. } => self.take(),
            _ if self.stop.load(Ordering::SeqCst) => Wish::Stop,
            _ => Wish::GoOn,
        }
    }

    fn take(&self) -> Wish {
        let wishes = [
            (&self.sample, Wish::Sample),
            (&self.validate, Wish::Validate),
            (&self.save, Wish::Save),
        ];
        if self.stop.load(Ordering::SeqCst) {
            return Wish::Stop;
        }
        let asked = wishes.iter().find(|(flag, _)| flag.swap(false, Ordering::SeqCst));
        asked.map_or(Wish::GoOn, |(_, wish)| *wish)
    }
}

/// The screen of a run.
pub(super) struct Screen {
    events: Sender<Event>,
    asked: Arc<Asked>,
    thread: JoinHandle<Vec<String>>,
}

impl Screen {
    /// Refuses where there is no screen.
    pub(super) fn check() -> Result<()> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            bail!(
                "--tui draws on a terminal and listens to its keys, and standard input or output \
                 is none; without it a run tells its progress in lines, with --json in events"
            );
        }
        Ok(())
    }

    /// Takes the terminal. `earlier` are the events of the run before it was resumed.
    pub(super) fn open(facts: Facts, earlier: &[Event], colour: bool) -> Result<Self> {
        let mut state = State::new(facts, colour);
        for event in earlier {
            state.replay(event);
        }
        let mut drawn = take().context("cannot draw on this terminal")?;
        // Drawn once here, so that what is wrong with the terminal is an error and no silence.
        let first = drawn.draw(|frame| draw::draw(frame, &state)).map(|_| ());
        if first.is_err() {
            restore();
        }
        first.context("cannot draw on this terminal")?;
        let (events, told) = channel();
        let asked = Arc::new(Asked::default());
        let heard = Arc::clone(&asked);
        let thread = std::thread::spawn(move || show(drawn, state, &told, &heard));
        Ok(Self { events, asked, thread })
    }

    /// Shows an event; returns what was asked for by key.
    pub(super) fn tell(&self, event: &Event) -> Wish {
        // A screen that is gone changes nothing about the run.
        let _ = self.events.send(event.clone());
        self.asked.after(event)
    }

    /// Gives the terminal back; returns what is worth keeping of what was shown.
    pub(super) fn close(self) -> Vec<String> {
        drop(self.events);
        let kept = self.thread.join().unwrap_or_default();
        restore();
        kept
    }
}

fn take() -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |what| {
        restore();
        before(what);
    }));
    interrupt::before_exit(restore);
    terminal::enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    let entered = execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide);
    let made = entered.and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
    if made.is_err() {
        restore();
    }
    made
}

/// Gives the terminal back, if it is ours.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nothing can be done about a terminal that refuses.
        let _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}

/// Draws and listens until the run is over.
fn show(
    mut terminal: Terminal<CrosstermBackend<Stdout>>,
    mut state: State,
    told: &Receiver<Event>,
    asked: &Asked,
) -> Vec<String> {
    let mut drawn: Option<Instant> = None;
    loop {
        let mut changed = false;
        loop {
            match told.try_recv() {
                Ok(event) => {
                    state.tell(&event);
                    changed = true;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return state.into_kept(),
            }
        }
        let due = drawn.is_none_or(|drawn| drawn.elapsed() >= PICTURE_EVERY);
        if (changed || due) && TAKEN.load(Ordering::SeqCst) {
            // A terminal that is gone for a moment is drawn on again at the next turn.
            let _ = terminal.draw(|frame| draw::draw(frame, &state));
            drawn = Some(Instant::now());
        }
        match event::poll(KEYS_EVERY) {
            Ok(true) => {
                if let Ok(event) = event::read() {
                    hear(&event, &mut state, asked);
                    drawn = None;
                }
            }
            Ok(false) => {}
            // No keys any more: do not turn in circles.
            Err(_) => std::thread::sleep(KEYS_EVERY),
        }
    }
}

fn hear(event: &event::Event, state: &mut State, asked: &Asked) {
    let event::Event::Key(key) = event else { return };
    if key.kind == KeyEventKind::Release {
        return;
    }
    let interrupted =
        key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    let ask = |flag: &AtomicBool| flag.swap(true, Ordering::SeqCst);
    match key.code {
        _ if interrupted => {
            if ask(&asked.interrupted) {
                // As everywhere: the second one does not wait.
                interrupt::leave();
            }
            ask(&asked.stop);
            state.stopping();
        }
        KeyCode::Char('q') => {
            ask(&asked.stop);
            state.stopping();
        }
        KeyCode::Char('s') => {
            ask(&asked.sample);
            state.wait_for("a sample");
        }
        KeyCode::Char('v') => {
            ask(&asked.validate);
            state.wait_for("a look at held-out text");
        }
        KeyCode::Char('c') => {
            ask(&asked.save);
            state.wait_for("a checkpoint");
        }
        KeyCode::Char('l') => state.turn_scale(),
        KeyCode::Char('?' | 'h') if state.page == Page::Curves => state.page = Page::Help,
        KeyCode::Char('?' | 'h') | KeyCode::Esc => state.page = Page::Curves,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wish_is_given_once_and_stopping_goes_before_all() {
        let asked = Asked::default();
        assert_eq!(asked.take(), Wish::GoOn);
        asked.save.store(true, Ordering::SeqCst);
        asked.sample.store(true, Ordering::SeqCst);
        let sample = Event::Sample { step: 1, text: String::new() };
        assert_eq!(asked.after(&sample), Wish::GoOn, "and what was asked for is kept");
        assert_eq!(
            [asked.take(), asked.take(), asked.take()],
            [Wish::Sample, Wish::Save, Wish::GoOn]
        );
        asked.sample.store(true, Ordering::SeqCst);
        asked.stop.store(true, Ordering::SeqCst);
        assert_eq!(asked.after(&sample), Wish::Stop);
        assert_eq!([asked.take(), asked.take()], [Wish::Stop, Wish::Stop]);
    }
}
