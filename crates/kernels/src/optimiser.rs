//! What an optimiser does to each parameter, in one pass over memory, and the sum that the norm of
//! a gradient is made of. Plain loops that the compiler turns into vectors of the level's width;
//! no bit depends on the level.

use crate::{Level, dot};

/// One step of AdamW (Loshchilov and Hutter, arXiv:1711.05101, algorithm 2): decay is decoupled
/// from the gradient and, as is usual, multiplied with the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Of this step.
    pub learning_rate: f32,
    /// Decay of the mean of gradients, and of the mean of their squares.
    pub betas: [f32; 2],
    /// Added to the root of the latter.
    pub epsilon: f32,
    /// A parameter loses `learning_rate * weight_decay` of itself.
    pub weight_decay: f32,
    /// Gradients are multiplied with it first: 1 over the number of summed ones, and clipping.
    pub gradient_scale: f32,
    /// The number of this step, from 1 on.
    pub step: u32,
}

impl AdamW {
    /// What means since step 1 are divided by, of each of the betas: `1 - beta^step`.
    fn corrections(&self) -> [f64; 2] {
        let exponent = i32::try_from(self.step).unwrap_or(i32::MAX);
        self.betas.map(|beta| 1.0 - f64::from(beta).powi(exponent))
    }
}

/// Moves `parameters` by one step. `first` and `second` hold the means of gradients and of their
/// squares, zero before step 1. All are of one length.
pub fn adamw(
    level: Level,
    with: AdamW,
    gradients: &[f32],
    parameters: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let len = parameters.len();
    let lengths = [gradients.len(), first.len(), second.len()];
    assert_eq!(lengths, [len; 3], "operands of different lengths");
    assert!(with.step > 0, "steps count from 1");
    let [first_correction, second_correction] = with.corrections();
    let rate = (f64::from(with.learning_rate) / first_correction) as f32;
    let root_correction = (1.0 / second_correction.sqrt()) as f32;
    let keep = 1.0 - with.learning_rate * with.weight_decay;
    let [beta1, beta2] = with.betas;
    level.vectorize(
        #[inline(always)]
        || {
            let means = first.iter_mut().zip(second);
            for ((w, gradient), (first, second)) in parameters.iter_mut().zip(gradients).zip(means)
            {
                let g = gradient * with.gradient_scale;
                *first = (g - *first).mul_add(1.0 - beta1, *first);
                *second = (g * g).mul_add(1.0 - beta2, *second * beta2);
                let divisor = second.sqrt().mul_add(root_correction, with.epsilon);
                *w = (*w).mul_add(keep, -(rate * (*first / divisor)));
            }
        },
    );
}

/// Elements of a part of `sum_of_squares`.
const PART: usize = 4096;

/// The sum of `x^2`: of parts of 4096 elements in the order of `dot`, of these in f64, ascending.
/// So parts that begin at multiples of 4096 may be summed apart.
pub fn sum_of_squares(level: Level, x: &[f32]) -> f64 {
    x.chunks(PART).map(|part| f64::from(dot(level, part, part))).sum()
}
