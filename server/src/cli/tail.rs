//! `millrace tail`: prints a stream's records as they come.

mod member;

use std::io::{BufWriter, Write, stdout};
use std::str::FromStr;
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::{FutureExt, StreamExt};
use millrace_client::{Position, Record, Skipped, Subscription};
use serde::Serialize;

use super::output::{Format, OutputArgs, remark};
use super::{Endpoint, Result};

/// Print a stream's records as they come, until interrupted.
///
/// Text is each record's data and a newline; JSON is a line a record, with its place and time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace tail flights                               from now on
  millrace tail flights --from trim-horizon -n 10     the ten oldest
  millrace tail flights --from 15m --output json      of the last quarter of an hour, with their places
  millrace tail flights --from 2026-11-23T08:00:00Z --shard 0
  millrace tail flights --from 4711 --shard 0         from an offset
  millrace tail flights --group billing               as a member of a consumer group, where the group was")]
pub(super) struct TailArgs {
    /// The stream's name.
    stream: String,
    /// Where to start: trim-horizon, latest, an offset, a time in RFC 3339, or how long ago (15m, 2h).
    #[arg(long, value_name = "POSITION", default_value = "latest")]
    from: From,
    /// Read as a member of this consumer group: members share the shards, and what was printed is noted. A group that is not
    /// there comes into being, and begins at --from.
    #[arg(long, value_name = "NAME", conflicts_with = "shard")]
    group: Option<String>,
    /// Take aggregates of the Kinesis Producer Library apart into their records. A group's member always does.
    #[arg(long)]
    deaggregate: bool,
    /// Read under this name, on an out quota of its own.
    #[arg(long, value_name = "NAME", conflicts_with = "group")]
    consumer: Option<String>,
    /// Go on past records that nobody can read, because the disk lost them or their data key was destroyed, and tell about
    /// it. Otherwise the first of them ends the command.
    #[arg(long)]
    skip_unreadable: bool,
    /// Only this shard; otherwise all, in no order between them.
    #[arg(long)]
    shard: Option<u32>,
    /// End after so many records.
    #[arg(long, short = 'n', value_name = "COUNT")]
    records: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A position as a flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct From(pub(super) Position);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(offset) = text.parse() {
            return Ok(Self(Position::Offset(offset)));
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self(Position::Time(time.into())));
        }
        if let Ok(ago) = humantime::parse_duration(text) {
            return Ok(Self(Position::Time(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH))));
        }
        match text {
            "trim-horizon" => Ok(Self(Position::TrimHorizon)),
            "latest" => Ok(Self(Position::Latest)),
            _ => {
                Err("want trim-horizon, latest, an offset, a time like 2026-11-23T08:00:00Z, or how long ago, like 15m"
                    .to_owned())
            }
        }
    }
}

#[derive(Serialize)]
struct RecordView<'a> {
    stream: &'a str,
    shard: u32,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_sequence: Option<u32>,
    arrival_time: String,
    partition_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    /// In place of `data` where that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

pub(super) async fn run(args: TailArgs, endpoint: &Endpoint) -> Result<()> {
    if let Some(group) = &args.group {
        return member::run(&args, group, endpoint).await;
    }
    let mut consumer = endpoint.client()?.consumer().named(args.consumer.as_deref().unwrap_or_default());
    if args.skip_unreadable {
        consumer = consumer.skipping_unreadable();
    }
    let From(position) = args.from;
    let mut records = match args.shard {
        Some(shard) => consumer.subscribe_shard(&args.stream, shard, position).await?,
        None => consumer.subscribe(&args.stream, position).await?,
    };
    let (mut out, mut told) = (Printer::new(&args), 0);
    while out.left > 0 {
        let Some(record) = records.next().await? else { break };
        out.print(record)?;
        // Flush only when nothing more is at hand: a burst is written at once, a single record without delay.
        while out.left > 0 {
            let Some(Some(record)) = StreamExt::next(&mut records).now_or_never() else { break };
            out.print(record?)?;
        }
        out.flush()?;
        told = tell_skipped(&records, told);
    }
    Ok(())
}

/// Tells what was passed by since so many places were told; gives how many are told now.
fn tell_skipped(records: &Subscription, told: u64) -> u64 {
    let Some(skipped) = records.skipped().filter(|skipped| skipped.count > told) else { return told };
    let Skipped { count, last } = skipped;
    match count - told {
        1 => remark(format!("passed by: {last}")),
        more => remark(format!("passed by at {more} places, the last: {last}")),
    }
    *count
}

/// Writes records until as many are written as were asked for.
struct Printer {
    out: BufWriter<std::io::Stdout>,
    format: Format,
    deaggregate: bool,
    left: u64,
}

impl Printer {
    fn new(args: &TailArgs) -> Self {
        let (out, left) = (BufWriter::new(stdout()), args.records.unwrap_or(u64::MAX));
        Self { out, format: args.output.output, deaggregate: args.deaggregate, left }
    }

    fn print(&mut self, record: Record) -> std::io::Result<()> {
        let records = if self.deaggregate { record.user_records() } else { vec![record] };
        for record in records.iter().take(usize::try_from(self.left).unwrap_or(usize::MAX)) {
            write(&mut self.out, record, self.format)?;
            self.left -= 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn write(out: &mut impl Write, record: &Record, format: Format) -> std::io::Result<()> {
    match format {
        Format::Table => {
            out.write_all(&record.data)?;
            if record.data.last() != Some(&b'\n') {
                out.write_all(b"\n")?;
            }
        }
        Format::Json => {
            serde_json::to_writer(&mut *out, &view(record)).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

fn view(record: &Record) -> RecordView<'_> {
    let data = std::str::from_utf8(&record.data).ok();
    RecordView {
        stream: &record.stream,
        shard: record.shard,
        offset: record.offset,
        sub_sequence: record.sub_sequence,
        arrival_time: DateTime::<Utc>::from(record.arrival_time).to_rfc3339_opts(SecondsFormat::Millis, true),
        partition_key: &record.partition_key,
        data,
        data_base64: data.is_none().then(|| BASE64_STANDARD.encode(&record.data)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_position_is_a_word_an_offset_a_time_or_an_age() {
        let at = |text: &str| text.parse::<From>().unwrap().0;
        assert_eq!(at("trim-horizon"), Position::TrimHorizon);
        assert_eq!(at("latest"), Position::Latest);
        assert_eq!(at("4711"), Position::Offset(4711));
        assert_eq!(at("1970-01-01T00:01:00+00:00"), Position::Time(UNIX_EPOCH + Duration::from_secs(60)));
        let Position::Time(ago) = at("15m") else { panic!("an age is a time") };
        assert!(SystemTime::now().duration_since(ago).unwrap() >= Duration::from_secs(900));
        assert!("yesterday".parse::<From>().unwrap_err().contains("trim-horizon"));
    }

    #[test]
    fn data_that_is_not_text_is_written_in_base64() {
        let record = |data: &'static [u8]| Record {
            stream: "flights".into(),
            shard: 1,
            offset: 2,
            sub_sequence: None,
            arrival_time: UNIX_EPOCH,
            partition_key: "UA".into(),
            data: data.into(),
        };
        let json = |data| serde_json::to_string(&view(&record(data))).unwrap();
        let head = r#"{"stream":"flights","shard":1,"offset":2,"arrival_time":"1970-01-01T00:00:00.000Z","partition_key":"UA""#;
        assert_eq!(json(b"{}"), format!(r#"{head},"data":"{{}}"}}"#));
        assert_eq!(json(b"\xff"), format!(r#"{head},"data_base64":"/w=="}}"#));
    }
}
