//! Losses and slopes against PyTorch (`tools/losses/preference.py`).

use serde::Deserialize;

use super::*;
use crate::conversation::Example;

#[derive(Deserialize)]
struct Case {
    loss: PreferenceLoss,
    beta: f64,
    #[serde(default)]
    margin: f64,
    #[serde(default)]
    label_smoothing: f64,
    #[serde(default)]
    weights: Option<(f64, f64)>,
    log_probs: Vec<f64>,
    tokens: Vec<f64>,
    before: Vec<f64>,
    losses: Vec<f64>,
    slopes: Vec<f64>,
}

impl Case {
    fn preference(&self) -> Preference {
        Preference {
            beta: self.beta,
            margin: self.margin,
            label_smoothing: self.label_smoothing,
            weights: self.weights.unwrap_or((1.0, 1.0)),
            ..Preference::usual(self.loss)
        }
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../tests/goldens/preference.json")).unwrap()
}

fn check(name: &str, found: f64, expected: f64) {
    // Losses of tokens are f32.
    let near = (found - expected).abs() <= 2e-6 * expected.abs().max(1e-2);
    assert!(near, "{name}: {found} instead of {expected}");
}

/// The answers as a batch of whole comparisons, the last one first, and what judges it. Losses of
/// an answer's tokens are its mean ones.
fn batch(case: &Case) -> (Batch, Vec<f32>, Examples, Vec<f32>) {
    let is_kto = case.loss == PreferenceLoss::Kto;
    let count = case.log_probs.len();
    // Units of two sequences: pairs; or an answer and what the script takes for one to another
    // question.
    let units: Vec<[(usize, f64); 2]> = if is_kto {
        (0..count).map(|at| [(at, 0.0), (at, 0.4)]).collect()
    } else {
        (0..count / 2).map(|at| [(2 * at, 0.0), (2 * at + 1, 0.0)]).collect()
    };
    let (mut batch, mut losses) = (Batch::default(), Vec::new());
    let (mut examples, mut reference) = (Examples::default(), Vec::new());
    for (unit, answers) in units.iter().enumerate() {
        let kind = match (is_kto, unit % 2) {
            (false, _) => Kind::Pair,
            (true, 0) => Kind::Good,
            _ => Kind::Bad,
        };
        let one = Example { tokens: &[1, 2], learned: &[false, true] };
        examples.push_compared([one, one], kind);
        reference.extend(answers.map(|(at, _)| case.before[at] as f32));
    }
    for (unit, answers) in units.iter().enumerate().rev() {
        batch.units.push(unit as u32);
        for (at, more) in answers {
            let tokens = case.tokens[*at];
            // A token of the question counts for nothing.
            batch.weights.push(0.0);
            losses.push(0.0);
            batch.weights.extend(std::iter::repeat_n(1.0, tokens as usize));
            let mean = -(case.log_probs[*at] + more) / tokens;
            losses.extend(std::iter::repeat_n(mean as f32, tokens as usize));
            batch.sequences.resize(batch.weights.len(), batch.sequence_count);
            batch.sequence_count += 1;
        }
    }
    (batch, losses, examples, reference)
}

#[test]
fn losses_and_slopes_are_those_of_pytorch() {
    let cases = cases();
    assert_eq!(cases.len(), 11);
    for case in &cases {
        let (batch, losses, examples, reference) = batch(case);
        let judge =
            Judge { preference: case.preference(), examples: &examples, reference: &reference };
        let mut slopes = Vec::new();
        let outcome = judge.judge(&batch, &losses, &mut slopes);
        check("loss", outcome.loss, case.losses.iter().sum());
        let count = case.losses.len() as f64;
        for (number, &unit) in batch.units.iter().enumerate() {
            for place in 0..2 {
                let slope = slopes[2 * number + place] / count;
                match (examples.kind(unit as usize), place) {
                    (Kind::Pair, _) => {
                        check("slope", slope, case.slopes[2 * unit as usize + place]);
                    }
                    (_, 0) => check("slope", slope, case.slopes[unit as usize]),
                    _ => assert!(slope == 0.0, "the reference point has no gradient"),
                }
            }
        }
    }
}

#[test]
fn extreme_answers_have_finite_losses() {
    for loss in [
        PreferenceLoss::Dpo,
        PreferenceLoss::Ipo,
        PreferenceLoss::Kto,
        PreferenceLoss::Orpo,
        PreferenceLoss::Simpo,
    ] {
        for (chosen, rejected) in [(0.0, -1e5), (-1e5, 0.0), (0.0, 0.0), (-1e5, -1e5)] {
            let answer = |log_prob| Answer { log_prob, tokens: 10.0, reference: -5.0 };
            let preference = Preference::usual(loss);
            let graded = match loss {
                PreferenceLoss::Kto => preference.alone(answer(chosen), true, rejected),
                _ => preference.pair(answer(chosen), answer(rejected)),
            };
            assert!(graded.loss.is_finite(), "{loss:?}: {graded:?}");
            // IPO's and ORPO's have no bound but what rounding leaves of an answer that is certain.
            assert!(graded.slopes.iter().all(|slope| slope.abs() <= 1e5), "{loss:?}: {graded:?}");
        }
    }
}
