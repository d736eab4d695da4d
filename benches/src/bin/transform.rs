//! What transforms cost: the `newline` and `split` chain beside the conversion that follows it, a module's newline fix beside
//! the built-in one, and both beside a call over HTTP to a function in the shape of a Lambda for each batch of 500.
#![expect(clippy::print_stdout, reason = "a bench's result is its output")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use millrace_benches::machine;
use millrace_server::metrics::Metrics;
use millrace_server::transform::{
    Chain, Input, Outcome, PushOptions, Registry, SplitBy, TransformSettings, TransformSpec, Transforms, WasmSpec,
};
use millrace_storage::lake::convert::{ConvertSettings, Converter};
use millrace_storage::lake::row::Row;
use millrace_storage::lake::schema::TableSchema;
use millrace_storage::log::{Offset, Record, ShardId};
use millrace_storage::meta::memory::MemoryMeta;
use millrace_storage::time::Timestamp;
use millrace_tests::flights;
use millrace_tests::templates::Template;

#[derive(Debug, Parser)]
struct Arguments {
    /// Times each side runs; the fastest counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Records of 1 KiB.
    #[arg(long, default_value_t = 50_000)]
    records: usize,
    /// Records of a batch of the function over HTTP.
    #[arg(long, default_value_t = 500)]
    batch: usize,
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const NEWLINE: TransformSpec = TransformSpec::Newline { delimiter: Bytes::from_static(b"\n") };
const SPLIT: TransformSpec = TransformSpec::Split { by: SplitBy::Json };

fn main() -> Result {
    let arguments = Arguments::parse();
    println!("{}", machine::describe(&std::env::temp_dir()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let settings = TransformSettings { wasm_call_records_max: arguments.batch, ..TransformSettings::default() };
    let (meta, metrics) = (Arc::new(MemoryMeta::new()), Metrics::new());
    let opening = Transforms::open(meta, folder.path(), settings, Registry::new(), &metrics);
    let transforms = runtime.block_on(opening)?;
    let chain = |specs: &[TransformSpec]| -> Result<Chain> {
        let pins = transforms.pins(specs, 0)?;
        Ok(runtime.block_on(transforms.chain("bench", specs, &pins))?)
    };

    beside_conversion(&arguments, &chain(&[NEWLINE, SPLIT])?)?;

    let records = records(arguments.records);
    let native = rate("newline, built in", &arguments, &chain(&[NEWLINE])?, &records);
    let http = http_rate(&arguments, &records)?;
    for (template, wanted) in [
        (Template::C("newline"), "0.5 of built in, 50 times HTTP"),
        (Template::Python("newline"), "20,000 records/s"),
        (Template::Python("plain"), ""),
        (Template::JavaScript("newline"), ""),
    ] {
        let module = Bytes::from(std::fs::read(template.build())?);
        let name = format!("{template:?}").to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let begun = Instant::now();
        let name: millrace_server::transform::ModuleName = name.parse()?;
        runtime.block_on(transforms.push(&name, module, PushOptions::default(), &[]))?;
        println!("{template:?}: compiled in {:.1} s", begun.elapsed().as_secs_f64());
        let spec = TransformSpec::Wasm(WasmSpec { module: name, version: None, grant: Default::default() });
        let own = rate(&format!("newline, {template:?}"), &arguments, &chain(&[spec])?, &records);
        println!(
            "  {:.2} of the built-in one, {:.1} times the call over HTTP (wanted: {wanted})",
            own / native,
            own / http
        );
    }
    Ok(())
}

/// The chain before the converter, on flights.
fn beside_conversion(arguments: &Arguments, chain: &Chain) -> Result {
    let records: Vec<Record> = (0..)
        .zip(flights::lines())
        .map(|(offset, line)| Record {
            offset: Offset(offset),
            arrival_time: Timestamp(0),
            partition_key: Bytes::from_static(b"key"),
            data: line.into(),
        })
        .collect();
    let (mut transform, mut convert) = (Duration::MAX, Duration::MAX);
    for _ in 0..arguments.runs {
        let settings = ConvertSettings::default();
        let table = TableSchema::initial(&settings.columns, &settings.time, settings.policy, false)?;
        let mut converter = Converter::new(settings, "flights", &table)?;
        let (mut of_transform, mut of_convert) = (Duration::ZERO, Duration::ZERO);
        for chunk in records.chunks(8_192) {
            let begun = Instant::now();
            let inputs = chain.inputs(ShardId(0), chunk);
            let outcomes = chain.apply(&inputs);
            of_transform += begun.elapsed();
            let rows = rows(chunk, outcomes);
            let begun = Instant::now();
            converter.convert(rows)?;
            of_convert += begun.elapsed();
        }
        transform = transform.min(of_transform);
        convert = convert.min(of_convert);
    }
    let share = transform.as_secs_f64() / (transform + convert).as_secs_f64() * 100.0;
    println!("newline and split, {} flights: {transform:?} beside {convert:?} of converting", records.len());
    println!("  {share:.1} % of both (wanted: under 5; delivery writes files too)");
    Ok(())
}

fn rows(records: &[Record], outcomes: Vec<Outcome>) -> Vec<Row> {
    let row = |(record, outcome): (&Record, Outcome)| match outcome {
        Outcome::One(output) => Some(Row {
            shard: ShardId(0),
            offset: record.offset,
            sub: 0,
            arrival_time: record.arrival_time,
            partition_key: record.partition_key.clone(),
            data: output.data,
            keys: None,
            source: None,
        }),
        _ => None,
    };
    records.iter().zip(outcomes).filter_map(row).collect()
}

fn records(count: usize) -> Vec<Input> {
    let input = |record: usize| {
        let data = format!("{{\"id\":{record:08},\"text\":\"{}\"}}", "x".repeat(1_024 - 26));
        let partition_key = Bytes::from(format!("key-{}", record % 100));
        Input { record, partition_key, data: data.into(), ..Input::default() }
    };
    (0..count).map(input).collect()
}

/// Records a second.
fn rate(side: &str, arguments: &Arguments, chain: &Chain, records: &[Input]) -> f64 {
    let run = || {
        let begun = Instant::now();
        for batch in records.chunks(8_192) {
            let outcomes = chain.apply(batch);
            let whole = |outcome: &Outcome| matches!(outcome, Outcome::One(output) if output.data.ends_with(b"\n"));
            assert!(outcomes.iter().all(whole), "each record ends with a line feed");
        }
        begun.elapsed()
    };
    let fastest = (0..arguments.runs.max(1)).map(|_| run()).min().unwrap_or_default();
    report(side, records.len(), fastest)
}

fn report(side: &str, records: usize, time: Duration) -> f64 {
    let rate = records as f64 / time.as_secs_f64();
    println!("{side}: {rate:.0} records/s, {:.0} MB/s", rate * 1_024.0 / 1e6);
    rate
}

/// A function of this process that answers as a Lambda does, called over HTTP on this machine for each batch.
fn http_rate(arguments: &Arguments, records: &[Input]) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The bench is over when the caller goes.
            let _ = serve(stream);
        }
    });
    let mut fastest = Duration::MAX;
    for _ in 0..arguments.runs.max(1) {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let begun = Instant::now();
        for batch in records.chunks(arguments.batch) {
            let answer = call(&mut stream, &event(batch))?;
            assert_eq!(ended(&answer)?, batch.len(), "each record ends with a line feed");
        }
        fastest = fastest.min(begun.elapsed());
    }
    Ok(report("newline, a function over HTTP on this machine", records.len(), fastest))
}

