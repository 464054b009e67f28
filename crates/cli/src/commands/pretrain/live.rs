//! What a person sees of a run while it goes: a line that changes, and lines that stay.

use std::io::IsTerminal as _;
use std::time::Instant;

use anyhow::{Context as _, Result};
use lucid_train::record::Event;
use lucid_train::{Ended, Plan, Reason, Run, Told, TrainError, Verdict, Wish};

use crate::{interrupt, output, style};

/// Steps over which pace and loss are averaged, about.
const MEMORY: f64 = 20.0;

/// The plan as a table.
pub(in crate::commands) fn print_plan(reasons: &[Reason], json: bool) -> Result<()> {
    if json {
        return output::line(serde_json::to_string(&serde_json::json!({"plan": reasons}))?);
    }
    let width = |of: fn(&Reason) -> usize| reasons.iter().map(of).max().unwrap_or(0);
    let (names, values) = (width(|r| r.name.len()), width(|r| r.value.len()));
    for Reason { name, value, from } in reasons {
        output::note(format_args!("{name:names$}  {value:values$}  {from}"));
    }
    Ok(())
}

/// Runs to the end or to Ctrl-C, with a line that tells where it stands. `command` is what goes on
/// with a run that broke off.
pub(in crate::commands) fn follow(
    run: &mut Run<'_>,
    threads: usize,
    json: bool,
    command: &str,
) -> Result<Ended> {
    let listening = interrupt::listen();
    let (plan, step) = (run.trainer().plan(), run.trainer().steps_done());
    let mut live = Live::new(plan, step, threads, json);
    let mut trouble = None;
    let ended = run.go(&mut |event| {
        if let Err(error) = live.tell(event) {
            trouble = Some(error);
            return Wish::Stop;
        }
        if listening.interrupted() { Wish::Stop } else { Wish::GoOn }
    });
    live.clear();
    match trouble {
        Some(error) => Err(error),
        None => told(ended, run.trainer().steps_done(), command),
    }
}

/// How a run ended; of one that broke off, how it goes on.
pub(super) fn told(ended: Result<Ended, TrainError>, step: u64, command: &str) -> Result<Ended> {
    match ended {
        // Going on would end the same way.
        Err(error @ (TrainError::GoneWrong | TrainError::NothingToPredict)) => Err(error.into()),
        ended => ended.with_context(|| {
            format!("the run broke off after step {step}; {command} goes on once this is mended")
        }),
    }
}

/// The live line.
struct Live {
    json: bool,
    screen: bool,
    steps: u64,
    flops_per_token: f64,
    /// Floating-point operations per second of this machine's multiply-adds.
    peak: Option<f64>,
    loss: Option<f64>,
    pace: Option<f64>,
    begun: Instant,
    first: u64,
    shown: bool,
}

impl Live {
    fn new(plan: &Plan, step: u64, threads: usize, json: bool) -> Self {
        Self {
            json,
            screen: std::io::stderr().is_terminal() && !json,
            steps: plan.schedule.steps,
            flops_per_token: plan.network.flops_per_token(),
            peak: (!json).then(|| super::report::peak(threads, plan.precision)),
            loss: None,
            pace: None,
            begun: Instant::now(),
            first: step,
            shown: false,
        }
    }

    /// Shows an event.
    fn tell(&mut self, event: &Event) -> Result<()> {
        if self.json {
            return output::line(serde_json::to_string(event)?);
        }
        match event {
            Event::Step { step, loss, rate, tokens_per_second, verdict, .. } => {
                self.average(*loss, *tokens_per_second);
                self.step(*step, *rate, *verdict);
            }
            Event::Validation { step, loss, told: Some(told), .. } => {
                self.stays(&format!("step {step}: held out, {}, loss {loss:.4}", apart(told)));
            }
            Event::Validation { step, loss, bits_per_byte, .. } => self.stays(&format!(
                "step {step}: held-out text {bits_per_byte:.4} bits a byte, loss {loss:.4}"
            )),
            Event::Sample { step, text } => {
                let text = style::harmless(text).replace('\n', " ");
                self.stays(&format!("step {step} writes: {text}"));
            }
            Event::Checkpoint { step, .. } => self.stays(&format!("step {step}: checkpoint")),
            Event::Horizon { steps, .. } => self.steps = *steps,
            Event::Resumed { step } => self.stays(&format!("goes on after step {step}")),
            Event::Finished { step, loss, told: Some(told), .. } => self.stays(&format!(
                "step {step}, the last: held out, {}, loss {loss:.4}",
                apart(told)
            )),
            Event::Finished { step, bits_per_byte, bytes, .. } => {
                let all = style::bytes(*bytes);
                self.stays(&format!(
                    "step {step}, the last: {bits_per_byte:.4} bits a byte of held-out text, all \
                     {all} of it"
                ));
            }
            Event::RolledBack { step, to } => {
                self.clear();
                output::warn(format_args!("step {step}: back to the weights of step {to}"));
            }
        }
        Ok(())
    }

