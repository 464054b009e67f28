//! From gradients to new weights: AdamW for what is looked up, added or scaled by, and Muon (or
//! AdamW as well) for the matrices between. A rank keeps averages of its own part of the
//! parameters only, and updates that.

mod muon;

use lucid_kernels::{AdamW, Level, adamw};
use lucid_sys::ThreadPool;
use lucid_tensor::{ParameterId, Parameters};

use crate::group::{Cut, Group, Parts};
use crate::plan::{Plan, Rule};

/// Elements that a thread updates at a time by AdamW.
const PART: usize = 1 << 16;

/// Added to the root of AdamW's second average.
const EPSILON: f32 = 1e-8;

/// The token embedding learns at so many times the rate, where Muon has the hidden matrices and the
/// head has a matrix of its own. A row of it changes only in steps whose
/// text has its token, and a norm follows, so that only a row's direction counts and the rate is
/// to be compared with the length that rows grow to. nanochat (Karpathy 2025) has 15 times the
/// matrices' rate; the number here is from runs of 4 million tokens, see LOG.md.
const EMBEDDING_RATE: f32 = 20.0;

/// The decay of the second average of the token embedding's gradients: most tokens are rare.
/// nanochat's.
const EMBEDDING_BETA: f32 = 0.995;

/// The token embedding's name.
const EMBEDDING: &str = "token_embd.weight";

/// What is kept between steps of the part of a parameter that this rank updates.
#[derive(Clone, Debug)]
enum State {
    AdamW { first: Vec<f32>, second: Vec<f32>, how: How },
    Muon { momentum: Vec<f32>, rows: usize, cols: usize },
}

/// How AdamW treats a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
struct How {
    /// Factor on the learning rate.
    rate: f32,
    /// The decay of the second average.
    beta: f32,
    weight_decay: f32,
}

/// The optimiser of a run.
pub(crate) struct Optimiser {
    level: Level,
    beta: f32,
    weight_decay: f32,
    rank: usize,
    parts: Parts,
    states: Vec<State>,
    scratch: Vec<muon::Scratch>,
}

/// Averages of a parameter, of which a rank holds a part.
pub(crate) struct Held<T> {
    /// Their name in checkpoints.
    pub(crate) name: String,
    /// The parameter's index.
    pub(crate) parameter: usize,
    /// Elements of the whole parameter.
    pub(crate) len: usize,
    /// Where this rank's part begins.
    pub(crate) start: usize,
    /// This rank's part.
    pub(crate) values: T,
}

/// How far a step goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Learning rate.
    pub(crate) rate: f64,
    /// Factor on all gradients.
    pub(crate) scale: f64,
    /// Steps taken, this one included.
    pub(crate) count: u64,
}

/// A part of a parameter that AdamW updates. All slices have the same length.
struct Part<'a> {
    values: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    how: How,
}

