//! A run from where it stands to its end: steps, looks at held-out text, samples, checkpoints, and
//! a horizon that ends in time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use lucid_tensor::{Metadata, TokenId};

use crate::TrainError;
use crate::feed::Material;
use crate::group;
use crate::guard::Verdict;
use crate::record::{Event, Record, events};
use crate::saved::{Saved, save};
use crate::trainer::{Trainer, Validation};

/// When what happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cadence {
    /// Steps between looks at held-out text, which is also looked at at the end.
    pub validate_every: u64,
    /// Steps between samples; 0: none.
    pub sample_every: u64,
    /// Time between checkpoints; one is also written at the end and when the run is stopped.
    pub save_every: Duration,
    /// Checkpoints that are kept besides the newest.
    pub kept: usize,
    /// The time that the whole run may take: its horizon is planned to end within it.
    pub time: Option<Duration>,
    /// Steps at most that are planned for it, whatever time is left.
    pub steps_max: u64,
}

/// Makes text of tokens.
pub type Decode<'a> = Box<dyn Fn(&[TokenId]) -> String + 'a>;

/// What a run needs besides its trainer.
pub struct Surroundings<'a> {
    /// The run's folder.
    pub folder: PathBuf,
    /// The tokenizer's part of GGUF's metadata, for checkpoints.
    pub vocabulary: Metadata,
    /// What is not learned from.
    pub held_out: Material,
    /// What samples begin with.
    pub prompt: Vec<TokenId>,
    /// Where a text ends.
    pub end: Option<TokenId>,
    /// Tokens as text.
    pub decode: Decode<'a>,
}

/// How a run came to an end.
#[derive(Clone, Debug)]
pub enum Ended {
    /// It took all its steps.
    Finished {
        /// The last checkpoint.
        saved: Saved,
        /// The last look at held-out text.
        validation: Validation,
    },
    /// Whoever watches stopped it; it can go on from its last checkpoint.
    Stopped {
        /// That checkpoint.
        saved: Saved,
    },
}

/// Tokens of a sample, and the temperature at which they are drawn.
const SAMPLE_TOKENS: usize = 64;
const SAMPLE_TEMPERATURE: f64 = 0.8;

/// Steps before the pace is known well enough to plan by it.
const PACE_STEPS: u64 = 5;

/// Tokens that are predicted in a look along the way; at the end it is all of the held-out text.
const LOOK_TARGETS: u64 = 65_536;

/// How often a horizon is planned anew until the way down begins, over the whole run.
const PLANS: u64 = 50;

/// Where the checkpoints of a run's folder lie.
pub fn checkpoints(folder: &Path) -> PathBuf {
    folder.join("checkpoints")
}

/// A run that goes.
pub struct Run<'a> {
    trainer: Trainer,
    around: Surroundings<'a>,
    cadence: Cadence,
    /// Rank 0's.
    record: Option<Record>,
    /// When this part of the run began, and what it took before.
    started: Instant,
    before: Duration,
    first_step: u64,
    saved: Option<Saved>,
    saved_at: Instant,
    /// What the last look took for each token, and the last checkpoint.
    look_seconds: Option<f64>,
    save_seconds: f64,
}

/// What whoever watches wants. It is asked at every event; only what is wanted at a step is done,
/// and stopping at `Resumed` too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    #[default]
    GoOn,
    /// A look at held-out text, now.
    Validate,
    /// A sample, now.
    Sample,
    /// A checkpoint, now.
    Save,
    /// The run stops, with a checkpoint.
    Stop,
}

/// Told of what happens, and asked what it wants.
pub type Watch<'a> = dyn FnMut(&Event) -> Wish + 'a;

impl<'a> Run<'a> {
    /// A run that begins, or goes on from `saved`.
    ///
    /// # Errors
    /// Its record cannot be written.
    pub fn new(
        trainer: Trainer,
        saved: Option<Saved>,
        around: Surroundings<'a>,
        cadence: Cadence,
    ) -> Result<Self, TrainError> {
        let step = trainer.steps_done();
        let (mut record, mut before) = (None, 0.0);
        if trainer.group().rank() == 0 {
            record = Some(Record::open(&around.folder, step, wall_time())?);
            before = if step == 0 { 0.0 } else { seconds_of(&events(&around.folder)?) };
        }
        let now = Instant::now();
        Ok(Self {
            first_step: step,
            trainer,
            around,
            cadence,
            record,
            started: now,
            before: Duration::from_secs_f64(before),
            saved,
            saved_at: now,
            look_seconds: None,
            save_seconds: 0.0,
        })
    }

