//! The names of a batch's files: a pure function of delivery, batch and partition, so that a batch that is done again
//! overwrites its files and never adds to them.

use crate::time::Timestamp;

/// Milliseconds of an hour.
pub(crate) const HOUR_MILLIS: i64 = 3_600_000;

/// Whose files they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNames {
    /// The delivery's name.
    pub delivery: String,
    /// The batch's number within the delivery.
    pub batch: u64,
}

impl FileNames {
    /// The name of one part of the batch in one partition, such as `flights-000000000042-000.parquet`.
    #[must_use]
    pub fn part(&self, part: u32, extension: &str) -> String {
        format!("{}-{:012}-{part:03}.{extension}", self.delivery, self.batch)
    }

    /// The name of a file that has no parts, such as `flights-000000000042.jsonl`.
    #[must_use]
    pub fn whole(&self, extension: &str) -> String {
        format!("{}-{:012}.{extension}", self.delivery, self.batch)
    }
}

/// The Hive folder of an hour that is told in hours since the Unix epoch: `year=2013/month=01/date=01/hour=10`.
pub(crate) fn hour_folder(hour: i64) -> String {
    match chrono::DateTime::from_timestamp_millis(hour.saturating_mul(HOUR_MILLIS)) {
        Some(time) => time.format("year=%Y/month=%m/date=%d/hour=%H").to_string(),
        // Times are checked when they are read; no calendar has this one.
        None => format!("hour={hour}"),
    }
}

/// The hour of a time, in hours since the Unix epoch, as Iceberg's `hour` transform has it.
pub(crate) fn hour_of(time: Timestamp) -> i64 {
    time.0.div_euclid(HOUR_MILLIS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_batch_and_tell_the_hour() {
        let names = FileNames { delivery: "flights".into(), batch: 42 };
        assert_eq!(names.part(0, "parquet"), "flights-000000000042-000.parquet");
        assert_eq!(names.whole("jsonl"), "flights-000000000042.jsonl");
        assert_eq!(hour_folder(hour_of(Timestamp(1_357_034_400_000))), "year=2013/month=01/date=01/hour=10");
    }

    #[test]
    fn hours_before_the_epoch_round_down() {
        assert_eq!(hour_of(Timestamp(-1)), -1);
        assert_eq!(hour_folder(-1), "year=1969/month=12/date=31/hour=23");
    }
}
