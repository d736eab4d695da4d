//! The server dies while it imports and takes up what it set aside, at named places and at random moments: every row of every
//! file is in the stream once.
//!
//! A sample runs with the other tests. `MILLRACE_CRASH_RUNS=1000` runs so many crashes, from one seed.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use millrace_tests::cli;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::server::{Server, ServerSettings};
use rand::Rng;
use rand::rngs::StdRng;

use crate::crashes::{self, REACH_MAX};

/// Where the server dies, and how many times it may come by before.
const FAILPOINTS: [(&str, u32); 12] = [
    ("log.append.before", 30),
    ("log.append.after", 30),
    ("log.append.shown.after", 30),
    ("meta.import-position.before", 40),
    ("meta.import-position.after", 40),
    ("meta.import-object.before", 30),
    ("meta.import-object.after", 30),
    ("meta.import-run.before", 1),
    ("meta.import-run.after", 1),
    ("meta.import-set-aside.before", 8),
    ("meta.import-set-aside.after", 8),
    // At any moment.
    ("", 0),
];
/// Crashes on one data folder; then what is left is checked.
const CRASHES_PER_FOLDER: usize = 20;
const ROWS_PER_ROUND: u64 = 600;

#[test]
fn every_row_is_in_the_stream_once_over_crashes() {
    crashes::over("imports", &FAILPOINTS, CRASHES_PER_FOLDER, one_folder);
}

/// Gives how many crashes were at their failpoints.
fn one_folder(plan: &[&(&'static str, u32)], generator: &mut StdRng) -> usize {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("in");
    std::fs::create_dir_all(&source).expect("the test's folder can be written");
    let settings = ServerSettings::new(&folder.path().join("data"))
        .env("MILLRACE_STORE_URL", format!("file://{}", folder.path().join("lake").display()))
        .env("MILLRACE_IMPORT_SOURCES", format!("file://{}", source.display()))
        .env("MILLRACE_IMPORT_CHUNK_ROWS_MAX", 25);
    let mut server = Server::start(&settings);
    let file = folder.path().join("events.toml");
    let import = format!(
        "\n[[import]]\nname = \"i\"\nstream = \"events\"\nsource = \"file://{}\"\nmin_age = \"0s\"\n",
        source.display()
    );
    std::fs::write(&file, Pipeline::new("events").toml() + &import).expect("the test's folder can be written");
    let _said = cli::millrace(&server, &["apply", "-f", file.to_str().expect("a UTF-8 path")]).ok();
    let (mut rows, mut bad, mut reached) = (0, 0, 0);
    for (round, (failpoint, hits)) in plan.iter().enumerate() {
        server.kill();
        bad += write(&source, round, rows..rows + ROWS_PER_ROUND, generator);
        rows += ROWS_PER_ROUND;
        let (armed, at) = crashes::armed(&settings, failpoint, *hits, generator);
        if server.try_restart_with(&armed) {
            // Its answer does not matter: the server may be gone before it.
            let _said = cli::millrace(&server, &["import", "run", "i"]);
            let _said = cli::millrace(&server, &["import", "replay", "i", "--as-is"]);
            let patience = match failpoint.is_empty() {
                true => Duration::from_millis(generator.random_range(0..400)),
                false => REACH_MAX,
            };
            reached += usize::from(server.dies_before(Instant::now() + patience, |_| false));
        } else {
            reached += 1;
        }
        eprintln!("{failpoint}:{at}, {reached} of {} reached", round + 1);
    }
    server.kill();
    server.restart_with(&settings);
    let said = cli::millrace(&server, &["import", "run", "i", "--wait", "--output", "json"]).ok().json();
    assert_eq!(said["last_run"]["failed"], 0, "{said}");
    let _said = cli::millrace(&server, &["import", "replay", "i", "--as-is"]).ok();
    let said = cli::millrace(&server, &["import", "describe", "i", "--output", "json"]).ok().json();
    let rows = i64::try_from(rows).expect("few rows");
    assert_eq!(cli::sql_number(&server, "select count(distinct id) from events"), rows, "each row is there");
    assert_eq!(cli::sql_number(&server, "select count(*) from events"), rows, "and is there once");
    let told = &said["totals"];
    let bad_rows = i64::try_from(bad).expect("few rows");
    assert_eq!((&told["records"], &told["set_aside"]), (&(rows + bad_rows).into(), &bad.into()), "{said}");
    assert_eq!(told["replayed"], bad, "{said}");
    let open = "select count(*) from system.import_failed_rows where not replayed";
    assert_eq!(cli::sql_number(&server, open), 0, "all was taken up");
    let _said = cli::millrace(&server, &["delivery", "flush", "events"]).ok();
    let no_rows = "select count(*) from system.failed_records";
    assert_eq!(cli::sql_number(&server, no_rows), bad_rows, "each came into the stream once, as it was");
    let aside = millrace_tests::listing::files(&folder.path().join("lake/errors/imports/i"), "jsonl");
    let lines: usize = aside.iter().map(|file| std::fs::read_to_string(file).expect("a file").lines().count()).sum();
    assert_eq!(lines as u64, bad, "what is no record is set aside once");
    assert!(server.stop().success(), "the drained server exits well");
    reached
}

/// Writes rows in two files, plain and compressed, with a few that are none; gives how many these are.
fn write(source: &Path, round: usize, ids: std::ops::Range<u64>, generator: &mut StdRng) -> u64 {
    let middle = generator.random_range(ids.clone());
    let mut bad = 0;
    let mut lines = |ids: std::ops::Range<u64>| {
        let mut text = String::new();
        for id in ids {
            text += &format!("{{\"id\":{id},\"text\":\"{}\"}}\n", "x".repeat(generator.random_range(0..200)));
            if generator.random_range(0..100) == 0 {
                text += "no row\n";
                bad += 1;
            }
        }
        text
    };
    let (plain, packed) = (lines(ids.start..middle), lines(middle..ids.end));
    std::fs::write(source.join(format!("{round:04}-a.jsonl")), plain).expect("the test's folder can be written");
    let file = std::fs::File::create(source.join(format!("{round:04}-b.jsonl.gz"))).expect("a file can be made");
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    encoder.write_all(packed.as_bytes()).expect("a file can be written");
    encoder.finish().expect("a file can be written");
    bad
}