    /// The run's trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// Goes on to the end. All ranks call this at once; each is told of what happens (of samples
    /// rank 0 alone), rank 0 writes it down. A rank that fails leaves the others waiting: whoever
    /// is told ends them ([`Group::abort`](crate::Group::abort)).
    ///
    /// # Errors
    /// Data cannot be read, a checkpoint cannot be written, or the run went wrong before its first
    /// checkpoint. The last good checkpoint stays.
    pub fn go(&mut self, watch: &mut Watch<'_>) -> Result<Ended, TrainError> {
        self.started = Instant::now();
        self.saved_at = self.started;
        let mut wish = Wish::GoOn;
        if self.trainer.steps_done() > 0 {
            wish = self.tell(&Event::Resumed { step: self.trainer.steps_done() }, watch)?;
            wish = self.agree(wish);
        }
        while wish != Wish::Stop && self.trainer.steps_done() < self.steps() {
            wish = self.step(watch)?;
            let step = self.trainer.steps_done();
            let due = step.is_multiple_of(self.cadence.validate_every.max(1));
            if (due || wish == Wish::Validate) && step < self.steps() {
                self.validate(Some(LOOK_TARGETS), watch)?;
            }
            let every = self.cadence.sample_every;
            if every > 0 && step.is_multiple_of(every) || wish == Wish::Sample {
                self.sample(watch)?;
            }
            let due = self.saved_at.elapsed() >= self.cadence.save_every;
            let due = group::decided(&**self.trainer.group(), u64::from(due)) == 1;
            if due || wish == Wish::Save {
                self.save(watch)?;
            }
        }
        let step = self.trainer.steps_done();
        if wish == Wish::Stop && step < self.steps() {
            return Ok(Ended::Stopped { saved: self.saved_now(watch)? });
        }
        let validation = self.validate(None, watch)?;
        let sampled = |every: u64| every == 0 || step.is_multiple_of(every);
        if !sampled(self.cadence.sample_every) {
            self.sample(watch)?;
        }
        let saved = self.saved_now(watch)?;
        let _ = self.tell(&Event::finished(step, validation, self.seconds()), watch)?;
        Ok(Ended::Finished { saved, validation })
    }

    fn steps(&self) -> u64 {
        self.trainer.plan().schedule.steps
    }

    fn seconds(&self) -> f64 {
        (self.before + self.started.elapsed()).as_secs_f64()
    }

    fn tell(&mut self, event: &Event, watch: &mut Watch<'_>) -> Result<Wish, TrainError> {
        if let Some(record) = &mut self.record {
            record.put(event, wall_time())?;
        }
        Ok(watch(event))
    }

    /// What is done on all ranks: any of them may stop the run, the rest is rank 0's to wish.
    fn agree(&self, wish: Wish) -> Wish {
        let wishes = [Wish::GoOn, Wish::Validate, Wish::Sample, Wish::Save, Wish::Stop];
        let number = wishes.iter().position(|one| *one == wish).unwrap_or(0);
        let said = group::said(&**self.trainer.group(), number as f64);
        if said.contains(&4.0) { Wish::Stop } else { wishes[said[0] as usize] }
    }

    fn step(&mut self, watch: &mut Watch<'_>) -> Result<Wish, TrainError> {
        let begun = Instant::now();
        let report = self.trainer.step()?;
        let pace = report.tokens as f64 / begun.elapsed().as_secs_f64();
        let event = Event::step(&report, pace, self.seconds());
        let wish = self.tell(&event, watch)?;
        if report.verdict == Verdict::RollBack {
            let Some(saved) = self.saved.clone() else { return Err(TrainError::GoneWrong) };
            saved.roll_back(&mut self.trainer)?;
            let back = Event::RolledBack { step: report.step, to: saved.step() };
            let _ = self.tell(&back, watch)?;
        }
        self.plan_horizon(watch)?;
        Ok(self.agree(wish))
    }

