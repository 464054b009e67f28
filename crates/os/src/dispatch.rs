//! The dispatcher: which process's turn it is. Least attained service per program, with fair shares
//! between principals, deadlines, and priorities that age.
//!
//! Method: least-attained-service scheduling (Nuyens and Wierman, Performance Evaluation 65(3),
//! 2008): who got least goes first, so that short programs are done soon although nobody knows
//! beforehand which are short. Departures: (1) what counts is what the whole program got, so that
//! nobody gains by splitting; (2) service is counted in levels that double, and within a level who
//! waits longest goes first, so that long programs do not change places after each token; (3) the
//! principals take turns by what all their programs got; (4) who has waited long goes up a level.
//!
//! Pure, and without a clock of its own: service is its time, so that a decision depends on the log
//! alone.

use std::collections::BTreeMap;

use lucid_policy::Party;

use crate::ids::Pid;

/// Tokens of the lowest level of service.
const LEVEL_TOKENS: u64 = 64;
/// Service to others, in tokens, by which one that waits goes up a level.
const AGE_TOKENS: u64 = 4096;
/// Levels that are as much as a step of priority: so long the more important go first.
const AGES_OF_PRIORITY: u64 = 8;
/// Whose deadline is nearer than this goes before all others, the nearest first.
const DEADLINE_MS: i64 = 10_000;
/// Tokens by which the shares of principals may differ before places are changed for that.
const SHARE_TOKENS: u64 = 1024;

/// Somebody who waits for a turn, or has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Which process.
    pub pid: Pid,
    /// Which program it belongs to.
    pub program: Pid,
    /// On whose behalf.
    pub principal: Party,
    /// Larger goes first.
    pub priority: i32,
    /// When it has to be done.
    pub deadline_ms: Option<i64>,
}

/// What everybody got, and since when they wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dispatcher {
    /// Tokens that each program got.
    programs: BTreeMap<Pid, u64>,
    /// Tokens that each principal got.
    principals: BTreeMap<Party, u64>,
    /// Tokens that all together got when a process began to wait, and tokens that it got since: it
    /// keeps its age until it got something for it.
    waiting: BTreeMap<Pid, (u64, u64)>,
    total: u64,
}

/// The order of contenders: less goes first.
type Rank = (bool, i64, i64, u64, i64, u64, Pid);

impl Dispatcher {
    /// Takes note of service.
    pub fn served(&mut self, contender: &Contender, tokens: u64) {
        *self.programs.entry(contender.program).or_default() += tokens;
        // A principal that comes new has not saved up what others got before it came.
        let least = self.principals.values().copied().min().unwrap_or_default();
        *self.principals.entry(contender.principal.clone()).or_insert(least) += tokens;
        self.total += tokens;
        if let Some((_, got)) = self.waiting.get_mut(&contender.pid) {
            *got += tokens;
            if *got >= LEVEL_TOKENS {
                self.waiting.remove(&contender.pid);
            }
        }
    }

    /// Takes note of who waits, and who is being served; the others do neither.
    pub fn waits(&mut self, pids: impl IntoIterator<Item = Pid>, served: &[Pid]) {
        let before = std::mem::take(&mut self.waiting);
        let since = |pid: Pid| (pid, before.get(&pid).copied().unwrap_or((self.total, 0)));
        self.waiting = pids.into_iter().map(since).collect();
        let aged = served.iter().filter_map(|pid| Some((*pid, *before.get(pid)?)));
        self.waiting.extend(aged);
    }

    /// Lets go of a program that has ended.
    pub fn ended(&mut self, program: Pid) {
        self.programs.remove(&program);
    }

