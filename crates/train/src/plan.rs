//! From one dial to a whole run: the network, the batch, the rates and the horizon, each with the
//! rule it came from, and each to be overridden.
//!
//! Sources: Hoffmann et al., arXiv:2203.15556 (twenty tokens a parameter); Bi et al. (DeepSeek),
//! arXiv:2401.02954 (batch and learning rate by compute); Muennighoff et al., arXiv:2305.16264
//! (four passes over the same text are nearly as good as new text); Hägele et al.,
//! arXiv:2405.18392 (decay at the end); Liu et al., arXiv:2502.16982 (Muon with AdamW's rate).
//! Departure: half the batch tokens of arXiv:2401.02954, which is for AdamW and for runs of another
//! size; see LOG.md.

mod tuning;

use serde::{Deserialize, Serialize};

use crate::network::{Architecture, Network};
use crate::preference::Objective;
use crate::schedule::{Course, LrSchedule};
use crate::{TrainError, scaling};

/// The one number that a person gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// Layers; the width is 64 times as much.
    Depth(usize),
    /// Parameters in all, about.
    Parameters(usize),
    /// The depth that should end at the lowest loss in the time of [`Limits`].
    Time,
}

/// What a run has to make do with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Tokens of the text to learn from.
    pub corpus_tokens: u64,
    /// The time that it may take; as long as it wants, where there is none.
    pub time: Option<Time>,
}

/// Time, and how fast this machine is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time {
    /// Seconds of steps.
    pub seconds: f64,
    /// Floating-point operations per second of steps of about this network.
    pub operations_per_second: f64,
}

/// Who updates the hidden matrices; AdamW updates everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// AdamW as well.
    AdamW,
    /// Muon.
    Muon,
}

/// How operands enter the products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Rounded to bfloat16, summed in f32.
    Bf16,
    /// As they are.
    F32,
}

/// What a person set instead of what follows from the dial.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each is the field of `Plan` or `Network` of its name")]
pub struct Overrides {
    pub architecture: Option<Architecture>,
    pub width: Option<usize>,
    pub layer_count: Option<usize>,
    pub head_count: Option<usize>,
    pub kv_head_count: Option<usize>,
    pub head_dim: Option<usize>,
    pub feed_forward_width: Option<usize>,
    pub context_length: Option<usize>,
    pub tied_head: Option<bool>,
    pub batch_tokens: Option<usize>,
    pub tokens: Option<u64>,
    pub steps: Option<u64>,
    pub learning_rate: Option<f64>,
    pub weight_decay: Option<f64>,
    pub warm_up: Option<u64>,
    pub decay: Option<u64>,
    pub floor: Option<f64>,
    pub course: Option<Course>,
    pub rule: Option<Rule>,
    pub precision: Option<Precision>,
    pub clip: Option<f64>,
    pub lanes: Option<usize>,
    /// Cores that the run is planned for, if lanes are to follow from them.
    pub cores: Option<usize>,
    /// Whether products are faster there in bfloat16, if the precision is to follow from it.
    pub bf16_outpaces_f32: Option<bool>,
    pub seed: Option<u64>,
    /// Passes over the conversations, where a run tunes.
    pub epochs: Option<f64>,
}

/// A whole run. Everything that decides its numbers is here and in its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The network.
    pub network: Network,
    /// Rows, each of `context_length` tokens, per optimiser step.
    pub rows_per_step: usize,
    /// Rows that one lane computes at once.
    pub rows_per_micro_batch: usize,
    /// Accumulators of gradients. The sums depend on their number, and on nothing else: not on the
    /// threads that work on them.
    pub lanes: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay of matrices, per step and unit of learning rate.
    pub weight_decay: f64,
    /// First and second decay rate of AdamW's averages.
    pub betas: (f64, f64),
    /// How the rate goes.
    pub schedule: LrSchedule,
    /// Who updates the hidden matrices.
    pub rule: Rule,
    /// How operands enter products.
    pub precision: Precision,
    /// The gradient's norm at most; larger ones are scaled down to it.
    pub clip: f64,
    /// Of the weights and of the order of the data.
    pub seed: u64,
    /// What is made small.
    #[serde(default)]
    pub objective: Objective,
}

