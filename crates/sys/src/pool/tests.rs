//! Tests of the pool: each item exactly once, scratch never shared, panics passed on, no run ever
//! stuck.

use super::*;
use std::sync::Barrier;

/// Enough to shake out races natively; Miri explores fewer, but checks each.
const RUNS: usize = if cfg!(miri) { 20 } else { 20_000 };

/// One run of `len` items: each visited once, by each thread its own part first and all in
/// ascending order from there around, all work accounted for.
fn check(pool: &ThreadPool, len: usize) {
    let mut items: Vec<(usize, u64)> = (0..len).map(|index| (index, 0)).collect();
    let mut scratch: Vec<_> = (0..pool.threads()).map(|slot| (slot, 0, None)).collect();
    pool.for_each_with(&mut scratch, &mut items, |(slot, count, last), index, item| {
        let first = part(len, *slot, pool.threads()).start;
        let place = if index < first { index + len } else { index };
        assert!(last.is_none_or(|last| last < place), "claimed out of order");
        assert_eq!(item.0, index);
        *last = Some(place);
        *count += 1;
        item.1 += 1;
    });
    assert!(items.iter().all(|item| item.1 == 1));
    assert_eq!(scratch.iter().map(|(_, count, _)| count).sum::<usize>(), len);
}

#[test]
fn each_thread_begins_with_its_own_part() {
    let pool = ThreadPool::new(4);
    let all = Barrier::new(4);
    let mut scratch: Vec<_> = (0..4).map(|slot| (slot, false)).collect();
    pool.for_each_with(&mut scratch, &mut [(); 11], |(slot, begun), index, ()| {
        if !*begun {
            *begun = true;
            assert!(part(11, *slot, 4).contains(&index), "thread {slot} began with {index}");
            // Nobody goes on to the others' items before all have begun.
            all.wait();
        }
    });
    assert!(scratch.iter().all(|(_, begun)| *begun));
}

#[test]
fn every_item_once_whatever_the_sizes() {
    for threads in 1..=8 {
        let pool = ThreadPool::new(threads);
        assert_eq!(pool.threads(), threads);
        for len in [0, 1, 2, 3, 7, 64, if cfg!(miri) { 100 } else { 10_000 }] {
            check(&pool, len);
        }
    }
}

#[test]
fn many_tiny_runs() {
    for threads in [2, 3, 8] {
        let pool = ThreadPool::new(threads);
        for run in 0..RUNS {
            check(&pool, run % 5);
        }
    }
}

#[test]
fn runs_far_apart_find_the_workers_asleep() {
    let pool = ThreadPool::new(3);
    for _ in 0..if cfg!(miri) { 3 } else { 50 } {
        std::thread::sleep(Duration::from_millis(1));
        check(&pool, 9);
    }
}

#[test]
fn the_caller_sleeps_until_a_slow_worker_is_done() {
    let pool = ThreadPool::new(2);
    let both = Barrier::new(2);
    for _ in 0..3 {
        let mut items = [0; 2];
        let caller = std::thread::current().id();
        pool.for_each(&mut items, |_, item| {
            // Neither returns before both have an item, so the worker holds one of them.
            both.wait();
            if std::thread::current().id() != caller {
                std::thread::sleep(Duration::from_millis(5));
            }
            *item = 1;
        });
        assert_eq!(items, [1, 1]);
    }
}

#[test]
fn all_threads_take_part() {
    let pool = ThreadPool::new(4);
    let all = Barrier::new(4);
    pool.for_each(&mut [(); 4], |_, ()| {
        all.wait();
    });
}

#[test]
fn a_panic_is_passed_on_and_the_pool_stays_usable() {
    for threads in 1..=4 {
        let pool = ThreadPool::new(threads);
        for run in 0..if cfg!(miri) { 3 } else { 200 } {
            let mut items = [0; 16];
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.for_each(&mut items, |index, item| {
                    *item += 1;
                    assert!(index != run % 16, "item {index}");
                });
            }));
            let message = outcome.expect_err("one item panics");
            assert_eq!(*message.downcast::<String>().unwrap(), format!("item {}", run % 16));
            assert!(items.iter().all(|item| *item <= 1));
            check(&pool, 16);
        }
    }
}

#[test]
fn every_thread_may_panic_at_once() {
    let pool = ThreadPool::new(4);
    let all = Barrier::new(4);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        pool.for_each(&mut [(); 4], |_, ()| {
            all.wait();
            panic!("on purpose");
        });
    }));
    assert!(outcome.is_err());
    check(&pool, 16);
}

#[test]
fn a_run_inside_a_run_is_done_by_its_caller() {
    let pool = ThreadPool::new(3);
    let mut rows = vec![vec![0u32; 5]; 7];
    pool.for_each(&mut rows, |row, items| {
        pool.for_each(items, |column, item| *item = (row * 5 + column) as u32);
    });
    let expected: Vec<u32> = (0..35).collect();
    assert_eq!(rows.concat(), expected);
}

#[test]
fn callers_on_several_threads() {
    let pool = ThreadPool::new(3);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..RUNS / 20).for_each(|run| check(&pool, run % 9)));
        }
    });
}

#[test]
fn results_are_visible_to_the_caller_without_further_care() {
    let pool = ThreadPool::new(2);
    let mut items: Vec<Vec<usize>> = vec![Vec::new(); 6];
    for run in 0..RUNS / 10 {
        pool.for_each(&mut items, |index, item| item.push(index + run));
        assert!(items.iter().enumerate().all(|(index, item)| item.last() == Some(&(index + run))));
    }
}

#[test]
fn a_pool_that_never_ran_ends() {
    for _ in 0..if cfg!(miri) { 2 } else { 100 } {
        drop(ThreadPool::new(4));
    }
}

#[test]
#[should_panic(expected = "2 scratch elements for 3 threads")]
fn too_little_scratch_is_refused() {
    ThreadPool::new(3).for_each_with(&mut [(); 2], &mut [(); 4], |(), _, ()| {});
}

#[test]
#[should_panic(expected = "at least the thread that calls it")]
fn no_thread_is_refused() {
    ThreadPool::new(0);
}
