//! Properties of packing: each token once, no crossing, resuming and sharing change nothing.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::data::{Shards, VocabularyId};

const BEGIN: TokenId = 0;
const END: TokenId = 1;
const VOCABULARY: VocabularyId =
    VocabularyId { fingerprint: [7; 32], size: 1 << 20, begin: Some(BEGIN) };
const PACKINGS: [Packing; 3] =
    [Packing::InOrder, Packing::BestFit(Leftover::Keep), Packing::BestFit(Leftover::Discard)];

/// Documents of these lengths, whose tokens (but the first) occur once in all of them.
fn documents(lens: &[u32]) -> Vec<Vec<TokenId>> {
    let mut next = 10;
    let document = |&len: &u32| {
        let start = next;
        next += len;
        std::iter::once(BEGIN).chain(start..start + len - 1).collect()
    };
    lens.iter().map(document).collect()
}

fn shards(lens: &[u32]) -> Arc<Shards> {
    Arc::new(Shards::in_memory(&documents(lens), &VOCABULARY).unwrap())
}

fn options(row_tokens: u32, packing: Packing) -> PackOptions {
    PackOptions { row_tokens, packing, seed: 3, end: Some(END) }
}

fn next(batches: &mut Batches) -> Batch {
    let mut batch = Batch::default();
    assert!(batches.next_batch(&mut batch).unwrap());
    batch
}

/// All rows of the first epoch.
fn epoch(lens: &[u32], options: PackOptions) -> Vec<Batch> {
    let mut batches = Batches::new(shards(lens), options, 1, Share::ALL).unwrap();
    (0..batches.epoch_rows()).map(|_| next(&mut batches)).collect()
}

/// What every batch must be, whatever is packed.
fn check_batch(batch: &Batch, row_tokens: u32, follows: &HashMap<TokenId, TokenId>) {
    let len = batch.tokens.len();
    for list in [batch.targets.len(), batch.weights.len(), batch.positions.len()] {
        assert_eq!(list, len);
    }
    assert_eq!(batch.sequences.len(), len);
    assert_eq!(batch.rows.iter().map(ExactSizeIterator::len).sum::<usize>(), len);
    let mut expected = (0, 0);
    for row in &batch.rows {
        assert!(row.len() <= row_tokens as usize && !row.is_empty());
        for at in row.clone() {
            let begins = at == row.start || batch.sequences[at] != batch.sequences[at - 1];
            expected.0 = if at == 0 { 0 } else { expected.0 + u32::from(begins) };
            expected.1 = if begins { 0 } else { expected.1 + 1 };
            assert_eq!((batch.sequences[at], batch.positions[at]), expected);
            let (token, target) = (batch.tokens[at], batch.targets[at]);
            if token == BEGIN {
                assert!(begins, "a document begins where its sequence does");
            } else if batch.weights[at] > 0.0 {
                assert_eq!(follows[&token], target, "the target follows in the same document");
            }
            // The next input of the same sequence is what was to be predicted.
            if at + 1 < row.end && batch.sequences[at + 1] == batch.sequences[at] {
                assert_eq!(batch.tokens[at + 1], target);
            }
        }
    }
    assert_eq!(batch.sequence_count, expected.0 + 1);
}