/// A line of the printed plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What was decided.
    pub name: String,
    /// Its value, for a person.
    pub value: String,
    /// Where it comes from.
    pub from: String,
}

/// Training tokens per parameter that is multiplied with.
const TOKENS_PER_PARAMETER: f64 = 20.0;

/// Passes over the same text at most, unless a person says otherwise.
const PASSES_MAX: f64 = 4.0;

/// Tokens of a micro-batch, about: enough for products to run at full speed, few enough for the
/// activations to stay in the second-level cache.
const MICRO_BATCH_TOKENS: usize = 512;

/// Lanes at most: each holds gradients of all parameters.
const LANES_MAX: usize = 16;

/// Above so many parameters there are no more than four: a lane takes as much memory as the
/// weights.
const FEW_LANES_PARAMETERS: usize = 100_000_000;

impl Plan {
    /// The run of a dial, for a vocabulary of so many tokens, within limits.
    ///
    /// # Errors
    /// `Network` and `Setting`: what is out of range, and what it may be.
    pub fn new(
        dial: Dial,
        vocab_size: usize,
        limits: &Limits,
        overrides: &Overrides,
    ) -> Result<(Self, Vec<Reason>), TrainError> {
        let mut reasons = Reasons(Vec::new());
        let network = network(dial, vocab_size, limits, overrides, &mut reasons)?;
        let tokens = tokens(&network, limits, overrides, &mut reasons)?;
        let compute = 6.0 * network.multiplied_count() as f64 * tokens as f64;
        let rows_per_step = rows(&network, compute, overrides, &mut reasons)?;
        let batch_tokens = rows_per_step * network.context_length;
        let steps = match overrides.steps {
            Some(steps) => steps.max(1),
            None => (tokens as f64 / batch_tokens as f64).round().max(1.0) as u64,
        };
        reasons.put("steps", &steps, overrides.steps.is_some(), "tokens / batch");
        let rows_per_micro_batch =
            (MICRO_BATCH_TOKENS / network.context_length).clamp(1, rows_per_step);
        let lanes = lanes(&network, rows_per_step, rows_per_micro_batch, overrides);
        reasons.put("lanes", &lanes, overrides.lanes.is_some(), "a sum of gradients a core");
        let learning_rate = learning_rate(compute, overrides, &mut reasons)?;
        let weight_decay = overrides.weight_decay.unwrap_or(0.1);
        range("weight decay", weight_decay, 0.0..=10.0)?;
        let set = overrides.weight_decay.is_some();
        reasons.put("weight decay", &weight_decay, set, "usual with these rates");
        let schedule = schedule(steps, overrides, &mut reasons)?;
        let rule = overrides.rule.unwrap_or(Rule::Muon);
        let precision = precision(overrides, &mut reasons);
        let clip = overrides.clip.unwrap_or(1.0);
        range("clip", clip, 1e-6..=1e6)?;
        let plan = Self {
            network,
            rows_per_step,
            rows_per_micro_batch,
            lanes,
            learning_rate,
            weight_decay,
            betas: (0.9, 0.95),
            schedule,
            rule,
            precision,
            clip,
            seed: overrides.seed.unwrap_or(1),
            objective: Objective::Likelihood,
        };
        Ok((plan, reasons.0))
    }

    /// Tokens per optimiser step.
    pub fn batch_tokens(&self) -> usize {
        self.rows_per_step * self.network.context_length
    }

    /// Tokens of the whole run.
    pub fn tokens(&self) -> u64 {
        self.schedule.steps * self.batch_tokens() as u64
    }

