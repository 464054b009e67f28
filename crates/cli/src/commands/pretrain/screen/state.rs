//! What a screen knows of a run: the curves, the numbers of now, and the news.

use std::collections::VecDeque;
use std::time::Instant;

use lucid_train::Verdict;
use lucid_train::record::Event;

use crate::commands::pretrain::live::reason;
use crate::style;

/// Steps over which numbers are averaged, about.
const MEMORY: f64 = 20.0;
/// Points of a curve at most; then neighbours become one.
const POINTS_MAX: usize = 2000;
/// News that are kept.
const NEWS_MAX: usize = 200;

/// What is known before the first step.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The run's folder.
    pub(crate) folder: String,
    /// The network, in words.
    pub(crate) network: String,
    pub(crate) steps: u64,
    /// Steps that were done before.
    pub(crate) step: u64,
    pub(crate) flops_per_token: f64,
    /// Floating-point operations per second at most.
    pub(crate) peak: f64,
}

/// Points whose neighbours become one where they are too many.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) points: Vec<(f64, f64)>,
    /// Values of a point, and those of the next one so far: their count and sums.
    each: usize,
    open: (usize, f64, f64),
}

impl Series {
    fn new() -> Self {
        Self { points: Vec::new(), each: 1, open: (0, 0.0, 0.0) }
    }

    fn push(&mut self, x: f64, y: f64) {
        if !y.is_finite() {
            return;
        }
        let (count, sum_x, sum_y) = self.open;
        let (count, sum_x, sum_y) = (count + 1, sum_x + x, sum_y + y);
        if count < self.each {
            self.open = (count, sum_x, sum_y);
            return;
        }
        self.open = (0, 0.0, 0.0);
        self.points.push((sum_x / count as f64, sum_y / count as f64));
        if self.points.len() >= 2 * POINTS_MAX {
            let mean = |pair: &[(f64, f64)]| {
                let count = pair.len() as f64;
                let sum = pair.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0, y + p.1));
                (sum.0 / count, sum.1 / count)
            };
            self.points = self.points.chunks(2).map(mean).collect();
            self.each *= 2;
        }
    }
}

/// A running mean.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean(pub(super) Option<f64>);

impl Mean {
    fn put(&mut self, new: f64) {
        if new.is_finite() {
            self.0 = Some(self.0.map_or(new, |old| old + (new - old) / MEMORY));
        }
    }
}

/// How urgent news are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Note,
    Warning,
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Curves,
    Help,
}

/// How axes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// Both axes of losses.
    Logarithmic,
}

/// All of it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) facts: Facts,
    pub(super) colour: bool,
    pub(super) page: Page,
    pub(super) scale: Scale,
    pub(super) step: u64,
    pub(super) tokens: u64,
    /// Bits per byte by tokens.
    pub(super) training: Series,
    pub(super) held_out: Vec<(f64, f64)>,
    pub(super) rates: Series,
    pub(super) paces: Series,
    pub(super) bits: Mean,
    pub(super) loss: Mean,
    pub(super) pace: Mean,
    pub(super) rate: f64,
    pub(super) norm: f64,
    pub(super) sample: Option<(u64, String)>,
    pub(super) saved: Option<u64>,
    pub(super) skipped: u64,
    pub(super) news: VecDeque<(Weight, String)>,
    /// What was asked for by key.
    pub(super) waiting: Option<&'static str>,
    /// Since the screen opened.
    pub(super) begun: Instant,
}

impl State {
    pub(super) fn new(facts: Facts, colour: bool) -> Self {
        Self {
            step: facts.step,
            facts,
            colour,
            page: Page::Curves,
            scale: Scale::Linear,
            tokens: 0,
            training: Series::new(),
            held_out: Vec::new(),
            rates: Series::new(),
            paces: Series::new(),
            bits: Mean::default(),
            loss: Mean::default(),
            pace: Mean::default(),
            rate: 0.0,
            norm: 0.0,
            sample: None,
            saved: None,
            skipped: 0,
            news: VecDeque::new(),
            waiting: None,
            begun: Instant::now(),
        }
    }

    /// An event of the run before it was resumed: curves, but no news.
    pub(super) fn replay(&mut self, event: &Event) {
        self.tell(event);
        self.news.clear();
        self.pace = Mean::default();
        self.waiting = None;
    }

