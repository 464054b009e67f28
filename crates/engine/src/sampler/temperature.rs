//! Temperature, fixed or following the entropy.
//!
//! Sources: Ackley et al., "A Learning Algorithm for Boltzmann Machines" (1985); dynamic
//! temperature: kalomaze, llama.cpp's pull request 4972: between `temperature - range` and
//! `temperature + range` by (entropy / largest possible entropy)^exponent.
//! Departure: logits are taken relative to the largest before the division, which changes no
//! probability and cannot overflow.

use super::candidates::{Candidate, Candidates};
use super::config::DynamicTemperature;
use super::math;

pub(super) fn apply(candidates: &mut Candidates, temperature: f32, dynamic: &DynamicTemperature) {
    let temperature = if dynamic.range > 0.0 && candidates.list.len() > 1 {
        follow_entropy(candidates, temperature, dynamic)
    } else {
        f64::from(temperature)
    };
    let max = f64::from(candidates.max_logit());
    for Candidate { logit, .. } in &mut candidates.list {
        let below = f64::from(*logit) - max;
        // At temperature 0 only the largest survive: 0/0 must stay 0.
        let scaled = if below == 0.0 { 0.0 } else { below / temperature };
        *logit = scaled.max(f64::from(f32::MIN)) as f32;
    }
}

fn follow_entropy(
    candidates: &mut Candidates,
    temperature: f32,
    dynamic: &DynamicTemperature,
) -> f64 {
    let [temperature, range, exponent] =
        [temperature, dynamic.range, dynamic.exponent].map(f64::from);
    let largest = math::ln(candidates.list.len() as f64);
    let (weights, total) = candidates.weights();
    let sum: f64 = weights.iter().filter(|w| **w > 0.0).map(|&w| w * math::ln(w)).sum();
    let entropy = math::ln(total) - sum / total;
    let relative = (entropy / largest).clamp(0.0, 1.0);
    let coldest = (temperature - range).max(0.0);
    coldest + (temperature + range - coldest) * math::pow(relative, exponent)
}