    /// Steps at most, unless a person asks for more: after so many the text was seen four times.
    pub fn steps_max(&self, corpus_tokens: u64) -> u64 {
        let steps = PASSES_MAX * corpus_tokens as f64 / self.batch_tokens() as f64;
        steps.round().max(1.0) as u64
    }

    /// Gives the run another number of steps; warm-up and decay keep their shares.
    pub fn with_steps(&mut self, steps: u64) {
        let share = |part: u64| {
            let exact = part as f64 * steps as f64 / self.schedule.steps.max(1) as f64;
            exact.round() as u64
        };
        let (warm_up, decay) = (share(self.schedule.warm_up), share(self.schedule.decay));
        self.schedule = LrSchedule { steps, warm_up, decay, ..self.schedule };
    }
}

struct Reasons(Vec<Reason>);

impl Reasons {
    fn put(&mut self, name: &str, value: &impl ToString, set: bool, rule: &str) {
        let from = if set { "set".to_owned() } else { rule.to_owned() };
        self.0.push(Reason { name: name.to_owned(), value: value.to_string(), from });
    }
}

pub(crate) fn range(
    what: &str,
    found: f64,
    allowed: std::ops::RangeInclusive<f64>,
) -> Result<(), TrainError> {
    if allowed.contains(&found) {
        return Ok(());
    }
    let expected = format!("{} to {}", allowed.start(), allowed.end());
    Err(TrainError::Setting { what: what.to_owned(), found: found.to_string(), expected })
}

/// The network of a depth.
fn of_depth(depth: usize, vocab_size: usize) -> Network {
    let width = 64 * depth;
    let head_dim = if width < 1024 { 64 } else { 128 };
    let head_count = (width / head_dim).max(1);
    Network {
        architecture: Architecture::Qwen3,
        vocab_size,
        width,
        layer_count: depth,
        head_count,
        kv_head_count: head_count,
        head_dim,
        // 8/3 of the width: as many parameters as two matrices of four times the width have
        // (Shazeer, arXiv:2002.05202).
        feed_forward_width: (width * 8).div_ceil(3).next_multiple_of(64),
        context_length: match depth {
            0..3 => 256,
            3..7 => 512,
            7..13 => 1024,
            _ => 2048,
        },
        tied_head: false,
        rotary_theta: 10_000.0,
    }
}

/// Nats a token that a deeper network must be better by: where text is short, the law goes on
/// promising less and less from parameters that the text cannot fill.
const GAIN_MIN: f64 = 0.005;

/// The depth whose predicted loss is lowest after what the time, or four passes over the text,
/// allow; the smallest of those that come near.
fn best_depth(vocab_size: usize, corpus_tokens: u64, time: &Time) -> usize {
    let operations = time.seconds * time.operations_per_second;
    let predicted = |depth: usize| {
        let network = of_depth(depth, vocab_size);
        let most = PASSES_MAX * corpus_tokens as f64;
        let tokens = (operations / network.flops_per_token()).min(most);
        scaling::loss(network.multiplied_count() as f64, tokens, corpus_tokens as f64)
    };
    let lowest = (1..=96).map(predicted).fold(f64::INFINITY, f64::min);
    (1..=96).find(|&depth| predicted(depth) <= lowest + GAIN_MIN).unwrap_or(1)
}

fn depth(dial: Dial, vocab_size: usize, limits: &Limits) -> Result<usize, TrainError> {
    let depth = match (dial, &limits.time) {
        (Dial::Depth(depth), _) => Some(depth),
        (Dial::Parameters(wanted), _) => Some(nearest_depth(wanted, vocab_size)),
        (Dial::Time, Some(time)) => Some(best_depth(vocab_size, limits.corpus_tokens, time)),
        (Dial::Time, None) => None,
    };
    depth.filter(|depth| (1..=256).contains(depth)).ok_or_else(|| TrainError::Setting {
        what: "depth".to_owned(),
        found: depth.map_or("none".to_owned(), |depth| depth.to_string()),
        expected: "1 to 256, or a time that it follows from".to_owned(),
    })
}