/// A piece of work of one step.
enum Task<'a> {
    AdamW(Part<'a>),
    Muon(muon::Parameter<'a>),
}

impl Optimiser {
    /// Of a run that begins.
    pub(crate) fn new(
        level: Level,
        plan: &Plan,
        parameters: &Parameters,
        group: &dyn Group,
    ) -> Self {
        let is_muon = |id: ParameterId| {
            let matrix = parameters.shape(id).len() == 2;
            matrix && plan.rule == Rule::Muon && is_hidden(parameters.name(id))
        };
        let of = |id| {
            let cut = if is_muon(id) { Cut::Never } else { Cut::Anywhere };
            (parameters.values(id).len(), cut)
        };
        let sizes: Vec<_> = parameters.ids().map(of).collect();
        let parts = Parts::new(&sizes, group.ranks());
        let state = |id: ParameterId| {
            let len = parts.range(id.index(), group.rank()).len();
            match *parameters.shape(id) {
                [rows, cols] if is_muon(id) => State::Muon { momentum: vec![0.0; len], rows, cols },
                ref shape => {
                    let how = how(plan, parameters.name(id), shape.len());
                    State::AdamW { first: vec![0.0; len], second: vec![0.0; len], how }
                }
            }
        };
        Self {
            level,
            beta: plan.betas.0 as f32,
            weight_decay: plan.weight_decay as f32,
            states: parameters.ids().map(state).collect(),
            rank: group.rank(),
            parts,
            scratch: Vec::new(),
        }
    }

    /// Which rank updates what.
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// One step of this rank's part. The results do not depend on the pool.
    pub(crate) fn step(
        &mut self,
        parameters: &mut Parameters,
        gradients: Vec<(ParameterId, &mut [f32])>,
        pace: Pace,
        pool: &ThreadPool,
    ) {
        let mut tasks = Vec::new();
        let all = parameters.all_mut().into_iter().zip(gradients).zip(&mut self.states);
        for (((id, values), (of, gradient)), state) in all {
            assert_eq!(id, of, "gradients in the order of parameters");
            let own = self.parts.range(id.index(), self.rank);
            if own.is_empty() {
                continue;
            }
            let (values, gradient) = (&mut values[own.clone()], &gradient[own]);
            match state {
                State::Muon { momentum, rows, cols } => {
                    let (rows, cols) = (*rows, *cols);
                    let it = muon::Parameter { rows, cols, values, gradient, momentum };
                    tasks.push(Task::Muon(it));
                }
                State::AdamW { first, second, how } => {
                    let averages = first.chunks_mut(PART).zip(second.chunks_mut(PART));
                    let parts = values.chunks_mut(PART).zip(gradient.chunks(PART)).zip(averages);
                    let how = *how;
                    tasks.extend(parts.map(|((values, gradient), (first, second))| {
                        Task::AdamW(Part { values, gradient, first, second, how })
                    }));
                }
            }
        }
        deal(&mut tasks, pool.threads());
        self.scratch.resize_with(pool.threads(), muon::Scratch::default);
        let (level, weight_decay) = (self.level, self.weight_decay);
        let (rate, scale) = (pace.rate as f32, pace.scale as f32);
        let step = u32::try_from(pace.count).unwrap_or(u32::MAX);
        let beta = self.beta;
        let with = |how: How| AdamW {
            learning_rate: rate * how.rate,
            betas: [beta, how.beta],
            epsilon: EPSILON,
            weight_decay: how.weight_decay,
            gradient_scale: scale,
            step,
        };
        let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
        pool.for_each_with(&mut self.scratch, &mut tasks, |scratch, _, task| match task.take() {
            Some(Task::Muon(it)) => {
                muon::update(level, it, muon::Step { rate, weight_decay, scale }, scratch);
            }
            Some(Task::AdamW(part)) => {
                let Part { values, gradient, first, second, how } = part;
                adamw(level, with(how), gradient, values, first, second);
            }
            None => {}
        });
    }

    /// What is kept, in the order of parameters: for checkpoints.
    pub(crate) fn tensors<'a>(
        &'a self,
        parameters: &'a Parameters,
    ) -> impl Iterator<Item = Held<&'a [f32]>> {
        parameters.ids().zip(&self.states).flat_map(move |(id, state)| {
            let held = |part, values| held(&self.parts, self.rank, parameters, id, part, values);
            match state {
                State::AdamW { first, second, .. } => {
                    vec![held("adamw.first", &first[..]), held("adamw.second", &second[..])]
                }
                State::Muon { momentum, .. } => vec![held("muon.momentum", &momentum[..])],
            }
        })
    }

    /// The same, to be filled from a checkpoint.
    pub(crate) fn tensors_mut<'a>(
        &'a mut self,
        parameters: &'a Parameters,
    ) -> impl Iterator<Item = Held<&'a mut [f32]>> {
        let Self { parts, rank, states, .. } = self;
        let (parts, rank) = (&*parts, *rank);
        parameters.ids().zip(states).flat_map(move |(id, state)| {
            let held = |part, values| held(parts, rank, parameters, id, part, values);
            match state {
                State::AdamW { first, second, .. } => {
                    vec![held("adamw.first", &mut first[..]), held("adamw.second", &mut second[..])]
                }
                State::Muon { momentum, .. } => vec![held("muon.momentum", &mut momentum[..])],
            }
        })
    }
}

fn held<T>(
    parts: &Parts,
    rank: usize,
    parameters: &Parameters,
    id: ParameterId,
    part: &str,
    values: T,
) -> Held<T> {
    let parameter = id.index();
    Held {
        name: format!("{part}.{}", parameters.name(id)),
        parameter,
        len: parameters.values(id).len(),
        start: parts.range(parameter, rank).start,
        values,
    }
}

/// How AdamW treats the parameter of a name with so many dimensions.
fn how(plan: &Plan, name: &str, dimensions: usize) -> How {
    let beta = plan.betas.1 as f32;
    match (name, dimensions) {
        // Rows that are rarely read would only fade.
        (EMBEDDING, _) if plan.rule == Rule::Muon && !plan.network.tied_head => {
            How { rate: EMBEDDING_RATE, beta: EMBEDDING_BETA, weight_decay: 0.0 }
        }
        (EMBEDDING, _) => How { rate: 1.0, beta, weight_decay: 0.0 },
        (_, 2) => How { rate: 1.0, beta, weight_decay: plan.weight_decay as f32 },
        // Norms have no scale to lose.
        _ => How { rate: 1.0, beta, weight_decay: 0.0 },
    }
}

/// A matrix inside a layer: neither embeddings nor head, for which AdamW is better (Jordan et al.).
fn is_hidden(name: &str) -> bool {
    name.starts_with("blk.")
}

/// Orders tasks so that each thread's share of a run begins with its largest.
fn deal(tasks: &mut Vec<Task<'_>>, threads: usize) {
    let cost = |task: &Task<'_>| match task {
        Task::AdamW(part) => part.values.len(),
        // Some sixty times an element's work, for widths of hundreds.
        Task::Muon(it) => 64 * it.values.len(),
    };
    tasks.sort_by_key(|task| std::cmp::Reverse(cost(task)));
    let mut dealt: Vec<_> = std::mem::take(tasks).into_iter().enumerate().collect();
    dealt.sort_by_key(|(place, _)| place % threads);
    tasks.extend(dealt.into_iter().map(|(_, task)| task));
}
