//! From gradients to new weights: AdamW for what is looked up, added or scaled by, and Muon (or
//! AdamW as well) for the matrices between.

mod muon;

use lucid_kernels::{AdamW, Level, adamw};
use lucid_sys::ThreadPool;
use lucid_tensor::{ParameterId, Parameters};

use crate::plan::{Plan, Rule};

/// Elements that a thread updates at a time by AdamW.
const PART: usize = 1 << 16;

/// Added to the root of AdamW's second average.
const EPSILON: f32 = 1e-8;

/// What is kept of each parameter between steps.
#[derive(Clone, Debug)]
enum State {
    AdamW { first: Vec<f32>, second: Vec<f32>, decays: bool },
    Muon { momentum: Vec<f32>, rows: usize, cols: usize },
}

/// The optimiser of a run.
pub(crate) struct Optimiser {
    level: Level,
    betas: [f32; 2],
    weight_decay: f32,
    states: Vec<State>,
    scratch: Vec<muon::Scratch>,
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
    weight_decay: f32,
}

/// A piece of work of one step.
enum Task<'a> {
    AdamW(Part<'a>),
    Muon(muon::Parameter<'a>),
}

impl Optimiser {
    /// Of a run that begins.
    pub(crate) fn new(level: Level, plan: &Plan, parameters: &Parameters) -> Self {
        let state = |id: ParameterId| {
            let name = parameters.name(id);
            let len = parameters.values(id).len();
            match *parameters.shape(id) {
                [rows, cols] if plan.rule == Rule::Muon && is_hidden(name) => {
                    State::Muon { momentum: vec![0.0; len], rows, cols }
                }
                ref shape => {
                    // Norms have no scale to lose, and rows of embeddings that are rarely read
                    // would only fade.
                    let decays = shape.len() == 2 && name != "token_embd.weight";
                    State::AdamW { first: vec![0.0; len], second: vec![0.0; len], decays }
                }
            }
        };
        Self {
            level,
            betas: [plan.betas.0 as f32, plan.betas.1 as f32],
            weight_decay: plan.weight_decay as f32,
            states: parameters.ids().map(state).collect(),
            scratch: Vec::new(),
        }
    }

    /// One step. The results do not depend on the pool.
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
            match state {
                State::Muon { momentum, rows, cols } => {
                    let (rows, cols) = (*rows, *cols);
                    let it = muon::Parameter { rows, cols, values, gradient, momentum };
                    tasks.push(Task::Muon(it));
                }
                State::AdamW { first, second, decays } => {
                    let averages = first.chunks_mut(PART).zip(second.chunks_mut(PART));
                    let parts = values.chunks_mut(PART).zip(gradient.chunks(PART)).zip(averages);
                    let weight_decay = if *decays { self.weight_decay } else { 0.0 };
                    tasks.extend(parts.map(|((values, gradient), (first, second))| {
                        Task::AdamW(Part { values, gradient, first, second, weight_decay })
                    }));
                }
            }
        }
        deal(&mut tasks, pool.threads());
        self.scratch.resize_with(pool.threads(), muon::Scratch::default);
        let (level, weight_decay) = (self.level, self.weight_decay);
        let (rate, scale) = (pace.rate as f32, pace.scale as f32);
        let with = AdamW {
            learning_rate: rate,
            betas: self.betas,
            epsilon: EPSILON,
            weight_decay,
            gradient_scale: scale,
            step: u32::try_from(pace.count).unwrap_or(u32::MAX),
        };
        let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
        pool.for_each_with(&mut self.scratch, &mut tasks, |scratch, _, task| match task.take() {
            Some(Task::Muon(it)) => {
                muon::update(level, it, muon::Step { rate, weight_decay, scale }, scratch);
            }
            Some(Task::AdamW(part)) => {
                let Part { values, gradient, first, second, weight_decay } = part;
                adamw(level, AdamW { weight_decay, ..with }, gradient, values, first, second);
            }
            None => {}
        });
    }

    /// What is kept, by name, in the order of parameters: for checkpoints.
    pub(crate) fn tensors<'a>(
        &'a self,
        parameters: &'a Parameters,
    ) -> impl Iterator<Item = (String, &'a [f32])> {
        parameters.ids().zip(&self.states).flat_map(|(id, state)| {
            let name = parameters.name(id);
            let named = |part: &str, values| (format!("{part}.{name}"), values);
            match state {
                State::AdamW { first, second, .. } => {
                    vec![named("adamw.first", &first[..]), named("adamw.second", &second[..])]
                }
                State::Muon { momentum, .. } => vec![named("muon.momentum", &momentum[..])],
            }
        })
    }

    /// The same, to be filled from a checkpoint.
    pub(crate) fn tensors_mut<'a>(
        &'a mut self,
        parameters: &'a Parameters,
    ) -> impl Iterator<Item = (String, &'a mut [f32])> {
        parameters.ids().zip(&mut self.states).flat_map(|(id, state)| {
            let name = parameters.name(id);
            let named = |part: &str, values| (format!("{part}.{name}"), values);
            match state {
                State::AdamW { first, second, .. } => vec![
                    named("adamw.first", &mut first[..]),
                    named("adamw.second", &mut second[..]),
                ],
                State::Muon { momentum, .. } => vec![named("muon.momentum", &mut momentum[..])],
            }
        })
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