fn network(
    dial: Dial,
    vocab_size: usize,
    limits: &Limits,
    overrides: &Overrides,
    reasons: &mut Reasons,
) -> Result<Network, TrainError> {
    let depth = depth(dial, vocab_size, limits)?;
    let base = of_depth(depth, vocab_size);
    let width = overrides.width.unwrap_or(base.width);
    let head_dim = overrides.head_dim.unwrap_or_else(|| match overrides.head_count {
        Some(heads) if heads > 0 => width / heads,
        _ => base.head_dim,
    });
    let head_count = overrides.head_count.unwrap_or((width / head_dim.max(1)).max(1));
    let narrowed = (width * 8).div_ceil(3).next_multiple_of(64);
    let network = Network {
        architecture: overrides.architecture.unwrap_or(base.architecture),
        vocab_size,
        width,
        layer_count: overrides.layer_count.unwrap_or(base.layer_count),
        head_count,
        kv_head_count: overrides.kv_head_count.unwrap_or(head_count),
        head_dim,
        feed_forward_width: overrides.feed_forward_width.unwrap_or(narrowed),
        context_length: overrides.context_length.unwrap_or(base.context_length),
        tied_head: overrides.tied_head.unwrap_or(base.tied_head),
        rotary_theta: base.rotary_theta,
    };
    network.check()?;
    let dial = match dial {
        Dial::Depth(_) => "the dial".to_owned(),
        Dial::Parameters(wanted) => format!("the depth nearest to {wanted} parameters"),
        Dial::Time => "lowest predicted loss in the time (arXiv:2305.16264)".to_owned(),
    };
    let Overrides { width, head_dim, head_count, kv_head_count, .. } = overrides;
    reasons.put("layers", &network.layer_count, overrides.layer_count.is_some(), &dial);
    reasons.put("width", &network.width, width.is_some(), "64 a layer");
    let heads = format!("{} x {}", network.head_count, network.head_dim);
    let set = head_dim.is_some() || head_count.is_some();
    reasons.put("heads", &heads, set, "64 wide, 128 from a width of 1024");
    let set = kv_head_count.is_some();
    reasons.put("key-value heads", &network.kv_head_count, set, "as many");
    let set = overrides.feed_forward_width.is_some();
    reasons.put("feed-forward width", &network.feed_forward_width, set, "8/3 of the width");
    let set = overrides.context_length.is_some();
    reasons.put("context", &network.context_length, set, "by depth: 256 to 2048");
    let head = if network.tied_head { "the embeddings" } else { "its own" };
    reasons.put("head", &head, overrides.tied_head.is_some(), "by default");
    let set = overrides.architecture.is_some();
    reasons.put("architecture", &network.architecture.name(), set, "norms on queries and keys");
    reasons.put("parameters", &network.parameter_count(), false, "all of these");
    Ok(network)
}

fn nearest_depth(wanted: usize, vocab_size: usize) -> usize {
    let distance = |depth: usize| {
        let count = of_depth(depth, vocab_size).parameter_count() as f64;
        (count.ln() - (wanted.max(1) as f64).ln()).abs()
    };
    (1..=96).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap_or(1)
}

fn tokens(
    network: &Network,
    limits: &Limits,
    overrides: &Overrides,
    reasons: &mut Reasons,
) -> Result<u64, TrainError> {
    let (wanted, rule) = match &limits.time {
        Some(time) => {
            let speed = format!("{:.1} GFLOP/s", time.operations_per_second / 1e9);
            reasons.put("speed", &speed, false, "measured here, a few steps of this network");
            let operations = time.seconds * time.operations_per_second;
            (operations / network.flops_per_token(), "what the time allows at this speed")
        }
        None => (TOKENS_PER_PARAMETER * network.multiplied_count() as f64, "20 a parameter"),
    };
    let there = PASSES_MAX * limits.corpus_tokens as f64;
    let (tokens, rule) = match overrides.tokens {
        Some(tokens) => (tokens, ""),
        None if wanted <= there => (wanted as u64, rule),
        None => (there as u64, "four passes over the text: it has no more"),
    };
    if tokens == 0 {
        return Err(TrainError::Setting {
            what: "tokens".to_owned(),
            found: "0".to_owned(),
            expected: "some text to train on".to_owned(),
        });
    }
    reasons.put("tokens", &tokens, overrides.tokens.is_some(), rule);
    Ok(tokens)
}