fn event(batch: &[Input]) -> Vec<u8> {
    use base64::Engine as _;
    let record = |input: &Input| {
        serde_json::json!({
            "recordId": input.id(),
            "approximateArrivalTimestamp": 0,
            "data": base64::prelude::BASE64_STANDARD.encode(&input.data),
        })
    };
    serde_json::json!({ "records": batch.iter().map(record).collect::<Vec<_>>() }).to_string().into_bytes()
}

fn ended(answer: &[u8]) -> Result<usize> {
    use base64::Engine as _;
    let answer: serde_json::Value = serde_json::from_slice(answer)?;
    let mut count = 0;
    for record in answer["records"].as_array().ok_or("no records")? {
        let data = base64::prelude::BASE64_STANDARD.decode(record["data"].as_str().ok_or("no data")?)?;
        count += usize::from(data.ends_with(b"\n"));
    }
    Ok(count)
}

fn call(stream: &mut TcpStream, body: &[u8]) -> Result<Vec<u8>> {
    write!(stream, "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    message(stream)
}

/// Reads a head and as many bytes as it says.
fn message(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).ok_or("no length")?;
    let mut body = vec![0; length.parse()?];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn serve(mut stream: TcpStream) -> Result {
    use base64::Engine as _;
    stream.set_nodelay(true)?;
    loop {
        let mut event: serde_json::Value = serde_json::from_slice(&message(&mut stream)?)?;
        for record in event["records"].as_array_mut().ok_or("no records")? {
            let mut data = base64::prelude::BASE64_STANDARD.decode(record["data"].as_str().ok_or("no data")?)?;
            data.push(b'\n');
            record["data"] = base64::prelude::BASE64_STANDARD.encode(data).into();
            record["result"] = "Ok".into();
        }
        let body = event.to_string();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    }
}
