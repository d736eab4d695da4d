//! Each output of `millrace sql` carries the same answer.

use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};

use crate::site;

const QUERY: &str =
    "select carrier, count(*) as flights from flights group by carrier order by flights desc, carrier limit 2";

#[test]
fn table_csv_json_and_arrow_say_the_same() {
    let site = site::with_flights();
    let rows = site.sql(QUERY);
    assert_eq!(rows.len(), 2);
    let first = rows[0].as_object().expect("a row");
    let (carrier, flights) = (first["carrier"].as_str().expect("text"), first["flights"].as_i64().expect("a number"));

    let table = site.run(&["sql", QUERY]).ok();
    assert!(table.stdout.contains(carrier) && table.stdout.contains(&flights.to_string()), "{}", table.stdout);
    let footer = format!("{}{}", table.stdout, table.stderr);
    assert!(footer.contains("2 rows"), "the row count is told:\n{footer}");

    let csv = site.run(&["sql", "--output", "csv", QUERY]).ok();
    assert_eq!(csv.stdout.lines().take(2).collect::<Vec<_>>(), ["carrier,flights", &format!("{carrier},{flights}")]);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("answer.arrow");
    let command = format!("\"$0\" sql --output arrow \"$1\" > {}", file.display());
    let program = millrace_tests::server::program();
    let status = std::process::Command::new("bash")
        .args(["-c", &command])
        .arg(program)
        .arg(QUERY)
        .env("MILLRACE_ENDPOINT", site.server.endpoint())
        .status();
    assert!(status.expect("bash runs").success());
    let reader = StreamReader::try_new(std::fs::File::open(&file).expect("the answer was written"), None);
    let batches: Result<Vec<_>, _> = reader.expect("the answer is an Arrow stream").collect();
    let rows_of = |batches: &[arrow::array::RecordBatch]| batches.iter().map(|batch| batch.num_rows()).sum::<usize>();
    assert_eq!(rows_of(&batches.expect("the stream decodes")), 2);
    assert_eq!(rows[0], json!({"carrier": carrier, "flights": flights}) as Value);
}