/// Rows per step: a whole number of micro-batches for every lane where there are enough.
fn rows(
    network: &Network,
    compute: f64,
    overrides: &Overrides,
    reasons: &mut Reasons,
) -> Result<usize, TrainError> {
    let tokens = match overrides.batch_tokens {
        Some(tokens) => tokens as f64,
        None => 0.146 * compute.powf(0.3271),
    };
    let rows = (tokens / network.context_length as f64).round().max(1.0);
    if rows > 1e7 {
        return Err(TrainError::Setting {
            what: "batch tokens".to_owned(),
            found: tokens.to_string(),
            expected: "at most 10^7 rows".to_owned(),
        });
    }
    let rows = match overrides.batch_tokens {
        Some(_) => rows as usize,
        None => (rows as usize).next_multiple_of(if rows < 16.0 { 4 } else { 8 }),
    };
    let set = overrides.batch_tokens.is_some();
    reasons.put("batch tokens", &(rows * network.context_length), set, "0.146 C^0.3271");
    Ok(rows)
}

fn precision(overrides: &Overrides, reasons: &mut Reasons) -> Precision {
    let (by_machine, rule) = match overrides.bf16_outpaces_f32 {
        None => (Precision::Bf16, "by default"),
        Some(true) => (Precision::Bf16, "bf16 is faster on this processor"),
        Some(false) => (Precision::F32, "bf16 is not faster on this processor"),
    };
    let precision = overrides.precision.unwrap_or(by_machine);
    let name = match precision {
        Precision::Bf16 => "bf16",
        Precision::F32 => "f32",
    };
    reasons.put("precision", &name, overrides.precision.is_some(), rule);
    precision
}

fn lanes(network: &Network, rows: usize, micro: usize, overrides: &Overrides) -> usize {
    let most = rows.div_ceil(micro);
    let many = if network.parameter_count() > FEW_LANES_PARAMETERS { 4 } else { LANES_MAX };
    let by_cores = overrides.cores.unwrap_or(2).next_power_of_two().clamp(2, many);
    overrides.lanes.unwrap_or(by_cores).clamp(1, most.max(1))
}

fn learning_rate(
    compute: f64,
    overrides: &Overrides,
    reasons: &mut Reasons,
) -> Result<f64, TrainError> {
    let rate = overrides.learning_rate.unwrap_or_else(|| {
        let rate = (0.3118 * compute.powf(-0.125)).min(6e-3);
        (rate * 1e5).round() / 1e5
    });
    range("learning rate", rate, 1e-9..=10.0)?;
    reasons.put("learning rate", &rate, overrides.learning_rate.is_some(), "0.3118 C^-0.125");
    Ok(rate)
}

