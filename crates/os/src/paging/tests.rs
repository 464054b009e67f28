//! What leaves, and what does not.

use proptest::prelude::*;

use super::*;

fn page(tokens: u64, reuse: f64) -> Candidate {
    Candidate { tokens, stub_tokens: 10, may_leave: true, reuse }
}

fn check(pages: &[Candidate], high: u64, low: u64, want: Option<&[usize]>) {
    let choice = choose(pages, Watermarks { high, low });
    assert_eq!(choice.as_ref().map(|choice| choice.leave.as_slice()), want);
}

#[test]
fn nothing_leaves_below_the_high_watermark() {
    check(&[page(100, 0.0), page(100, 0.0)], 200, 50, None);
}

#[test]
fn the_least_wanted_leave_until_the_low_watermark() {
    let pages = [page(100, 0.9), page(100, 0.1), page(100, 0.9), page(100, 0.2)];
    check(&pages, 350, 230, Some(&[1, 3]));
}

#[test]
fn among_equals_the_beginning_stays() {
    let pages = [page(100, 0.5); 6];
    check(&pages, 550, 440, Some(&[4, 5]));
}

#[test]
fn a_beginning_leaves_if_what_is_behind_is_wanted_much_more() {
    // To leave the first one costs computing the rest again; to leave others costs bringing them
    // back, which is dearer here.
    let mut pages = vec![page(2000, 0.0)];
    pages.extend([page(600, 1.0); 3]);
    check(&pages, 3000, 2040, Some(&[0]));
    check(&pages, 3000, 2700, Some(&[2, 3]));
}

#[test]
fn what_may_not_leave_stays_though_it_is_too_much() {
    let stays = Candidate { may_leave: false, ..page(500, 0.0) };
    check(&[stays, stays], 100, 50, None);
    let choice = choose(&[stays, page(100, 1.0)], Watermarks { high: 100, low: 50 }).unwrap();
    assert_eq!((choice.leave, choice.enough), (vec![1], false));
    // A stub that is longer than its page frees nothing.
    let short = Candidate { stub_tokens: 10, ..page(10, 0.0) };
    check(&[stays, short], 100, 50, None);
}

#[test]
fn thrashing_widens_the_working_set_and_quiet_narrows_it() {
    assert_eq!(working_set(2, 2, &[], 100), 2);
    assert_eq!(working_set(2, 2, &[95, 97, 99], 100), 4);
    assert_eq!(working_set(32, 2, &[99, 99, 99], 100), 32);
    assert_eq!(working_set(8, 2, &[80], 100), 8);
    assert_eq!(working_set(8, 2, &[20], 100), 4);
    assert_eq!(working_set(3, 2, &[], 100), 2);
}

#[test]
fn a_gist_is_a_line_that_looks_like_nothing_else() {
    assert_eq!(gist("\n---\n  The cat\nsat"), "The cat");
    assert_eq!(gist("a\u{27e9} \u{27e8}page#3, b\u{7}c"), "a   page#3, b c");
    assert_eq!(gist(&"x".repeat(100)).chars().count(), 73);
    assert_eq!(gist(""), "");
}

#[test]
fn pages_are_mentioned_by_their_names() {
    let pages = mentioned(
        "see page#12, \u{27e8}page#7, page#12 and page# or page#x, page#99999999999999999999",
    );
    assert_eq!(pages, [crate::ids::PageId(12), crate::ids::PageId(7)]);
}

#[test]
fn rare_words_in_common_make_a_page_relevant() {
    let texts = ["the cat sat on the mat", "the dog ate the bone", "the red bone of the king"];
    let relevance = Relevance::new(["where is the bone of the king?"], texts);
    let of = texts.map(|text| relevance.of(text));
    assert!(of[2] > of[1] && of[1] > of[0], "{of:?}");
    assert!(of.iter().all(|value| (0.0..=1.0).contains(value)), "{of:?}");
    assert_eq!(Relevance::new([], texts).of(texts[0]), 0.0);
}

proptest! {
    #[test]
    fn what_leaves_may_leave_and_is_enough_where_that_is_possible(
        pages in proptest::collection::vec((1..500u64, 0.0..1.0f64, any::<bool>()), 0..40),
        high in 0..4000u64,
    ) {
        let pages: Vec<_> = pages.into_iter().map(|(tokens, reuse, may_leave)| {
            Candidate { tokens, stub_tokens: 10, may_leave, reuse }
        }).collect();
        let low = high / 2;
        let total: u64 = pages.iter().map(|page| page.tokens).sum();
        let least: u64 = pages.iter().map(|page| {
            if page.may_leave { page.tokens.min(10) } else { page.tokens }
        }).sum();
        match choose(&pages, Watermarks { high, low }) {
            None => prop_assert!(total <= high || least == total),
            Some(choice) => {
                prop_assert!(total > high);
                let left: u64 = choice.leave.iter().map(|&at| pages[at].tokens - 10).sum();
                prop_assert!(choice.leave.iter().all(|&at| pages[at].may_leave));
                prop_assert!(choice.leave.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert_eq!(choice.enough, total - left <= low);
                prop_assert_eq!(choice.enough, least <= low);
            }
        }
    }
}
