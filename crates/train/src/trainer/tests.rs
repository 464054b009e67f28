//! The gradient of losses over comparisons, through the whole network, against finite differences;
//! and that nothing but the comparisons decides a step.

use std::sync::Arc;

use super::*;
use crate::conversation::{Example, Examples, Kind};
use crate::group::Alone;
use crate::plan::{Dial, Limits, Overrides};
use crate::preference::{Preference, PreferenceLoss};

const VOCABULARY: usize = 24;

/// Comparisons of answers of different lengths.
fn compared(kinds: [Kind; 6]) -> Compared {
    let mut examples = Examples::default();
    for (unit, kind) in kinds.into_iter().enumerate() {
        let answer = |place: usize| {
            let len = 5 + (unit + 3 * place) % 4;
            let token = |at: usize| ((unit * 5 + at * (3 + place)) % VOCABULARY) as TokenId;
            let tokens: Vec<TokenId> = (0..len).map(token).collect();
            (tokens, (0..len).map(|at| at >= 3).collect::<Vec<bool>>())
        };
        let pair = [answer(0), answer(1)];
        let pair = pair.each_ref().map(|(tokens, learned)| Example { tokens, learned });
        examples.push_compared(pair, kind);
    }
    let compared = Compared::new(Arc::new(examples));
    // Not what the weights say: no loss is at a place where it is symmetric.
    let reference = (0..12).map(|at| -9.0 - 0.3 * f64::from(at % 5)).map(|it| it as f32);
    compared.set_reference(reference.collect()).unwrap();
    compared
}

fn usual(loss: PreferenceLoss) -> Preference {
    Preference { beta: 0.5, ..Preference::usual(loss) }
}

fn trainer(preference: Preference, compared: &Compared, threads: usize) -> Trainer {
    let overrides = Overrides {
        precision: Some(Precision::F32),
        width: Some(16),
        head_dim: Some(8),
        context_length: Some(32),
        batch_tokens: Some(128),
        steps: Some(200),
        lanes: Some(2),
        learning_rate: Some(0.01),
        ..Overrides::default()
    };
    let limits = Limits { corpus_tokens: 3000, time: None };
    let mut plan = Plan::new(Dial::Depth(1), VOCABULARY, &limits, &overrides).unwrap().0;
    (plan.rows_per_micro_batch, plan.rows_per_step) = (1, 4);
    plan.objective = Objective::Preference(preference);
    let setup = Setup {
        threads,
        level: Level::detect(),
        material: Material::Comparisons(compared.clone()),
        packing: PackOptions {
            row_tokens: 2,
            packing: crate::data::Packing::InOrder,
            seed: 0,
            end: None,
        },
        bytes: TokenBytes::from(vec![1; VOCABULARY]),
        group: Rc::new(Alone),
    };
    Trainer::new(plan, setup).unwrap()
}

/// Adds to one number of a parameter.
fn nudge(trainer: &Trainer, id: ParameterId, at: usize, by: f32) {
    let mut parameters = trainer.root.parameters_mut();
    parameters.values_mut(id)[at] += by;
    parameters.repack(&trainer.pool);
}

fn slope_by_differences(trainer: &mut Trainer, all: &Material, id: ParameterId, at: usize) -> f64 {
    const STEP: f32 = 4e-3;
    nudge(trainer, id, at, STEP);
    let above = trainer.validate(all, None).unwrap().loss;
    nudge(trainer, id, at, -2.0 * STEP);
    let below = trainer.validate(all, None).unwrap().loss;
    nudge(trainer, id, at, STEP);
    (above - below) / f64::from(2.0 * STEP)
}

