//! What is written of a run while it goes: one line of JSON for each event, the same scalars for
//! TensorBoard, and a report with curves.

mod report;
mod tensorboard;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

pub use report::{Curve, Summary, report};
pub use tensorboard::TensorBoard;

use crate::TrainError;
use crate::guard::Verdict;
use crate::preference::Told;
use crate::trainer::{StepReport, Validation};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields of StepReport and Validation, and their times")]
pub enum Event {
    /// A step.
    Step {
        step: u64,
        #[serde(deserialize_with = "number")]
        loss: f64,
        #[serde(deserialize_with = "number")]
        bits_per_byte: f64,
        /// How well comparisons were told apart, where they are learned from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<Told>,
        #[serde(deserialize_with = "number")]
        norm: f64,
        rate: f64,
        tokens: u64,
        tokens_per_second: f64,
        seconds: f64,
        verdict: Verdict,
    },
    /// A look at held-out text: a part of it along the way, all of it at the end.
    Validation {
        step: u64,
        #[serde(deserialize_with = "number")]
        loss: f64,
        #[serde(deserialize_with = "number")]
        bits_per_byte: f64,
        /// How well comparisons were told apart, where they are learned from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<Told>,
        /// Bytes of the text that was predicted.
        #[serde(default)]
        bytes: u64,
        seconds: f64,
    },
    /// A text that the network wrote.
    Sample { step: u64, text: String },
    /// A checkpoint was written.
    Checkpoint { step: u64, folder: String },
    /// The horizon was changed.
    Horizon { step: u64, steps: u64 },
    /// The run goes on from a checkpoint.
    Resumed { step: u64 },
    /// Weights went back to a checkpoint.
    RolledBack { step: u64, to: u64 },
    /// The run took all its steps: the last event. The numbers are those of all held-out text.
    Finished {
        step: u64,
        #[serde(deserialize_with = "number")]
        loss: f64,
        #[serde(deserialize_with = "number")]
        bits_per_byte: f64,
        /// How well comparisons were told apart, where they are learned from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<Told>,
        targets: u64,
        bytes: u64,
        seconds: f64,
    },
}

/// JSON has no NaN: it is written as null.
pub(crate) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

impl Event {
    /// Of a step that took so long.
    pub fn step(report: &StepReport, tokens_per_second: f64, seconds: f64) -> Self {
        let StepReport { step, loss, bits_per_byte, told, norm, rate, tokens, verdict } = *report;
        Self::Step {
            step,
            loss,
            bits_per_byte,
            told,
            norm,
            rate,
            tokens,
            tokens_per_second,
            seconds,
            verdict,
        }
    }

    /// Of a validation after so many seconds of the run.
    pub fn validation(step: u64, of: Validation, seconds: f64) -> Self {
        let Validation { loss, bits_per_byte, told, bytes, .. } = of;
        Self::Validation { step, loss, bits_per_byte, told, bytes, seconds }
    }

    /// Of a run that took all its steps, and what all held-out text came to.
    pub fn finished(step: u64, of: Validation, seconds: f64) -> Self {
        let Validation { loss, bits_per_byte, told, targets, bytes, .. } = of;
        Self::Finished { step, loss, bits_per_byte, told, targets, bytes, seconds }
    }
}

/// The events of a run, on disk.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    lines: File,
    board: TensorBoard,
}

impl Record {
    /// Opens the record of a run's folder to append to. What was written after step `from` belongs
    /// to a run that was killed before its next checkpoint: it is removed, since those steps come
    /// again.
    ///
    /// # Errors
    /// The system refuses.
    pub fn open(folder: &Path, from: u64, wall_time: f64) -> Result<Self, TrainError> {
        let path = folder.join("events.jsonl");
        let error = |source| TrainError::io("cannot write", &path, source);
        fs::create_dir_all(folder).map_err(error)?;
        keep_until(&path, from).map_err(error)?;
        let lines = OpenOptions::new().create(true).append(true).open(&path).map_err(error)?;
        let board = folder.join(format!("events.out.tfevents.{wall_time:.0}.lucid"));
        let board = TensorBoard::open(&board, wall_time).map_err(error)?;
        Ok(Self { path, lines, board })
    }

    /// Appends an event; `wall_time` in seconds since 1970.
    ///
    /// # Errors
    /// The system refuses.
    pub fn put(&mut self, event: &Event, wall_time: f64) -> Result<(), TrainError> {
        let written = self.write(event, wall_time);
        written.map_err(|source| TrainError::io("cannot write", &self.path, source))
    }