fn check_epoch(lens: &[u32], row_tokens: u32, packing: Packing) {
    let documents = documents(lens);
    let mut follows = HashMap::new();
    for document in &documents {
        follows.extend(document.windows(2).map(|pair| (pair[0], pair[1])));
        follows.insert(document[document.len() - 1], END);
    }
    let mut inputs: HashMap<TokenId, u32> = HashMap::new();
    let mut targets: HashMap<TokenId, u32> = HashMap::new();
    let rows = epoch(lens, options(row_tokens, packing));
    let mut short = 0;
    for row in &rows {
        check_batch(row, row_tokens, &follows);
        short += u32::from(row.tokens.len() < row_tokens as usize);
        if packing != Packing::InOrder {
            assert_eq!(row.tokens[0], BEGIN, "every row begins as documents do");
        }
        for at in 0..row.tokens.len() {
            *inputs.entry(row.tokens[at]).or_default() += 1;
            if row.weights[at] > 0.0 {
                *targets.entry(row.targets[at]).or_default() += 1;
            }
        }
    }
    let all = || documents.iter().flat_map(|document| &document[1..]);
    let complete = packing != Packing::BestFit(Leftover::Discard);
    for token in all() {
        let (input, target) = (inputs.get(token), targets.get(token));
        assert!(if complete { input == Some(&1) } else { input.is_none_or(|&n| n == 1) });
        assert!(if complete { target == Some(&1) } else { target.is_none_or(|&n| n == 1) });
    }
    if complete {
        assert_eq!(targets[&END], lens.len() as u32, "each document ends once");
        let counted = targets.len() - 1;
        assert_eq!(counted, all().count());
    }
    if packing == Packing::InOrder {
        assert_eq!(inputs[&BEGIN], lens.len() as u32);
        assert!(short <= 2, "{short} of {} rows are short", rows.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn each_token_once_and_no_crossing(
        lens in prop::collection::vec(1_u32..90, 1..40),
        row_tokens in 2_u32..50,
    ) {
        for packing in PACKINGS {
            check_epoch(&lens, row_tokens, packing);
        }
    }

    #[test]
    fn resuming_and_sharing_change_nothing(
        lens in prop::collection::vec(1_u32..60, 1..30),
        row_tokens in 2_u32..40,
        rows in 1_u32..5,
        ranks in 1_u32..4,
        pause in 0_usize..12,
    ) {
        for packing in PACKINGS {
            check_resume(&lens, options(row_tokens, packing), rows, ranks, pause);
        }
    }
}

/// `ranks` ranks, stopped after `pause` of their batches and resumed as one, see what one sees that
/// was never stopped.
fn check_resume(lens: &[u32], options: PackOptions, rows: u32, ranks: u32, pause: usize) {
    let start = |share| Batches::new(shards(lens), options, rows, share).unwrap();
    let mut whole = start(Share::ALL);
    let expected: Vec<_> = (0..pause * ranks as usize + 4).map(|_| next(&mut whole)).collect();
    let mut sharing: Vec<_> = (0..ranks).map(|rank| start(Share { rank, ranks })).collect();
    let mut found = Vec::new();
    for _ in 0..pause {
        found.extend(sharing.iter_mut().map(next));
    }
    let position = sharing[0].position();
    assert!(sharing.iter().all(|rank| rank.position() == position));
    let kept = serde_json::to_string(&position).unwrap();
    let mut resumed = start(Share::ALL);
    resumed.seek(&serde_json::from_str(&kept).unwrap()).unwrap();
    found.extend((0..4).map(|_| next(&mut resumed)));
    assert_eq!(found, expected);
    assert_eq!(resumed.position(), whole.position());
}

#[test]
fn epochs_differ_and_a_seed_decides() {
    let lens: Vec<u32> = (1..200).collect();
    for packing in PACKINGS {
        let of = |seed, epoch| {
            let options = PackOptions { seed, ..options(32, packing) };
            let mut batches = Batches::new(shards(&lens), options, 4, Share::ALL).unwrap();
            let position = batches.position();
            batches.seek(&Position { epoch, ..position }).unwrap();
            next(&mut batches)
        };
        assert_eq!(of(1, 0), of(1, 0));
        assert_ne!(of(1, 0), of(2, 0));
        assert_ne!(of(1, 0), of(1, 1));
    }
}

#[test]
fn a_pass_for_measuring_takes_all_in_order_and_ends() {
    let lens = [5, 1, 30, 7];
    // Every row begins anew; the last token of a piece is predicted only.
    let rows: [&[u32]; 6] = [
        &[0, 10, 11, 12],
        &[0, 16, 17, 18, 19, 20, 21, 22],
        &[0, 24, 25, 26, 27, 28, 29, 30],
        &[0, 32, 33, 34, 35, 36, 37, 38],
        &[0, 40, 41, 42, 43],
        &[0, 46, 47, 48, 49, 50],
    ];
    let all: Vec<TokenId> = rows.concat();
    for ranks in [1, 2, 3] {
        let (mut found, mut targets) = (Vec::new(), Vec::new());
        let mut sharing: Vec<_> = (0..ranks)
            .map(|rank| {
                let options = options(8, Packing::BestFit(Leftover::Keep));
                Batches::once(shards(&lens), options, 2, Share { rank, ranks }).unwrap()
            })
            .collect();
        let mut batch = Batch::default();
        for turn in 0..9 {
            for rank in &mut sharing {
                let more = rank.next_batch(&mut batch).unwrap();
                assert!(more || turn > 0);
                found.extend_from_slice(&batch.tokens);
                let counted = batch.targets.iter().zip(&batch.weights);
                targets.extend(counted.filter(|pair| *pair.1 > 0.0).map(|pair| *pair.0));
            }
        }
        assert_eq!(found, all, "{ranks} ranks");
        let text = documents(&lens).into_iter().flat_map(|document| document[1..].to_vec());
        assert_eq!(targets, text.collect::<Vec<_>>(), "each token of text once");
    }
}

/// Of what best fit cuts off, nanochat's way loses all; of long documents all but a row.
#[test]
fn best_fit_fills_rows_and_loses_little_of_long_documents() {
    let mut random = crate::random::Random::new("test", 1, 0);
    let lens: Vec<u32> = (0..400).map(|_| 1 + random.below(700) as u32).collect();
    let total: u64 = lens.iter().map(|&len| u64::from(len)).sum();
    let lost = |leftover| {
        let rows = epoch(&lens, options(256, Packing::BestFit(leftover)));
        let short = rows.iter().filter(|row| row.tokens.len() < 256).count();
        let targets: usize = rows.iter().map(Batch::target_count).sum();
        (total - targets as u64, short)
    };
    assert_eq!(lost(Leftover::Keep).0, 0);
    let (discarded, short) = lost(Leftover::Discard);
    assert!(discarded > 0 && discarded < total / 10, "{discarded} of {total}");
    assert!(short <= 40, "{short} rows are short");
}

#[test]
fn without_an_end_token_the_last_has_no_target() {
    let count = |end| -> usize {
        let options = PackOptions { end, ..options(16, Packing::InOrder) };
        epoch(&[3, 2], options).iter().map(Batch::target_count).sum()
    };
    assert_eq!((count(None), count(Some(END))), (3, 5));
    let mut batches =
        Batches::once(shards(&[3, 2]), options(16, Packing::InOrder), 1, Share::ALL).unwrap();
    let batch = next(&mut batches);
    assert_eq!(batch.tokens, [BEGIN, 10, BEGIN]);
    assert_eq!(batch.targets, [10, 11, 13]);
    assert_eq!(batch.weights, [1.0; 3]);
    assert_eq!(batch.sequences, [0, 0, 1]);
}

#[test]
fn what_means_nothing_is_refused() {
    let check = |options, rows, share, expected: &str| {
        let error = Batches::new(shards(&[4]), options, rows, share).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let good = options(8, Packing::InOrder);
    check(options(1, Packing::InOrder), 1, Share::ALL, "the length of a row is 1");
    check(good, 0, Share::ALL, "rows of a micro-batch is 0");
    check(good, 1, Share { rank: 2, ranks: 2 }, "the rank is 2");
    let none = VocabularyId { begin: None, ..VOCABULARY };
    let bare = Arc::new(Shards::in_memory(&[vec![5, 6]], &none).unwrap());
    let best = options(8, Packing::BestFit(Leftover::Keep));
    let error = Batches::new(bare, best, 1, Share::ALL).unwrap_err();
    assert!(error.to_string().contains("begin token"), "{error}");
    let nothing = Arc::new(Shards::in_memory(&[], &VOCABULARY).unwrap());
    assert!(matches!(
        Batches::new(nothing, good, 1, Share::ALL),
        Err(TrainError::EmptySide { .. })
    ));
}

#[test]
fn a_position_of_other_data_is_refused() {
    let at = |lens: &[u32], options| {
        Batches::new(shards(lens), options, 1, Share::ALL).unwrap().position()
    };
    let good = options(8, Packing::InOrder);
    let mut batches = Batches::new(shards(&[9, 9]), good, 1, Share::ALL).unwrap();
    for other in [
        at(&[9, 8], good),
        at(&[9, 9], options(9, Packing::InOrder)),
        at(&[9, 9], options(8, Packing::BestFit(Leftover::Keep))),
        at(&[9, 9], PackOptions { seed: 4, ..good }),
    ] {
        assert!(matches!(batches.seek(&other), Err(TrainError::ForeignPosition { .. })));
    }
    let position = batches.position();
    batches.seek(&position).unwrap();
    let far = Position { row: 1000, ..position };
    assert!(matches!(batches.seek(&far), Err(TrainError::Limit { .. })));
}