#[test]
fn gradients_of_comparisons_are_those_of_finite_differences() {
    let compared = compared([Kind::Pair; 6]);
    let all = Material::Comparisons(compared.clone());
    let free = |loss| Preference { reference: Reference::Nothing, ..usual(loss) };
    for preference in [
        usual(PreferenceLoss::Dpo),
        free(PreferenceLoss::Dpo),
        usual(PreferenceLoss::Ipo),
        free(PreferenceLoss::Ipo),
        usual(PreferenceLoss::Orpo),
        usual(PreferenceLoss::Simpo),
    ] {
        let mut trainer = trainer(preference, &compared, 2);
        // Away from the first weights, half of which are zeros.
        for _ in 0..20 {
            trainer.step().unwrap();
        }
        let mut feed = Feed::once(&all, &trainer.plan, None).unwrap();
        let mut micro = Vec::new();
        let mut batch = Batch::default();
        while feed.next_batch(&mut batch).unwrap() {
            micro.push(std::mem::take(&mut batch));
        }
        let judge = judge(&trainer.plan, Some(&compared));
        let scale = Some(1.0 / 6.0);
        trainer.lanes.begin(micro.len(), &trainer.pool);
        trainer.lanes.compute(&trainer.model, &micro, scale, judge, &trainer.pool);
        trainer.lanes.sum(trainer.optimiser.parts(), &Alone, &trainer.pool);
        let largest: Vec<(ParameterId, usize, f32)> = trainer
            .lanes
            .gradients_mut()
            .into_iter()
            .map(|(id, values)| {
                let most = |a: &usize, b: &usize| values[*a].abs().total_cmp(&values[*b].abs());
                let at = (0..values.len()).max_by(most).unwrap();
                (id, at, values[at])
            })
            .collect();
        assert!(largest.len() > 8);
        for (id, at, slope) in largest {
            let expected = slope_by_differences(&mut trainer, &all, id, at);
            let slope = f64::from(slope);
            let near = (slope - expected).abs() <= 0.02 * expected.abs() + 2e-4;
            let name = trainer.parameters().name(id).to_owned();
            assert!(near, "{preference:?} {name}: {slope} instead of {expected}");
        }
    }
}

#[test]
fn what_was_found_good_becomes_more_probable_on_any_threads() {
    let alone = [Kind::Good, Kind::Bad, Kind::Good, Kind::Bad, Kind::Good, Kind::Bad];
    for (loss, kinds) in [(PreferenceLoss::Dpo, [Kind::Pair; 6]), (PreferenceLoss::Kto, alone)] {
        let compared = compared(kinds);
        let run = |threads| {
            let mut trainer = trainer(usual(loss), &compared, threads);
            let reports: Vec<_> = (0..60).map(|_| trainer.step().unwrap()).collect();
            let after = trainer.validate(&Material::Comparisons(compared.clone()), None).unwrap();
            (reports, after)
        };
        let (reports, after) = run(1);
        assert_eq!((reports, after), run(3), "{loss:?}");
        let told = after.told.unwrap();
        assert!(told.accuracy > 0.99 && told.chosen > told.rejected + 0.5, "{loss:?}: {told:?}");
    }
}

#[test]
fn a_reference_is_what_the_weights_say() {
    let given = compared([Kind::Pair; 6]);
    let mut trainer = trainer(usual(PreferenceLoss::Dpo), &given, 2);
    let fresh = Compared::new(Arc::clone(&given.examples));
    trainer.measure_reference(&fresh, &mut |_, _| {}).unwrap();
    assert_eq!(fresh.reference().len(), 12);
    // Against itself a model prefers nothing.
    let own = trainer.validate(&Material::Comparisons(fresh.clone()), None).unwrap();
    assert!((own.loss - 2.0_f64.ln()).abs() < 1e-6, "{}", own.loss);
    // At first every token is as probable, nearly: logits of first weights deviate by 0.1 or so.
    let expected = -(VOCABULARY as f64).ln();
    for (at, reference) in fresh.reference().iter().enumerate() {
        let count = given.examples.get(at).learned.iter().filter(|&&it| it).count() as f64;
        assert!((f64::from(*reference) / count - expected).abs() < 0.25, "{at}: {reference}");
    }
    let short = Compared::new(Arc::clone(&given.examples));
    assert!(short.set_reference(vec![0.0; 3]).is_err());
}

#[test]
fn an_objective_has_the_material_that_it_needs() {
    let pairs = compared([Kind::Pair; 6]);
    let mut trainer = trainer(usual(PreferenceLoss::Dpo), &pairs, 1);
    let alone = Material::Comparisons(compared([Kind::Good; 6]));
    let refused = trainer.validate(&alone, None).unwrap_err().to_string();
    assert!(refused.contains("pairs"), "{refused}");
    trainer.plan.objective = Objective::Likelihood;
    let refused = trainer.validate(&Material::Comparisons(pairs), None).unwrap_err();
    assert!(refused.to_string().contains("comparisons"), "{refused}");
}
