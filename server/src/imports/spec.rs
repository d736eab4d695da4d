//! What an `[[import]]` declares, and the limits of each field.

use std::time::Duration;

use millrace_storage::lake::import::{CsvOptions, CsvValues, ImportCompression, ImportFormat, Pattern};
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use crate::delivery::Size;
use crate::delivery::declaration::Declaration;
use crate::error::Result;

/// The most bytes of a source's URL.
const SOURCE_BYTES_MAX: usize = 1024;
/// The times between two looks for new objects.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(100);
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);
/// The longest time that an object may have to rest.
const MIN_AGE_MAX: Duration = Duration::from_secs(3600);
/// Files on a disk grow while they are written; objects of S3 are there as a whole or not at all.
const MIN_AGE_ON_DISK: Duration = Duration::from_secs(2);
const RETRIES_MAX: u32 = 1000;
const COLUMNS_MAX: usize = 1000;

/// An `[[import]]`: files of a folder of an object store, put into a stream, each once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportSpec {
    /// The import's name.
    pub name: String,
    /// The stream that it puts into.
    pub stream: String,
    /// The folder, as `file:///absolute/folder` or `s3://bucket/prefix`; it must lie below one of the setting `import.sources`,
    /// or where a store is named below that store's URL.
    pub source: String,
    /// The store that the folder is in: a `[stores.NAME]` of the server's settings, which have its credentials. Left out, it is
    /// reached as the tables' store is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Which of its objects, by their names below the folder: `?`, `*` within a folder, `**` over folders, `[…]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What the objects hold.
    #[serde(default)]
    pub format: ImportFormat,
    /// How they are compressed; by their names where it is left out.
    #[serde(default)]
    pub compression: ImportCompression,
    /// For the format `csv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvSpec>,
    /// The top-level field that is the partition key; without it, and in rows without the field, the key follows from the
    /// row's place, and spreads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// When it runs, as a cron expression of five fields, or of six with seconds before them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The zone that the schedule is told in, such as `Europe/Berlin`. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Whether it runs when objects arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_arrival: Option<ArrivalSpec>,
    /// How long an object must have rested before it is read. Default: 2 s on a disk, else nothing.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub min_age: Option<Duration>,
    /// What becomes of a row that cannot be a record.
    #[serde(default)]
    pub on_bad_row: OnBadRow,
    /// The most records that it puts each second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_per_second_max: Option<u64>,
    /// The most bytes that it puts each second: data plus partition keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_max: Option<Size>,
    /// How often a read that the store fails is tried again within a run; the next run tries again. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Whether it begins paused; afterwards `import pause` and `resume` say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// How CSV is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvSpec {
    /// One ASCII character.
    #[serde(default = "comma")]
    pub delimiter: String,
    /// The columns' names, where the first row does not tell them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// `text` (the default): fields are strings; `infer`: those that are written as JSON's numbers and words are such.
    #[serde(default)]
    pub values: CsvValues,
}

fn comma() -> String {
    ",".to_owned()
}

impl Default for CsvSpec {
    fn default() -> Self {
        Self { delimiter: comma(), columns: Vec::new(), values: CsvValues::Text }
    }
}

/// Running when objects arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArrivalSpec {
    /// The time between two looks. 100 ms to 24 h.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
}

/// What becomes of a row that cannot be a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRow {
    /// It is written below `errors/imports/<import>` of the tables' store, with its cause; the others go on.
    #[default]
    SetAside,
    /// The object is given up, with the row and its cause; what came before it is in the stream.
    Fail,
}

impl Declaration for ImportSpec {
    const KIND: &'static str = "import";

    fn name(&self) -> &str {
        &self.name
    }
}