    fn average(&mut self, loss: f64, pace: f64) {
        let mix = |old: Option<f64>, new: f64| match old {
            Some(old) if new.is_finite() => Some(old + (new - old) / MEMORY),
            None if new.is_finite() => Some(new),
            old => old,
        };
        (self.loss, self.pace) = (mix(self.loss, loss), mix(self.pace, pace));
    }

    fn step(&mut self, step: u64, rate: f64, verdict: Verdict) {
        if verdict != Verdict::Taken {
            self.clear();
            output::warn(format_args!("step {step} is left out: {}", reason(verdict)));
        }
        // Without a screen, one line in a hundred is enough.
        if !self.screen && !step.is_multiple_of(100) && step != self.first + 1 {
            return;
        }
        let (loss, pace) = (self.loss.unwrap_or(f64::NAN), self.pace.unwrap_or(0.0));
        let flops = pace * self.flops_per_token;
        let each = self.begun.elapsed().as_secs_f64() / (step - self.first).max(1) as f64;
        let left = each * self.steps.saturating_sub(step) as f64;
        let share = self.peak.map_or(0.0, |peak| 100.0 * flops / peak);
        // In the order of showing, each with its rank: the highest goes first where room is short.
        let parts = [
            (0, format!("step {step}/{}", self.steps)),
            (1, format!("loss {loss:.4}")),
            (5, format!("rate {rate:.5}")),
            (3, format!("{pace:.0} tok/s")),
            (6, format!("{:.0} GFLOP/s", flops / 1e9)),
            (4, format!("{share:.0} % of peak")),
            (2, format!("{} left", time(left))),
        ];
        let columns = match terminal_size::terminal_size_of(std::io::stderr()) {
            Some((width, _)) if self.screen => usize::from(width.0),
            _ => usize::MAX,
        };
        let line = within(&parts, columns);
        if self.screen {
            output::replace_line(&line);
            self.shown = true;
        } else {
            output::note(line);
        }
    }

    /// A line that stays above the live one.
    fn stays(&mut self, line: &str) {
        self.clear();
        output::note(line);
    }

    /// Takes the live line away.
    fn clear(&mut self) {
        if self.shown {
            output::replace_line("");
            self.shown = false;
        }
    }
}

/// How well comparisons are told apart.
pub(super) fn apart(told: &Told) -> String {
    format!(
        "{:.1} % told right, rewards {:+.3} and {:+.3}",
        100.0 * told.accuracy,
        told.chosen,
        told.rejected
    )
}

/// The parts that fit into a line of less than so many columns: a line that wraps cannot be
/// written over.
fn within(parts: &[(u8, String)], columns: usize) -> String {
    let line = |rank: u8| {
        let kept = parts.iter().filter(|part| part.0 <= rank).map(|part| part.1.as_str());
        kept.collect::<Vec<_>>().join("  ")
    };
    let ranks = (0..=parts.len() as u8).rev();
    ranks.map(line).find(|line| line.len() < columns).unwrap_or_default()
}

/// Why a step was left out.
pub(in crate::commands) fn reason(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotFinite => "its loss or gradient is no number",
        _ => "its gradient is far larger than of late",
    }
}

/// `1h 05m`, `3m 07s`, `12s`.
pub(in crate::commands) fn time(seconds: f64) -> String {
    let seconds = seconds.round().clamp(0.0, 1e9) as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s:02}s"),
        (h, m, _) => format!("{h}h {m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_fits_into_its_screen() {
        let parts = [(0, "step 1".to_owned()), (2, "rate 3".to_owned()), (1, "loss 2".to_owned())];
        let check = |columns, expected| assert_eq!(super::within(&parts, columns), expected);
        check(usize::MAX, "step 1  rate 3  loss 2");
        check(23, "step 1  rate 3  loss 2");
        check(22, "step 1  loss 2");
        check(14, "step 1");
        check(6, "");
    }

    #[test]
    fn times_are_short() {
        let shown = [0.4, 12.0, 187.0, 3900.0].map(super::time);
        assert_eq!(shown, ["0s", "12s", "3m 07s", "1h 05m"]);
        assert_eq!(super::time(f64::NAN), "0s");
    }
}
