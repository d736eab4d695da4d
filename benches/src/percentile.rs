//! Percentiles of measured times.

use std::time::Duration;

/// The time that `percent` of the sorted `times` do not exceed; zero when there are none.
#[must_use]
pub fn of_sorted(times: &[Duration], percent: f64) -> Duration {
    let last = times.len().saturating_sub(1);
    let at = (last as f64 * percent / 100.0).round() as usize;
    times.get(at).copied().unwrap_or_default()
}

/// "p50 1.2 ms, p99 3.4 ms, max 5.6 ms" of `times`, which it sorts.
pub fn line(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let ms = |percent| of_sorted(times, percent).as_secs_f64() * 1e3;
    format!("p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms", ms(50.0), ms(99.0), ms(100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_time_at_its_rank() {
        let times: Vec<Duration> = (1..=101).map(Duration::from_millis).collect();
        for (percent, wanted) in [(0.0, 1), (50.0, 51), (99.0, 100), (100.0, 101)] {
            assert_eq!(of_sorted(&times, percent), Duration::from_millis(wanted));
        }
        assert_eq!(of_sorted(&[], 50.0), Duration::ZERO);
    }
}
