//! Answers on stdout: aligned text for people, JSON for programs. A reader that goes away ends the command in peace.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use bytesize::ByteSize;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::Result;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// Aligned text.
    #[default]
    Table,
    /// JSON, with the wire's field names.
    Json,
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct OutputArgs {
    /// How to write the answer.
    #[arg(long, short, value_enum, default_value_t)]
    pub(super) output: Format,
}

/// What most commands about one object take.
#[derive(Debug, clap::Args)]
pub(super) struct NamedArgs {
    /// Its name.
    pub(super) name: String,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl OutputArgs {
    /// Writes the value as JSON, or the text that `table` makes of it.
    pub(super) fn write<T: Serialize>(self, value: &T, table: impl FnOnce(&T) -> String) -> Result<()> {
        match self.output {
            Format::Json => json(value),
            Format::Table => line(table(value).trim_end()),
        }
    }
}

/// Writes a line to stdout.
pub(super) fn line(text: impl fmt::Display) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Writes a line to stderr: what is not the answer.
pub(super) fn remark(text: impl fmt::Display) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn json<T: Serialize>(value: &T) -> Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, value).map_err(io::Error::from)?;
    Ok(writeln!(stdout)?)
}

/// Rows under a heading, in columns as wide as they need.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(heading);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    lines(&table)
}

/// Names with their values, one a line.
pub(super) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    for (name, value) in facts {
        table.add_row([format!("{name}:"), value]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    lines(&table)
}

fn lines(table: &comfy_table::Table) -> String {
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// A count with its thousands set apart.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes with a binary unit.
pub(super) fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// A limit in bytes a second; zero is none.
pub(super) fn bytes_per_second(limit: u64) -> String {
    if limit == 0 { "off".to_owned() } else { format!("{}/s", bytes(limit)) }
}

/// A limit in records a second; zero is none.
pub(super) fn records_per_second(limit: u64) -> String {
    if limit == 0 { "off".to_owned() } else { format!("{}/s", count(limit)) }
}

/// A duration in the largest unit that loses nothing, hours at most: retention is spoken of in hours.
pub(super) fn duration(milliseconds: u64) -> String {
    for (unit, name) in [(3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if milliseconds >= unit && milliseconds.is_multiple_of(unit) {
            return format!("{}{name}", milliseconds / unit);
        }
    }
    format!("{milliseconds}ms")
}

/// Milliseconds since the Unix epoch, in RFC 3339; zero is "never".
pub(super) fn time(unix_ms: i64) -> String {
    match DateTime::<Utc>::from_timestamp_millis(unix_ms) {
        Some(time) if unix_ms != 0 => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        _ => "never".to_owned(),
    }
}

/// Megabytes and count in a time, as rates.
pub(super) fn rates(records: u64, bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(1e-9);
    #[expect(clippy::cast_precision_loss, reason = "a rate to three digits")]
    let (records_rate, bytes_rate) = (records as f64 / seconds, bytes as f64 / 1e6 / seconds);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is small and not negative")]
    let records_rate = count(records_rate as u64);
    format!("{bytes_rate:.1} MB/s, {records_rate} records/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_set_apart_by_thousands() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (336_776, "336,776"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn durations_take_the_largest_unit_that_loses_nothing() {
        for (value, text) in [(604_800_000, "168h"), (5_400_000, "90m"), (1_500, "1500ms"), (0, "0ms")] {
            assert_eq!(duration(value), text);
        }
    }

    #[test]
    fn columns_align_and_lines_do_not_end_in_space() {
        let text = table(["NAME", "SHARDS"], [["a".into(), "1".into()], ["longer".into(), "20".into()]]);
        assert_eq!(text, "NAME    SHARDS\na       1\nlonger  20\n");
    }
}
