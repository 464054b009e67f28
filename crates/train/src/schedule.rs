//! How the learning rate goes over a run, as a factor on its peak.
//!
//! Sources: Loshchilov and Hutter, arXiv:1608.03983 (cosine); Hu et al., arXiv:2404.06395 and
//! Hägele et al., arXiv:2405.18392 (warm-up, constant, decay).

use serde::{Deserialize, Serialize};

/// What follows the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Course {
    /// The peak, and over the last steps straight down.
    Constant,
    /// Half a cosine from the peak down.
    Cosine,
}

/// The learning rate of each step, as a factor on its peak.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LrSchedule {
    /// What follows the warm-up.
    pub course: Course,
    /// Steps of the run.
    pub steps: u64,
    /// Steps of the straight way up.
    pub warm_up: u64,
    /// Steps of the way down, for `Course::Constant`.
    pub decay: u64,
    /// The factor at the end.
    pub floor: f64,
}

impl LrSchedule {
    /// The factor of a step, counted from 0. Never 0 within the run; the floor beyond it.
    pub fn factor(&self, step: u64) -> f64 {
        let Self { course, steps, warm_up, decay, floor } = *self;
        let rising = if step < warm_up { (step + 1) as f64 / (warm_up + 1) as f64 } else { 1.0 };
        if step >= steps {
            return floor;
        }
        let left = steps - step;
        let falling = match course {
            Course::Constant if left > decay => 1.0,
            // The last step still learns: one part of `decay + 1` above the floor.
            Course::Constant => floor + (1.0 - floor) * left as f64 / (decay + 1) as f64,
            Course::Cosine if step < warm_up => 1.0,
            Course::Cosine => {
                let done = (step - warm_up) as f64 / (steps - warm_up).max(1) as f64;
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        };
        rising.min(falling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(course: Course) -> LrSchedule {
        LrSchedule { course, steps: 100, warm_up: 9, decay: 19, floor: 0.0 }
    }

    #[test]
    fn it_rises_straight_stays_and_falls_straight() {
        let constant = schedule(Course::Constant);
        assert!((constant.factor(0) - 0.1).abs() < 1e-12);
        assert!((constant.factor(4) - 0.5).abs() < 1e-12);
        assert_eq!(constant.factor(9), 1.0);
        assert_eq!(constant.factor(80), 1.0);
        assert!((constant.factor(90) - 0.5).abs() < 1e-12);
        assert!((constant.factor(99) - 0.05).abs() < 1e-12);
        assert_eq!(constant.factor(100), 0.0);
    }

    #[test]
    fn a_cosine_is_at_its_middle_half_way() {
        let cosine = LrSchedule { warm_up: 0, floor: 0.1, ..schedule(Course::Cosine) };
        assert_eq!(cosine.factor(0), 1.0);
        assert!((cosine.factor(50) - 0.55).abs() < 1e-12);
        assert!(cosine.factor(99) > 0.1 && cosine.factor(99) < 0.102);
    }

    #[test]
    fn odd_numbers_of_steps_are_no_trouble() {
        for course in [Course::Constant, Course::Cosine] {
            for steps in 0..5 {
                for warm_up in 0..7 {
                    for decay in 0..7 {
                        let it = LrSchedule { course, steps, warm_up, decay, floor: 0.0 };
                        for step in 0..8 {
                            let factor = it.factor(step);
                            assert!((0.0..=1.0).contains(&factor), "{it:?} {step}: {factor}");
                            assert!(step >= steps || factor > 0.0, "{it:?} {step}");
                        }
                    }
                }
            }
        }
    }
}