impl ImportSpec {
    /// How often a failing read is tried again.
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.retries.unwrap_or(5)
    }

    /// How long an object must have rested.
    #[must_use]
    pub fn min_age(&self) -> Duration {
        self.min_age.unwrap_or_default()
    }

    /// How CSV is read.
    #[must_use]
    pub fn csv_options(&self) -> CsvOptions {
        let csv = self.csv.clone().unwrap_or_default();
        let delimiter = csv.delimiter.bytes().next().unwrap_or(b',');
        CsvOptions { delimiter, columns: csv.columns, values: csv.values }
    }

    /// When it runs, where a schedule says.
    pub fn schedule(&self) -> Result<Option<Schedule>> {
        let parse = |expression: &String| Schedule::parse(expression, self.time_zone.as_deref());
        self.schedule.as_ref().map(parse).transpose().map_err(|words| self.invalid("schedule", words))
    }

    /// Which objects it takes.
    pub fn pattern(&self) -> Result<Pattern> {
        let pattern = Pattern::parse(self.pattern.as_deref()).map_err(|error| self.invalid("pattern", error))?;
        Ok(match self.format {
            // Beside the records of a backup lie its ranges, which are no records.
            ImportFormat::SourceBackup => pattern.ending(&[".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.sz"]),
            _ => pattern,
        })
    }

    /// Fills in the defaults and checks each field. The error names import, field, value and limit.
    pub fn normalised(mut self) -> Result<Self> {
        self.check_name()?;
        self.normalise_source()?;
        self.pattern()?;
        if self.csv.is_some() && self.format != ImportFormat::Csv {
            return Err(self.invalid("csv", format_args!("format {} does not take it", self.format.as_str())));
        }
        if self.format == ImportFormat::Csv {
            let csv = self.csv.get_or_insert_default().clone();
            self.check_csv(&csv)?;
        }
        let keyed = matches!(self.format, ImportFormat::JsonLines | ImportFormat::Csv | ImportFormat::Parquet);
        if self.partition_key.is_some() && !keyed {
            return Err(self.invalid("partition_key", format_args!("{} has no fields", self.format.as_str())));
        }
        if self.format == ImportFormat::Parquet
            && !matches!(self.compression, ImportCompression::Auto | ImportCompression::None)
        {
            return Err(self.invalid("compression", "parquet compresses its pages itself"));
        }
        if self.time_zone.is_some() && self.schedule.is_none() {
            return Err(self.invalid("time_zone", "it is a schedule's, and there is none"));
        }
        self.schedule()?;
        self.check_limits()?;
        Ok(self)
    }

    fn normalise_source(&mut self) -> Result<()> {
        let source = self.source.trim_end_matches('/').to_owned();
        let words = "it is no folder such as file:///data/in, s3://bucket/prefix or memory:///in";
        let path = source.split_once("://").map(|(scheme, path)| (scheme, path.strip_prefix('/')));
        let path = match path {
            Some(("file" | "memory", Some(path))) => path,
            Some(("s3", None)) => source.trim_start_matches("s3://"),
            _ => return Err(self.invalid("source", format_args!("{:?}: {words}", self.source))),
        };
        let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.chars().any(char::is_control);
        if source.len() > SOURCE_BYTES_MAX || path.split('/').any(bad) {
            return Err(self.invalid("source", format_args!("{:?}: {words}", self.source)));
        }
        if source.starts_with("file:") {
            self.min_age.get_or_insert(MIN_AGE_ON_DISK);
        }
        self.source = source;
        Ok(())
    }

    fn check_csv(&self, csv: &CsvSpec) -> Result<()> {
        let delimiter = &csv.delimiter;
        if delimiter.len() != 1 || matches!(delimiter.as_str(), "\"" | "\n" | "\r") {
            return Err(self.invalid("csv.delimiter", format_args!("{delimiter:?} is not one ASCII character")));
        }
        let count = csv.columns.len();
        let names: std::collections::BTreeSet<&String> = csv.columns.iter().collect();
        if count > COLUMNS_MAX || names.len() < count || csv.columns.iter().any(String::is_empty) {
            let words = format_args!("{count} columns, each with a name of its own, may be at most {COLUMNS_MAX}");
            return Err(self.invalid("csv.columns", words));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<()> {
        let between = |field, value: Duration, least: Duration, most: Duration| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let text = humantime::format_duration;
            Err(self.invalid(field, format_args!("{} is outside {} to {}", text(value), text(least), text(most))))
        };
        if let Some(arrival) = &self.on_arrival {
            between("on_arrival.poll_interval", arrival.poll_interval, POLL_INTERVAL_MIN, POLL_INTERVAL_MAX)?;
        }
        between("min_age", self.min_age(), Duration::ZERO, MIN_AGE_MAX)?;
        if self.records_per_second_max == Some(0) {
            return Err(self.invalid("records_per_second_max", "0 is not above 0"));
        }
        if self.bytes_per_second_max == Some(Size(0)) {
            return Err(self.invalid("bytes_per_second_max", "0 is not above 0"));
        }
        if self.retries() > RETRIES_MAX {
            return Err(self.invalid("retries", format_args!("{} is more than {RETRIES_MAX}", self.retries())));
        }
        Ok(())
    }

    /// Checks a changed spec against the one in force.
    pub(super) fn check_change(&self, next: &Self) -> Result<()> {
        if self.stream == next.stream {
            return Ok(());
        }
        let (before, after) = (&self.stream, &next.stream);
        let words = format_args!("it is {before:?} and cannot become {after:?}; declare an import with another name");
        Err(next.invalid("stream", words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Pipeline;

    fn parse(lines: &str) -> Result<ImportSpec> {
        let text = format!("[[import]]\nname = \"i\"\nstream = \"s\"\n{lines}\n");
        Pipeline::parse(&text).map(|mut pipeline| pipeline.imports.remove(0))
    }

    const SOURCE: &str = "source = \"s3://b/in/\"\n";

    #[test]
    fn a_normalised_import_comes_back_from_its_text() {
        for lines in [
            "source = \"file:///data/in/\"",
            "source = \"s3://b/x\"\nstore = \"partner\"",
            "source = \"s3://b\"\nformat = \"csv\"\n[import.csv]\ndelimiter = \";\"\nvalues = \"infer\"",
            "source = \"s3://b/x\"\nformat = \"parquet\"\nschedule = \"0 3 * * *\"\ntime_zone = \"Europe/Berlin\"\npaused = true",
            "source = \"s3://b/x\"\nformat = \"source_backup\"\non_arrival = { poll_interval = \"1s\" }\nmin_age = \"1h\"\n\
             records_per_second_max = 1\nbytes_per_second_max = \"1MiB\"\nretries = 1000\non_bad_row = \"fail\"",
        ] {
            let spec = parse(lines).unwrap();
            let text = spec.to_toml();
            let back = ImportSpec::from_toml(&text).unwrap();
            assert_eq!(back, spec);
            assert_eq!(back.normalised().unwrap().to_toml(), text);
        }
        let disk = parse("source = \"file:///data/in/\"").unwrap();
        assert_eq!((disk.source.as_str(), disk.min_age()), ("file:///data/in", Duration::from_secs(2)));
        assert_eq!(parse(SOURCE).unwrap().min_age(), Duration::ZERO);
    }

    #[test]
    fn errors_name_import_field_value_and_limit() {
        let check = |lines: &str, words: &[&str]| {
            let error = parse(lines).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{lines}\ngave: {error}\nwithout: {word}");
            }
        };
        for source in ["in", "http://b/x", "file://in", "file:///a/../b", "s3://", "s3://b//x", "file:///", "s3:///x"] {
            check(&format!("source = \"{source}\""), &["import i", "source", source]);
        }
        let check = |lines: &str, words: &[&str]| check(&format!("{SOURCE}{lines}"), words);
        check("pattern = \"a[\"", &["import i", "pattern", "a["]);
        check("format = \"orc\"", &["orc", "source_backup"]);
        check("[import.csv]\ndelimiter = \";\"", &["csv", "json_lines"]);
        check("format = \"csv\"\n[import.csv]\ndelimiter = \";;\"", &["csv.delimiter", ";;"]);
        check("format = \"csv\"\n[import.csv]\ndelimiter = \"\\\"\"", &["csv.delimiter"]);
        check("format = \"csv\"\n[import.csv]\ncolumns = [\"a\", \"a\"]", &["csv.columns", "1000"]);
        check("format = \"lines\"\npartition_key = \"a\"", &["partition_key", "lines"]);
        check("format = \"parquet\"\ncompression = \"gzip\"", &["compression", "pages"]);
        check("schedule = \"0 25 * * *\"", &["schedule", "0 25 * * *"]);
        check("schedule = \"0 3 * * *\"\ntime_zone = \"Mars\"", &["Mars"]);
        check("time_zone = \"UTC\"", &["time_zone"]);
        check("on_arrival = { poll_interval = \"99ms\" }", &["poll_interval", "99ms", "100ms"]);
        check("on_arrival = { poll_interval = \"24h 1s\" }", &["poll_interval", "1day"]);
        check("min_age = \"3601s\"", &["min_age", "1h"]);
        check("records_per_second_max = 0", &["records_per_second_max"]);
        check("bytes_per_second_max = 0", &["bytes_per_second_max"]);
        check("retries = 1001", &["retries", "1001", "1000"]);
        check("on_bad_row = \"drop\"", &["drop", "set_aside"]);
        check("endpoint = \"x\"", &["endpoint", "unknown field"]);
        let twice = format!("{SOURCE}[[import]]\nname = \"i\"\nstream = \"s\"\n{SOURCE}");
        assert!(parse(&twice).unwrap_err().to_string().contains("twice"));
        let other = parse(SOURCE).unwrap();
        let changed = ImportSpec { stream: "t".into(), ..other.clone() };
        assert!(other.check_change(&changed).unwrap_err().to_string().contains("import i: stream"));
        let named = ImportSpec { name: "a/b".into(), ..other };
        assert!(named.normalised().unwrap_err().to_string().contains("a/b"));
    }

    #[test]
    fn limits_hold_at_the_limit() {
        for lines in [
            "on_arrival = { poll_interval = \"100ms\" }",
            "on_arrival = { poll_interval = \"24h\" }",
            "min_age = \"1h\"",
        ] {
            assert!(parse(&format!("{SOURCE}{lines}")).is_ok(), "{lines}");
        }
    }

    #[test]
    fn the_ranges_beside_a_backup_are_no_records() {
        let spec = parse("source = \"s3://b/backup/d\"\nformat = \"source_backup\"").unwrap();
        let pattern = spec.pattern().unwrap();
        assert!(pattern.matches("year=2026/d-000000000007-000.jsonl.gz"));
        assert!(!pattern.matches("ranges/d-000000000007.json"));
    }
}
