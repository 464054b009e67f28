//! How far a source of proposals can be relied on in one answer, and whether it gains time.
//!
//! Of `n` proposed tokens each comes true with the probability `rate` if all before it did, so that
//! `rate + rate^2 + .. + rate^n` tokens are gained (Leviathan et al., arXiv:2211.17192, section
//! 3.1). A further one pays as long as its chance is above what its row costs, told as a share of
//! what a token costs without it. Where not even one pays the source is silent, and is tried again
//! after a pause that doubles.

/// What a source is taken to have shown before it was tried.
const PRIOR: (f64, f64) = (1.4, 2.0);

/// What is left of earlier experience after another proposal.
const KEEP: f64 = 0.9;

/// Tokens of a proposal that only serves to try again.
const TRIAL: usize = 2;

/// The shortest and the longest pause, in chances to propose.
const PAUSE: (u32, u32) = (16, 256);

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Confidence {
    /// Tokens that came true, and those and the first ones that did not; both fade.
    hits: f64,
    trials: f64,
    /// Chances that go by before it is tried again, and how many the next time.
    wait: u32,
    pause: u32,
}

impl Default for Confidence {
    fn default() -> Self {
        Self { hits: 0.0, trials: 0.0, wait: PAUSE.0, pause: PAUSE.0 }
    }
}

impl Confidence {
    /// The chance of a token whose predecessors came true.
    fn rate(&self) -> f64 {
        (self.hits + PRIOR.0) / (self.trials + PRIOR.1)
    }

    /// How many tokens are worth proposing where each costs `share`, and how much is gained.
    pub(super) fn length(&mut self, share: f64, most: usize) -> (usize, f64) {
        let rate = self.rate();
        let (mut length, mut gain, mut chance) = (0, 0.0, rate);
        while length < most && chance > share {
            gain += chance - share;
            chance *= rate;
            length += 1;
        }
        if length > 0 {
            (self.wait, self.pause) = (PAUSE.0, PAUSE.0);
        }
        (length, gain)
    }

    /// A chance to propose that does not pay: how many tokens are proposed all the same.
    pub(super) fn trial(&mut self) -> usize {
        if self.wait > 0 {
            self.wait -= 1;
            return 0;
        }
        self.pause = (self.pause * 2).min(PAUSE.1);
        self.wait = self.pause;
        TRIAL
    }

    /// Learns what became of a proposal.
    pub(super) fn learn(&mut self, proposed: usize, accepted: usize) {
        let failed = usize::from(accepted < proposed);
        self.hits = self.hits * KEEP + accepted as f64;
        self.trials = self.trials * KEEP + (accepted + failed) as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_true_is_proposed_further() {
        let mut confidence = Confidence::default();
        let (first, _) = confidence.length(0.2, 16);
        (0..20).for_each(|_| confidence.learn(8, 8));
        let (later, gain) = confidence.length(0.2, 16);
        assert!(first >= 2 && later == 16, "{first}, then {later}");
        assert!((10.0..16.0).contains(&gain), "{gain}");
        // Rows as dear as tokens gain nothing, however right.
        assert_eq!(confidence.length(1.0, 16), (0, 0.0));
        assert_eq!(confidence.length(0.2, 3).0, 3);
    }

    #[test]
    fn what_does_not_is_silent_and_tried_again_ever_more_seldom() {
        let mut confidence = Confidence::default();
        (0..20).for_each(|_| confidence.learn(2, 0));
        assert_eq!(confidence.length(0.2, 16).0, 0);
        let mut silent = Vec::new();
        for _ in 0..7 {
            let mut chances = 0;
            while confidence.trial() == 0 {
                chances += 1;
            }
            confidence.learn(2, 0);
            silent.push(chances);
        }
        assert_eq!(silent, [16, 32, 64, 128, 256, 256, 256]);
        // Right again.
        (0..20).for_each(|_| confidence.learn(2, 2));
        assert!(confidence.length(0.2, 16).0 > 2);
        assert_eq!(confidence.wait, PAUSE.0);
    }
}