    /// Chooses the number of steps so that the run ends in time, with its last look at held-out
    /// text and its last checkpoint. Not once the way down has begun: its slope is then fixed.
    fn plan_horizon(&mut self, watch: &mut Watch<'_>) -> Result<(), TrainError> {
        let Some(limit) = self.cadence.time else { return Ok(()) };
        let done = self.trainer.steps_done();
        let taken = done - self.first_step;
        let schedule = self.trainer.plan().schedule;
        let due = done.is_multiple_of((schedule.steps / PLANS).max(1)) || taken == PACE_STEPS;
        let falling = schedule.steps.saturating_sub(done) <= schedule.decay;
        // A plan was a guess until now; its way down may be, too.
        let first = self.first_step == 0 && taken == PACE_STEPS;
        // A way that is straight from the top may become steeper or flatter at any time.
        let straight = schedule.warm_up + schedule.decay >= schedule.steps;
        // Where the last step that was planned is done, the run is.
        let over = done >= schedule.steps;
        if taken < PACE_STEPS || !due || over || (falling && !first && !straight) {
            return Ok(());
        }
        let pace = self.started.elapsed().as_secs_f64() / taken as f64;
        let left = (limit.as_secs_f64() - self.seconds() - self.ending(pace)).max(0.0);
        let steps = done + ((left / pace) as u64).max(1);
        let steps = steps.min(self.cadence.steps_max).max(done + 1);
        let steps = group::decided(&**self.trainer.group(), steps);
        if steps != schedule.steps {
            self.trainer.set_steps(steps);
            let _ = self.tell(&Event::Horizon { step: done, steps }, watch)?;
        }
        Ok(())
    }

    /// Seconds that the run will take after its last step, where a step takes `pace` of them.
    fn ending(&self, pace: f64) -> f64 {
        let tokens = self.around.held_out.tokens() as f64;
        // Forward is a third of a step's work; the rest is known once it was done.
        let guess = pace / (3.0 * self.trainer.plan().batch_tokens() as f64);
        tokens * self.look_seconds.unwrap_or(guess) + self.save_seconds
    }

    fn validate(
        &mut self,
        targets_max: Option<u64>,
        watch: &mut Watch<'_>,
    ) -> Result<Validation, TrainError> {
        let held_out = self.around.held_out.clone();
        let begun = Instant::now();
        let validation = self.trainer.validate(&held_out, targets_max)?;
        self.look_seconds = Some(begun.elapsed().as_secs_f64() / validation.tokens as f64);
        let event = Event::validation(self.trainer.steps_done(), validation, self.seconds());
        let _ = self.tell(&event, watch)?;
        Ok(validation)
    }

    fn sample(&mut self, watch: &mut Watch<'_>) -> Result<(), TrainError> {
        if self.trainer.group().rank() > 0 {
            return Ok(());
        }
        let Surroundings { prompt, end, .. } = &self.around;
        let tokens = self.trainer.sample(prompt, SAMPLE_TOKENS, SAMPLE_TEMPERATURE, *end);
        let text = (self.around.decode)(&tokens);
        let _ = self.tell(&Event::Sample { step: self.trainer.steps_done(), text }, watch)?;
        Ok(())
    }

    fn save(&mut self, watch: &mut Watch<'_>) -> Result<(), TrainError> {
        let folder = checkpoints(&self.around.folder);
        let begun = Instant::now();
        let saved = save(&self.trainer, &folder, &self.around.vocabulary, self.cadence.kept)?;
        self.save_seconds = begun.elapsed().as_secs_f64();
        let told = saved.folder().display().to_string();
        self.saved = Some(saved);
        self.saved_at = Instant::now();
        let step = self.trainer.steps_done();
        let _ = self.tell(&Event::Checkpoint { step, folder: told }, watch)?;
        Ok(())
    }

    /// The checkpoint of where the run stands, written if it is not there yet.
    fn saved_now(&mut self, watch: &mut Watch<'_>) -> Result<Saved, TrainError> {
        loop {
            match &self.saved {
                Some(saved) if saved.step() == self.trainer.steps_done() => {
                    return Ok(saved.clone());
                }
                _ => self.save(watch)?,
            }
        }
    }
}

fn wall_time() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// What the steps of a record took.
fn seconds_of(events: &[Event]) -> f64 {
    let seconds = events.iter().filter_map(|event| match event {
        Event::Step { seconds, .. } | Event::Validation { seconds, .. } => Some(*seconds),
        _ => None,
    });
    seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0).fold(0.0, f64::max)
}