    pub(super) fn tell(&mut self, event: &Event) {
        match event {
            Event::Step { .. } => self.tell_step(event),
            Event::Validation { step, bits_per_byte, bytes, .. } => {
                self.held_out.push((self.tokens as f64, *bits_per_byte));
                let bytes = style::bytes(*bytes);
                let line = format!(
                    "step {step}: held-out text {bits_per_byte:.4} bits a byte over {bytes}"
                );
                self.put(Weight::Note, line);
            }
            Event::Sample { step, text } => {
                let text = style::harmless(text).replace('\t', " ");
                self.put(Weight::Note, format!("step {step} writes: {}", text.replace('\n', " ")));
                self.sample = Some((*step, text));
            }
            Event::Checkpoint { step, .. } => {
                self.saved = Some(*step);
                self.put(Weight::Note, format!("step {step}: checkpoint"));
            }
            Event::Horizon { steps, .. } => self.facts.steps = *steps,
            Event::Resumed { step } => {
                self.put(Weight::Note, format!("goes on after step {step}"));
            }
            Event::RolledBack { step, to } => {
                let line = format!("step {step}: back to the weights of step {to}");
                self.put(Weight::Warning, line);
            }
            Event::Finished { step, bits_per_byte, bytes, .. } => {
                let all = style::bytes(*bytes);
                let line = format!(
                    "step {step}, the last: {bits_per_byte:.4} bits a byte of held-out text, all \
                     {all} of it"
                );
                self.put(Weight::Note, line);
            }
        }
    }

    fn tell_step(&mut self, event: &Event) {
        let Event::Step { step, loss, bits_per_byte, norm, rate, tokens, .. } = event else {
            return;
        };
        let Event::Step { tokens_per_second, verdict, .. } = event else { return };
        (self.step, self.rate, self.norm) = (*step, *rate, *norm);
        self.tokens += tokens;
        let x = self.tokens as f64;
        self.training.push(x, *bits_per_byte);
        self.rates.push(x, *rate);
        self.paces.push(x, *tokens_per_second);
        self.bits.put(*bits_per_byte);
        self.loss.put(*loss);
        self.pace.put(*tokens_per_second);
        if *verdict != Verdict::Taken {
            self.skipped += 1;
            let why = reason(*verdict);
            self.put(Weight::Warning, format!("step {step} is left out: {why}"));
        }
    }

    fn put(&mut self, weight: Weight, line: String) {
        self.waiting = self.waiting.filter(|what| *what == STOPPING);
        if self.news.len() == NEWS_MAX {
            self.news.pop_front();
        }
        self.news.push_back((weight, line));
    }

    pub(super) fn wait_for(&mut self, what: &'static str) {
        if self.waiting != Some(STOPPING) {
            self.waiting = Some(what);
        }
    }

    pub(super) fn stopping(&mut self) {
        self.waiting = Some(STOPPING);
    }

    pub(super) fn turn_scale(&mut self) {
        self.scale = match self.scale {
            Scale::Linear => Scale::Logarithmic,
            Scale::Logarithmic => Scale::Linear,
        };
    }

    /// Seconds that are left, where a step was seen.
    pub(super) fn left(&self) -> Option<f64> {
        let taken = self.step.checked_sub(self.facts.step).filter(|&taken| taken > 0)?;
        let each = self.begun.elapsed().as_secs_f64() / taken as f64;
        Some(each * self.facts.steps.saturating_sub(self.step) as f64)
    }

    /// The news as lines, for after the screen.
    pub(super) fn into_kept(self) -> Vec<String> {
        let line = |(weight, line): (Weight, String)| match weight {
            Weight::Note => line,
            Weight::Warning => format!("lucid: warning: {line}"),
        };
        self.news.into_iter().map(line).collect()
    }
}

/// What stands while a run is about to stop.
pub(super) const STOPPING: &str = "the end of this step, then stops with a checkpoint";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_few_points_and_their_mean() {
        let mut series = Series::new();
        (0..100_000).for_each(|i| series.push(f64::from(i), f64::from(i)));
        series.push(1.0, f64::NAN);
        assert!((POINTS_MAX / 2..2 * POINTS_MAX).contains(&series.points.len()));
        assert!(series.points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(series.points.iter().all(|(x, y)| (x - y).abs() < 1e-6));
        let last = series.points.last().unwrap();
        assert!(last.0 > 99_000.0, "{last:?}");
    }
}