fn schedule(
    steps: u64,
    overrides: &Overrides,
    reasons: &mut Reasons,
) -> Result<LrSchedule, TrainError> {
    let warm_up = overrides.warm_up.unwrap_or((steps / 50).clamp(1, 2000)).min(steps);
    let decay = overrides.decay.unwrap_or(steps * 2 / 5).min(steps);
    let floor = overrides.floor.unwrap_or(0.0);
    range("floor", floor, 0.0..=1.0)?;
    let course = overrides.course.unwrap_or(Course::Constant);
    reasons.put("warm-up steps", &warm_up, overrides.warm_up.is_some(), "2 % of the run");
    if course == Course::Constant {
        reasons.put("decay steps", &decay, overrides.decay.is_some(), "the last 40 %");
    }
    Ok(LrSchedule { course, steps, warm_up, decay, floor })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(dial: Dial, overrides: &Overrides) -> Plan {
        Plan::new(dial, 4096, &text(50_000_000), overrides).unwrap().0
    }

    fn text(corpus_tokens: u64) -> Limits {
        Limits { corpus_tokens, time: None }
    }

    #[test]
    fn a_deeper_network_is_wider_and_trained_longer_with_a_smaller_rate() {
        let none = Overrides::default();
        let plans: Vec<Plan> = [2, 4, 6].map(|depth| plan(Dial::Depth(depth), &none)).to_vec();
        for pair in plans.windows(2) {
            assert!(pair[0].network.width < pair[1].network.width);
            assert!(pair[0].tokens() < pair[1].tokens());
            assert!(pair[0].learning_rate > pair[1].learning_rate);
            assert!(pair[0].batch_tokens() <= pair[1].batch_tokens());
        }
        assert_eq!(plans[1].network.width, 256);
        assert_eq!(plans[1].network.feed_forward_width, 704);
    }

    #[test]
    fn a_plan_is_the_same_to_the_bit_after_a_way_through_json() {
        for depth in 1..=32 {
            let whole = plan(Dial::Depth(depth), &Overrides::default());
            let text = serde_json::to_string_pretty(&whole).unwrap();
            let back: Plan = serde_json::from_str(&text).unwrap();
            assert_eq!(back.learning_rate.to_bits(), whole.learning_rate.to_bits(), "{text}");
            assert_eq!(back, whole);
        }
    }

    #[test]
    fn every_override_is_kept_and_called_set() {
        let overrides = Overrides {
            width: Some(192),
            head_count: Some(3),
            batch_tokens: Some(4096),
            tokens: Some(1_000_000),
            learning_rate: Some(0.01),
            warm_up: Some(7),
            ..Overrides::default()
        };
        let (plan, reasons) = Plan::new(Dial::Depth(4), 512, &text(1000), &overrides).unwrap();
        assert_eq!((plan.network.width, plan.network.head_dim), (192, 64));
        assert_eq!(plan.batch_tokens(), 4096);
        assert_eq!(plan.schedule.steps, 244);
        assert_eq!(plan.schedule.warm_up, 7);
        let set = |name| reasons.iter().any(|r| r.name == name && r.from == "set");
        assert!(
            ["width", "heads", "tokens", "learning rate", "warm-up steps"].map(set) == [true; 5]
        );
        assert!(!set("context"));
    }

    #[test]
    fn the_precision_follows_from_the_machine() {
        let with = |outpaces, precision| {
            let none = Overrides::default();
            let overrides = Overrides { bf16_outpaces_f32: outpaces, precision, ..none };
            plan(Dial::Depth(2), &overrides).precision
        };
        assert_eq!(with(None, None), Precision::Bf16);
        assert_eq!(with(Some(true), None), Precision::Bf16);
        assert_eq!(with(Some(false), None), Precision::F32);
        assert_eq!(with(Some(false), Some(Precision::Bf16)), Precision::Bf16);
    }

    #[test]
    fn rows_and_batches_follow_from_the_depth() {
        let none = Overrides::default();
        let lengths = [(2, 256), (3, 512), (6, 512), (7, 1024), (12, 1024), (13, 2048)];
        for (depth, length) in lengths {
            assert_eq!(of_depth(depth, 4096).context_length, length, "{depth} layers");
        }
        let (plan, _) = Plan::new(Dial::Depth(4), 4096, &text(1 << 40), &none).unwrap();
        let compute = 6.0 * 20.0 * (plan.network.multiplied_count() as f64).powi(2);
        let share = plan.batch_tokens() as f64 / (0.146 * compute.powf(0.3271));
        assert!((0.8..1.25).contains(&share), "{} tokens", plan.batch_tokens());
    }

    #[test]
    fn a_size_finds_the_depth_nearest_to_it() {
        let none = Overrides::default();
        let count = plan(Dial::Parameters(7_000_000), &none).network.parameter_count();
        assert!((5_000_000..10_000_000).contains(&count), "{count}");
    }

    #[test]
    fn little_text_ends_the_run_after_four_passes() {
        let none = Overrides::default();
        let (plan, reasons) = Plan::new(Dial::Depth(4), 4096, &text(100_000), &none).unwrap();
        assert!(plan.tokens() <= 500_000);
        assert!(reasons.iter().any(|reason| reason.from.contains("four passes")));
        assert!(Plan::new(Dial::Depth(4), 4096, &text(0), &none).is_err());
    }

    #[test]
    fn time_chooses_the_depth_and_everything_follows_from_it() {
        let none = Overrides::default();
        let timed = |minutes: f64, corpus_tokens| {
            let time = Time { seconds: 60.0 * minutes, operations_per_second: 1.8e11 };
            let limits = Limits { corpus_tokens, time: Some(time) };
            Plan::new(Dial::Time, 4096, &limits, &none).unwrap()
        };
        let runs = [3.0, 30.0, 600.0, 12_000.0].map(|minutes| timed(minutes, 1 << 40).0);
        for pair in runs.windows(2) {
            assert!(pair[0].network.layer_count < pair[1].network.layer_count);
            assert!(pair[0].batch_tokens() <= pair[1].batch_tokens());
            assert!(pair[0].learning_rate >= pair[1].learning_rate);
        }
        for (run, minutes) in runs.iter().zip([3.0, 30.0, 600.0, 12_000.0]) {
            let operations = run.tokens() as f64 * run.network.flops_per_token();
            let seconds = operations / 1.8e11;
            assert!((seconds / (60.0 * minutes) - 1.0).abs() < 0.1, "{seconds} of {minutes} min");
            let ratio = run.tokens() as f64 / run.network.multiplied_count() as f64;
            assert!((4.0..80.0).contains(&ratio), "{ratio} tokens a parameter");
        }
        // Little text: no more than four passes, and no network that it could never fill.
        let (small, reasons) = timed(600.0, 400_000);
        assert!(small.tokens() <= 1_700_000);
        assert!(small.network.layer_count < runs[2].network.layer_count);
        let from = |name| &reasons.iter().find(|reason| reason.name == name).unwrap().from;
        assert!(from("layers").contains("predicted"));
        assert!(from("tokens").contains("four passes") && from("speed").contains("measured"));
        assert!(Plan::new(Dial::Time, 4096, &text(1 << 30), &none).is_err());
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let refused = |dial, overrides: &Overrides| {
            Plan::new(dial, 4096, &text(1_000_000), overrides).unwrap_err().to_string()
        };
        let none = Overrides::default();
        assert!(refused(Dial::Depth(0), &none).contains("depth"));
        let rate = Overrides { learning_rate: Some(f64::NAN), ..none.clone() };
        assert!(refused(Dial::Depth(2), &rate).contains("learning rate"));
        let wide = Overrides { batch_tokens: Some(usize::MAX), ..none.clone() };
        assert!(refused(Dial::Depth(2), &wide).contains("batch tokens"));
        let heads = Overrides { head_count: Some(0), ..none };
        assert!(refused(Dial::Depth(2), &heads).contains("heads"));
    }

    #[test]
    fn a_new_horizon_keeps_the_shares() {
        let mut plan = plan(Dial::Depth(2), &Overrides::default());
        plan.with_steps(1000);
        assert_eq!(plan.schedule.steps, 1000);
        assert!((15..=25).contains(&plan.schedule.warm_up), "{}", plan.schedule.warm_up);
        assert!((390..=410).contains(&plan.schedule.decay), "{}", plan.schedule.decay);
    }
}
