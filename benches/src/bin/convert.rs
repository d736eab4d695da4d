//! JSON to Snappy Parquet on one core: delivery's own way against a bare `arrow-json` and `ArrowWriter` loop, and against
//! DuckDB's `COPY` with one thread.
#![expect(clippy::print_stdout, reason = "a bench's result is its output")]

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::file::properties::WriterProperties;
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema;
use bytes::Bytes;
use clap::Parser;
use millrace_benches::place::Place;
use millrace_storage::lake::FileNames;
use millrace_storage::lake::convert::{ConvertSettings, Converter};
use millrace_storage::lake::event_time::TimeSource;
use millrace_storage::lake::parquet::{self, ParquetSettings, ParquetTarget};
use millrace_storage::lake::partition::Partitioning;
use millrace_storage::lake::prefix::Prefix;
use millrace_storage::lake::row::Row;
use millrace_storage::lake::schema::{ARRIVAL_TIME, TableSchema};
use millrace_storage::lake::store::{Store, StoreSettings};
use millrace_storage::log::{Offset, ShardId};
use millrace_storage::time::Timestamp;
use millrace_tests::{flights, python};

#[derive(Debug, Parser)]
struct Arguments {
    /// Times each side runs; the fastest counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Rows that are converted at once.
    #[arg(long, default_value_t = 8192)]
    batch_rows: usize,
    #[command(flatten)]
    place: Place,
}

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments = Arguments::parse();
    arguments.place.begin()?;
    let lines: Vec<Bytes> = flights::lines().map(Bytes::from).collect();
    let text: Vec<u8> = lines.iter().flat_map(|line| line.iter().chain(b"\n")).copied().collect();
    let megabytes = text.len() as f64 / 1e6;
    println!("{} flights, {megabytes:.0} MB of JSON", lines.len());

    let source = arguments.place.folder.join("flights.jsonl");
    fs::write(&source, &text)?;
    let mut times = Times::default();
    // In turn, so that whatever else the machine does comes to each side.
    for _ in 0..arguments.runs.max(1) {
        times.own = times.own.min(own(&lines, &arguments, true)?);
        times.plain = times.plain.min(own(&lines, &arguments, false)?);
        times.bare = times.bare.min(bare(&text, arguments.batch_rows)?);
        times.duckdb = times.duckdb.min(duckdb(&source).unwrap_or(Duration::MAX));
    }
    fs::remove_file(&source)?;
    times.report(text.len());
    Ok(())
}

/// The fastest run of each side.
struct Times {
    own: Duration,
    /// Without system columns: the columns of the other two.
    plain: Duration,
    bare: Duration,
    /// Stays the longest there is where there is no DuckDB.
    duckdb: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { own: Duration::MAX, plain: Duration::MAX, bare: Duration::MAX, duckdb: Duration::MAX }
    }
}

impl Times {
    fn report(&self, bytes: usize) {
        let rate = |side: &str, time: Duration| println!("{side}: {:.0} MB/s", bytes as f64 / 1e6 / time.as_secs_f64());
        let ratios = |time: Duration| (time.div_duration_f64(self.own), time.div_duration_f64(self.plain));
        rate("millrace, with system columns and statistics", self.own);
        rate("millrace, without system columns", self.plain);
        rate("bare arrow-json and ArrowWriter", self.bare);
        let (own, plain) = ratios(self.bare);
        println!("ratio to the bare loop: {own:.2} ({plain:.2} without system columns; wanted: 0.85 or more)");
        if self.duckdb == Duration::MAX {
            println!("SKIPPED: ./tests/run.sh was not run, so there is no DuckDB to compare with");
            return;
        }
        rate("DuckDB, COPY (FROM read_json) TO parquet, one thread", self.duckdb);
        let (own, plain) = ratios(self.duckdb);
        println!("ratio to DuckDB: {own:.2} ({plain:.2} without system columns; wanted: 1.50 or more)");
    }
}

/// Rows through the converter into Parquet on a store in memory.
fn own(lines: &[Bytes], arguments: &Arguments, system_columns: bool) -> Outcome<Duration> {
    let store = Store::open(&StoreSettings::of_url("memory:///"))?;
    let settings = ConvertSettings { system_columns, ..ConvertSettings::default() };
    let table = TableSchema::initial(&settings.columns, &settings.time, settings.policy, system_columns)?;
    let mut converter = Converter::new(settings, "flights", &table)?;
    let arrival_time = Timestamp::now();
    let key = Bytes::from_static(b"key");
    let row = |(offset, data): (usize, &Bytes)| Row {
        shard: ShardId(0),
        offset: Offset(offset as u64),
        sub: 0,
        arrival_time,
        partition_key: key.clone(),
        data: data.clone(),
        keys: None,
        source: None,
    };
    let rows: Vec<Vec<Row>> = lines
        .chunks(arguments.batch_rows)
        .enumerate()
        .map(|(chunk, lines)| {
            let first = chunk * arguments.batch_rows;
            lines.iter().enumerate().map(|(i, line)| row((first + i, line))).collect()
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build()?;

    let start = Instant::now();
    let mut batches = Vec::with_capacity(rows.len());
    for rows in rows {
        let converted = converter.convert(rows)?;
        assert!(converted.set_aside.is_empty(), "no flight is set aside");
        batches.push(converted.batch.into());
    }
    let target = ParquetTarget {
        table_root: "default/flights".to_owned(),
        names: FileNames { delivery: "flights".to_owned(), batch: 0 },
        schema: Arc::clone(&converter.schema().schema),
        partitioning: Partitioning::hourly(&TimeSource::Arrival),
        partition_spec_id: 0,
        time_column: ARRIVAL_TIME.to_owned(),
        prefix: Prefix::default(),
    };
    let files = runtime.block_on(parquet::write(&store, &ParquetSettings::default(), &target, batches))?;
    let time = start.elapsed();
    assert_eq!(
        files.iter().map(|file| file.record_count()).sum::<u64>(),
        lines.len() as u64,
        "all flights are written"
    );
    Ok(time)
}

/// The loop that anyone would write first. The schema is found before the clock runs.
fn bare(text: &[u8], batch_rows: usize) -> Outcome<Duration> {
    let (schema, _) = infer_json_schema(Cursor::new(text), None)?;
    let start = Instant::now();
    let schema = Arc::new(schema);
    let reader = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(batch_rows).build(Cursor::new(text))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    for batch in reader {
        writer.write(&batch?)?;
    }
    let file = writer.into_inner()?;
    assert!(!file.is_empty(), "a file was written");
    Ok(start.elapsed())
}

/// The faster of two runs of DuckDB; `None` where it is not installed.
fn duckdb(source: &Path) -> Option<Duration> {
    const SCRIPT: &str = "
import duckdb, sys, time
source = sys.argv[1]
connection = duckdb.connect()
connection.sql('set threads = 1')
times = []
for _ in range(2):
    start = time.perf_counter()
    connection.sql(f\"copy (from read_json('{source}')) to '{source}.parquet' (format parquet, compression snappy)\")
    times.append(time.perf_counter() - start)
print(min(times))
";
    let interpreter = python::interpreter().filter(|path| path.exists())?;
    let output = Command::new(interpreter).args(["-c", SCRIPT]).arg(source).output().ok()?;
    drop(fs::remove_file(format!("{}.parquet", source.display())));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().ok().map(Duration::from_secs_f64)
}