    fn write(&mut self, event: &Event, wall_time: f64) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.lines.write_all(&line)?;
        match *event {
            Event::Step { step, loss, bits_per_byte, norm, rate, tokens_per_second, .. } => {
                let scalars = [
                    ("train/loss", loss),
                    ("train/bits_per_byte", bits_per_byte),
                    ("train/gradient_norm", norm),
                    ("train/learning_rate", rate),
                    ("train/tokens_per_second", tokens_per_second),
                ];
                self.board.scalars(wall_time, step, &scalars)
            }
            Event::Validation { step, loss, told: Some(told), .. } => {
                let scalars = [
                    ("validation/loss", loss),
                    ("validation/told_right", told.accuracy),
                    ("validation/reward_chosen", told.chosen),
                    ("validation/reward_rejected", told.rejected),
                ];
                self.board.scalars(wall_time, step, &scalars)
            }
            Event::Validation { step, loss, bits_per_byte, .. } => {
                let scalars =
                    [("validation/loss", loss), ("validation/bits_per_byte", bits_per_byte)];
                self.board.scalars(wall_time, step, &scalars)
            }
            _ => Ok(()),
        }
    }
}

/// All events of a record. A torn last line is left out.
///
/// # Errors
/// The file cannot be read.
pub fn events(folder: &Path) -> Result<Vec<Event>, TrainError> {
    let path = folder.join("events.jsonl");
    let error = |source| TrainError::io("cannot read", &path, source);
    let file = BufReader::new(File::open(&path).map_err(error)?);
    let mut events = Vec::new();
    for line in file.lines() {
        if let Ok(event) = serde_json::from_str(&line.map_err(error)?) {
            events.push(event);
        }
    }
    Ok(events)
}

fn step_of(event: &Event) -> u64 {
    match *event {
        Event::Step { step, .. }
        | Event::Validation { step, .. }
        | Event::Sample { step, .. }
        | Event::Checkpoint { step, .. }
        | Event::Horizon { step, .. }
        | Event::Resumed { step }
        | Event::RolledBack { step, .. }
        | Event::Finished { step, .. } => step,
    }
}

/// Removes the events after a step, and a torn last line.
fn keep_until(path: &Path, from: u64) -> io::Result<()> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let whole = text.split_inclusive(|&byte| byte == b'\n');
    let kept = whole.filter(|line| {
        line.ends_with(b"\n")
            && serde_json::from_slice(line).is_ok_and(|event| {
                // What goes on is not finished.
                step_of(&event) <= from && !matches!(event, Event::Finished { .. })
            })
    });
    let kept: Vec<u8> = kept.flatten().copied().collect();
    if kept.len() == text.len() {
        return Ok(());
    }
    lucid_sys::write_atomic(path, |out| out.write_all(&kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Event {
        let report = StepReport {
            step,
            loss: 3.0,
            bits_per_byte: 1.5,
            told: None,
            norm: 0.5,
            rate: 1e-3,
            tokens: 512,
            verdict: Verdict::Taken,
        };
        Event::step(&report, 1000.0, 2.0)
    }

    #[test]
    fn what_a_killed_run_wrote_after_its_checkpoint_is_forgotten() {
        let folder = std::env::temp_dir().join(format!("lucid-record-{}", std::process::id()));
        let mut record = Record::open(&folder, 0, 100.0).unwrap();
        (1..=5).for_each(|number| record.put(&step(number), 101.0).unwrap());
        record.lines.write_all(b"{\"event\":\"step\",\"st").unwrap();
        drop(record);
        let mut record = Record::open(&folder, 3, 200.0).unwrap();
        record.put(&Event::Resumed { step: 3 }, 201.0).unwrap();
        record.put(&step(4), 202.0).unwrap();
        let found = events(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let steps: Vec<u64> = found.iter().map(step_of).collect();
        assert_eq!(steps, [1, 2, 3, 3, 4]);
        assert_eq!(found[4], step(4));
    }

    const NO_NUMBER: Told = Told { accuracy: 0.5, chosen: f64::NAN, rejected: f64::INFINITY };

    #[test]
    fn a_loss_that_is_no_number_is_kept() {
        let line = serde_json::to_string(&Event::validation(
            3,
            Validation {
                loss: f64::NAN,
                bits_per_byte: 1.0,
                told: Some(NO_NUMBER),
                tokens: 1,
                targets: 1,
                bytes: 4,
            },
            2.0,
        ));
        let event = serde_json::from_str(&line.unwrap()).unwrap();
        assert!(matches!(event, Event::Validation { step: 3, loss, .. } if loss.is_nan()));
    }
}