    /// Who goes first.
    pub fn first<'a>(
        &self,
        contenders: impl IntoIterator<Item = &'a Contender>,
        now_ms: i64,
    ) -> Option<&'a Contender> {
        contenders.into_iter().min_by_key(|contender| self.rank(contender, now_ms))
    }

    /// Who goes last.
    pub fn last<'a>(
        &self,
        contenders: impl IntoIterator<Item = &'a Contender>,
        now_ms: i64,
    ) -> Option<&'a Contender> {
        contenders.into_iter().max_by_key(|contender| self.rank(contender, now_ms))
    }

    /// Whether one that waits should have the place of one that runs.
    pub fn outranks(&self, waiting: &Contender, running: &Contender, now_ms: i64) -> bool {
        // Without what only orders those that are as good as each other: places are not changed
        // for that.
        let key = |contender: &Contender| {
            let (late, urgency, priority, share, level, ..) = self.rank(contender, now_ms);
            (late, urgency, priority, share, level)
        };
        key(waiting) < key(running)
    }

    fn rank(&self, contender: &Contender, now_ms: i64) -> Rank {
        let got = self.programs.get(&contender.program).copied().unwrap_or_default();
        let level = i64::from((got / LEVEL_TOKENS + 1).ilog2());
        let since = self.waiting.get(&contender.pid).map_or(self.total, |(since, _)| *since);
        let ages = (self.total - since) / AGE_TOKENS;
        let (aged, ripened) = (ages as i64, (ages / AGES_OF_PRIORITY) as i64);
        let share = self.principals.get(&contender.principal).copied().unwrap_or_default();
        let urgent = contender.deadline_ms.filter(|at| at - now_ms < DEADLINE_MS);
        (
            urgent.is_none(),
            urgent.unwrap_or_default(),
            -i64::from(contender.priority) - ripened,
            share / SHARE_TOKENS,
            level - aged,
            since,
            contender.pid,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(pid: u64, principal: &str) -> Contender {
        Contender {
            pid: Pid(pid),
            program: Pid(pid),
            principal: Party::new(principal),
            priority: 0,
            deadline_ms: None,
        }
    }

    /// Numbers that look random, the same each time.
    fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed;
        move |bound| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % bound
        }
    }

    /// 58 short programs and 6 long ones, in random order: their tokens.
    fn programs(seed: u64) -> Vec<u64> {
        let mut dice = dice(seed);
        let mut lengths: Vec<u64> = (0..58).map(|_| 20 + dice(181)).collect();
        lengths.extend((0..6).map(|_| 2000 + dice(6001)));
        for at in (1..lengths.len()).rev() {
            lengths.swap(at, dice(at as u64 + 1) as usize);
        }
        lengths
    }

    /// One slot, a token at a time: when each program was done, and the longest that one waited.
    fn dispatched(lengths: &[u64]) -> (Vec<u64>, u64) {
        let all: Vec<_> = (0..lengths.len()).map(|at| contender(at as u64, "ann")).collect();
        let mut left = lengths.to_vec();
        let mut done = vec![0; lengths.len()];
        let mut last = vec![0; lengths.len()];
        let mut dispatcher = Dispatcher::default();
        let mut running: Option<usize> = None;
        let (mut now, mut worst) = (0u64, 0);
        while left.iter().any(|&left| left > 0) {
            let waiting = |at: &usize| left[*at] > 0 && Some(*at) != running;
            let waiting: Vec<usize> = (0..all.len()).filter(waiting).collect();
            let served: Vec<Pid> = running.into_iter().map(|at| all[at].pid).collect();
            dispatcher.waits(waiting.iter().map(|&at| all[at].pid), &served);
            let first = dispatcher.first(waiting.iter().map(|&at| &all[at]), 0);
            let next = match (running.filter(|&at| left[at] > 0), first) {
                (None, first) => first.unwrap().pid.0 as usize,
                (Some(at), Some(first)) if dispatcher.outranks(first, &all[at], 0) => {
                    first.pid.0 as usize
                }
                (Some(at), _) => at,
            };
            if running != Some(next) {
                worst = worst.max(now - last[next]);
            }
            dispatcher.served(&all[next], 1);
            now += 1;
            left[next] -= 1;
            last[next] = now;
            done[next] = now;
            running = Some(next);
        }
        (done, worst)
    }

    fn mean(done: &[u64]) -> f64 {
        done.iter().sum::<u64>() as f64 / done.len() as f64
    }

    fn first_in_first_out(lengths: &[u64]) -> Vec<u64> {
        lengths
            .iter()
            .scan(0, |now, length| {
                *now += length;
                Some(*now)
            })
            .collect()
    }

    fn round_robin(lengths: &[u64]) -> Vec<u64> {
        let (mut left, mut done, mut now) = (lengths.to_vec(), vec![0; lengths.len()], 0);
        while left.iter().any(|&left| left > 0) {
            for at in 0..left.len() {
                if left[at] > 0 {
                    left[at] -= 1;
                    now += 1;
                    done[at] = now;
                }
            }
        }
        done
    }

    #[test]
    fn short_programs_do_not_wait_for_long_ones_and_none_starves() {
        let (mut all, mut all_fifo, mut longest) = (0.0, 0.0, 0);
        for seed in 0..40 {
            let lengths = programs(seed);
            let (done, worst) = dispatched(&lengths);
            let (own, turns) = (mean(&done), mean(&round_robin(&lengths)));
            assert!(own <= turns, "{own:.0} against {turns:.0} of round robin");
            // Who waits so long that all others got this much goes first.
            assert!(worst <= 24_000, "one waited for {worst} tokens");
            (all, all_fifo) = (all + own, all_fifo + mean(&first_in_first_out(&lengths)));
            longest = longest.max(worst);
        }
        // By luck a single order may have the long ones last.
        let ratio = all / all_fifo;
        assert!(ratio <= 0.5, "{ratio:.2} of first in, first out; the longest wait {longest}");
    }

    #[test]
    fn principals_get_the_same_however_many_programs_they_have() {
        let mut all = vec![contender(0, "bob")];
        all.extend((1..10).map(|pid| contender(pid, "ann")));
        let mut dispatcher = Dispatcher::default();
        let mut got = [0u64; 10];
        for _ in 0..2000 {
            dispatcher.waits(all.iter().map(|it| it.pid), &[]);
            let first = dispatcher.first(&all, 0).unwrap();
            dispatcher.served(first, 10);
            got[first.pid.0 as usize] += 10;
        }
        let others: u64 = got[1..].iter().sum();
        assert!(got[0].abs_diff(others) <= 2 * SHARE_TOKENS, "{got:?}");
        let (most, least) = (got[1..].iter().max(), got[1..].iter().min());
        assert!(most.unwrap() - least.unwrap() <= 2 * others / 9, "{got:?}");
    }

    #[test]
    fn deadlines_and_priorities_go_first() {
        let (plain, mut urgent, mut important) =
            (contender(1, "ann"), contender(2, "ann"), contender(3, "ann"));
        urgent.deadline_ms = Some(5_000);
        important.priority = 1;
        let mut dispatcher = Dispatcher::default();
        dispatcher.served(&important, 1000);
        let all = [plain, urgent, important];
        let first = |dispatcher: &Dispatcher, of: &[Contender], now_ms| {
            dispatcher.first(of, now_ms).map(|it| it.pid.0)
        };
        assert_eq!(first(&dispatcher, &all, 0), Some(2));
        assert_eq!(first(&dispatcher, &all, -60_000), Some(3), "its deadline is far");
        assert_eq!(first(&dispatcher, &all[..1], 0), Some(1));
        // One that waits long ripens.
        dispatcher.waits([Pid(1)], &[]);
        dispatcher.served(&all[2], AGE_TOKENS * AGES_OF_PRIORITY * 2);
        assert_eq!(first(&dispatcher, &[all[0].clone(), all[2].clone()], 0), Some(1));
    }
}
