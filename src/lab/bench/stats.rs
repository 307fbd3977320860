//! Statistics of repeated measurements: few samples, no assumption about how they are spread, because a machine that does
//! other things too spreads them to one side.

/// Two-sided probability that an interval misses the median.
const MISS: f64 = 0.05;

/// The samples from the least to the greatest.
#[must_use]
pub fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The middle sample, or the mean of the two in the middle.
#[must_use]
pub fn median(samples: &[f64]) -> Option<f64> {
    let sorted = sorted(samples);
    let above = *sorted.get(sorted.len() / 2)?;
    let below = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(below, above))
}

/// The smallest sample that at least `share` (0 to 1) of all samples do not exceed: the nearest rank.
#[must_use]
pub fn percentile(samples: &[f64], share: f64) -> Option<f64> {
    let sorted = sorted(samples);
    #[allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a rank among samples in memory")]
    let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// An interval that holds the median of what the samples were drawn from in at least 95 of 100 cases, whatever its
/// distribution: from the `k`-th sample to the `k`-th from the end. `None` below six samples, where there is none.
#[must_use]
pub fn interval_of_median(samples: &[f64]) -> Option<[f64; 2]> {
    let sorted = sorted(samples);
    let rank = rank_of_interval(sorted.len())?;
    Some([*sorted.get(rank - 1)?, *sorted.get(sorted.len() - rank)?])
}

/// How much each of `with` takes more than its partner in `without`, taken in turn.
#[must_use]
pub fn differences(with: &[f64], without: &[f64]) -> Vec<f64> {
    with.iter().zip(without).map(|(with, without)| with - without).collect()
}

/// The greatest `k` for which a median lies outside the `k`-th samples of both ends at most with [`MISS`]: the number of
/// samples below the median is a binomial variable of probability one half.
fn rank_of_interval(count: usize) -> Option<usize> {
    #[allow(clippy::cast_precision_loss, reason = "sample counts are small")]
    let n = count as f64;
    let mut log_choose = 0.0;
    let mut below = 0.0;
    let mut rank = 0;
    for k in 0..count / 2 {
        #[allow(clippy::cast_precision_loss, reason = "sample counts are small")]
        let at = k as f64;
        below += (log_choose - n * std::f64::consts::LN_2).exp();
        if 2.0 * below > MISS {
            break;
        }
        rank = k + 1;
        log_choose += ((n - at) / (at + 1.0)).ln();
    }
    (rank > 0).then_some(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 5.0, 7.0]), Some(6.0));
    }

    #[test]
    fn a_percentile_is_a_sample_that_was_taken() {
        let samples: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        for (share, value) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            assert_eq!(percentile(&samples, share), Some(value), "{share}");
        }
        assert_eq!(percentile(&[4.0, 2.0], 0.999), Some(4.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn ranks_are_those_of_the_printed_tables() {
        // Ranks of the 95 % interval for a median, as in any table of the sign test.
        for (count, rank) in
            [(5, None), (6, Some(1)), (9, Some(2)), (10, Some(2)), (20, Some(6)), (25, Some(8)), (100, Some(40))]
        {
            assert_eq!(rank_of_interval(count), rank, "{count} samples");
        }
        assert!(rank_of_interval(5000).is_some_and(|rank| (2420..2440).contains(&rank)));
    }

    #[test]
    fn the_interval_holds_the_median_in_nineteen_of_twenty_draws() {
        // A skewed distribution whose median is ln 2: the exponential one, from a fixed sequence of numbers.
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from((state >> 33) as u32 + 1) / f64::from(1_u32 << 31)
        };
        let holds = (0..2000).filter(|_| {
            let samples: Vec<f64> = (0..15).map(|_| -uniform().min(1.0).ln()).collect();
            let [low, high] = interval_of_median(&samples).unwrap();
            (low..=high).contains(&std::f64::consts::LN_2)
        });
        let share = f64::from(holds.count() as u32) / 2000.0;
        assert!((0.94..0.99).contains(&share), "{share}");
    }

    #[test]
    fn differences_are_taken_pair_by_pair() {
        assert_eq!(differences(&[3.0, 5.0], &[1.0, 7.0]), [2.0, -2.0]);
    }
}
