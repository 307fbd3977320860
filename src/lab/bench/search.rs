//! The highest rate that a device carries with at most so much loss (RFC 2544 §26.1): up by doubling, then by halving what is
//! between a rate that passed and one that did not.
//!
//! A generator that cannot make a rate is told apart from a device that loses it.

/// One trial at one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// The rate that was asked for, a second.
    pub asked: f64,
    /// The rate that the generator made, a second.
    pub made: f64,
    /// How many were sent.
    pub sent: u64,
    /// How many of them did not arrive.
    pub lost: u64,
}

impl Trial {
    /// Lost of sent, from 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a share")]
        let share = self.lost as f64 / self.sent.max(1) as f64;
        share
    }

    fn generator_kept_up(&self) -> bool {
        self.made >= 0.97 * self.asked
    }
}

/// What is looked for, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The first rate that is tried.
    pub start: f64,
    /// Below this nothing is looked for.
    pub floor: f64,
    /// Above this nothing is looked for: what the wire, or the operator, allows.
    pub ceiling: f64,
    /// The loss that passes, from 0 to 1.
    pub loss: f64,
    /// When the rate that passed and the one that did not are so close, relative to the second, it is found.
    pub resolution: f64,
    /// Trials at most.
    pub most: usize,
    /// Whether a rate that fails is tried once more before it counts: a machine that does other things too loses a packet
    /// now and then at any rate. RFC 2544 knows no second chance.
    pub second_chance: bool,
}

/// What the found rate is limited by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// The device loses more above it.
    Device,
    /// The generator makes no more.
    Generator,
    /// Nothing higher was asked for.
    Ceiling,
    /// The number of trials was used up before the resolution was reached.
    Trials,
}

impl LimitedBy {
    /// Its name in `--json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Generator => "generator",
            Self::Ceiling => "ceiling",
            Self::Trials => "trials",
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The highest rate that passed; zero if none did.
    pub rate: f64,
    /// What it is limited by.
    pub limited_by: LimitedBy,
    /// Every trial, in order.
    pub trials: Vec<Trial>,
}

/// Looks for it. `run` makes one trial at one rate.
pub fn highest<E>(search: &Search, mut run: impl FnMut(f64) -> Result<Trial, E>) -> Result<Found, E> {
    let mut trials = Vec::new();
    let (mut passed, mut failed): (f64, Option<f64>) = (0.0, None);
    let mut rate = search.start.clamp(search.floor, search.ceiling);
    let mut limited_by = LimitedBy::Trials;
    let mut again = search.second_chance;
    while trials.len() < search.most {
        let trial = run(rate)?;
        trials.push(trial);
        let passes = trial.loss() <= search.loss;
        if !passes && again {
            again = false;
            continue;
        }
        again = search.second_chance;
        let kept_up = trial.generator_kept_up();
        // What counts is the rate that was made.
        let made = if kept_up { rate } else { trial.made };
        if passes {
            passed = passed.max(made);
            if !kept_up {
                limited_by = LimitedBy::Generator;
                break;
            }
            if rate >= search.ceiling {
                limited_by = LimitedBy::Ceiling;
                break;
            }
        } else {
            failed = Some(failed.map_or(made, |failed| failed.min(made)));
        }
        rate = match failed {
            None => (2.0 * rate).min(search.ceiling),
            Some(failed) if passed == 0.0 => {
                if failed <= search.floor {
                    limited_by = LimitedBy::Device;
                    break;
                }
                (failed / 2.0).max(search.floor)
            }
            Some(failed) if failed - passed <= search.resolution * failed => {
                limited_by = LimitedBy::Device;
                break;
            }
            Some(failed) => f64::midpoint(passed, failed),
        };
    }
    Ok(Found { rate: passed, limited_by, trials })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    const SEARCH: Search = Search {
        start: 10_000.0,
        floor: 100.0,
        ceiling: 1e7,
        loss: 0.001,
        resolution: 0.01,
        most: 40,
        second_chance: false,
    };

    /// A device that carries `knee` a second and loses the rest, behind a generator that makes at most `most`.
    fn device(knee: f64, most: f64) -> impl FnMut(f64) -> Result<Trial, Infallible> {
        move |asked| {
            let made = asked.min(most);
            let whole = |rate: f64| u64::try_from(rate.round() as i64).unwrap_or(0);
            let sent = whole(made);
            Ok(Trial { asked, made, sent, lost: sent.saturating_sub(whole(knee)) })
        }
    }

    #[test]
    fn the_knee_is_found_from_below_and_from_above() {
        for knee in [250.0, 9000.0, 10_000.0, 123_456.0, 5e6] {
            let found = highest(&SEARCH, device(knee, f64::INFINITY)).unwrap();
            assert_eq!(found.limited_by, LimitedBy::Device);
            assert!((0.985 * knee..=1.002 * knee).contains(&found.rate), "{knee}: {found:?}");
            assert!(found.trials.len() <= 20, "{knee}: {}", found.trials.len());
        }
    }

    #[test]
    fn a_generator_that_cannot_is_no_loss() {
        let found = highest(&SEARCH, device(1e6, 50_000.0)).unwrap();
        assert_eq!((found.limited_by, found.rate), (LimitedBy::Generator, 50_000.0));
        // A generator at its end that shows loss all the same: the device is slower still.
        let found = highest(&SEARCH, device(30_000.0, 50_000.0)).unwrap();
        assert_eq!(found.limited_by, LimitedBy::Device);
        assert!((29_000.0..=30_100.0).contains(&found.rate), "{found:?}");
    }

    #[test]
    fn nothing_is_asked_for_above_the_ceiling() {
        let found = highest(&Search { ceiling: 20_000.0, ..SEARCH }, device(1e6, f64::INFINITY)).unwrap();
        assert_eq!((found.limited_by, found.rate), (LimitedBy::Ceiling, 20_000.0));
        assert!(found.trials.iter().all(|trial| trial.asked <= 20_000.0));
    }

    #[test]
    fn a_device_that_carries_nothing_has_the_rate_zero() {
        let found = highest(&SEARCH, device(0.0, f64::INFINITY)).unwrap();
        assert_eq!((found.limited_by, found.rate), (LimitedBy::Device, 0.0));
    }

    #[test]
    fn the_number_of_trials_is_bounded() {
        let found = highest(&Search { most: 3, ..SEARCH }, device(123_456.0, f64::INFINITY)).unwrap();
        assert_eq!((found.limited_by, found.trials.len()), (LimitedBy::Trials, 3));
    }

    #[test]
    fn one_bad_moment_costs_a_second_trial_and_not_the_answer() {
        let disturbed = |second_chance| {
            let (mut good, mut count) = (device(100_000.0, f64::INFINITY), 0);
            let run = |rate| {
                count += 1;
                let trial = good(rate)?;
                Ok::<_, Infallible>(if count == 2 { Trial { lost: trial.sent / 2, ..trial } } else { trial })
            };
            highest(&Search { second_chance, ..SEARCH }, run).unwrap().rate
        };
        assert!(disturbed(false) < 21_000.0);
        assert!(disturbed(true) > 98_000.0);
    }

    proptest! {
        #[test]
        fn whatever_the_knee_the_answer_passes_and_a_little_more_does_not(knee in 200.0..5e6_f64) {
            let found = highest(&SEARCH, device(knee, f64::INFINITY)).unwrap();
            let mut device = device(knee, f64::INFINITY);
            prop_assert!(device(found.rate).unwrap().loss() <= SEARCH.loss);
            prop_assert!(device(found.rate * 1.03).unwrap().loss() > SEARCH.loss);
        }
    }
}
