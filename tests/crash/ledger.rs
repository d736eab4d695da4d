//! What producers know of the records that they sent: acknowledged at a place, or unknown. A later proof compares the
//! table with it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use millrace_tests::cli;
use millrace_tests::listing;
use millrace_tests::server::Server;

/// (shard, offset).
pub(crate) type Place = (u32, u64);

/// The fate of each record, by the id that it carries.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Durable, says the server.
    pub(crate) acknowledged: HashMap<i64, Place>,
    /// Sent and never answered: may be there once or not at all.
    pub(crate) unknown: HashSet<i64>,
}

/// A row as a reader found it.
type Row = (i64, Place);

impl Ledger {
    /// Proves by SQL and by a plain listing that each acknowledged record is in the table once, at its place, each
    /// unknown one at most once, and nothing else is.
    pub(crate) fn prove(&self, server: &Server, table: &str, folder: &Path) {
        let by_sql = rows_by_sql(server, table);
        let by_listing = rows_by_listing(folder);
        self.compare("sql", &by_sql);
        self.compare("a listing of the files", &by_listing);
        assert_eq!(by_sql.len(), by_listing.len(), "sql and the listing differ in rows");
        eprintln!(
            "{} acknowledged records are there once; of {} unknown ones {} are",
            self.acknowledged.len(),
            self.unknown.len(),
            by_sql.len() - self.acknowledged.len()
        );
    }

    fn compare(&self, reader: &str, rows: &[Row]) {
        let mut found: BTreeMap<i64, Vec<Place>> = BTreeMap::new();
        for (id, place) in rows {
            found.entry(*id).or_default().push(*place);
        }
        let doubled: Vec<_> = found.iter().filter(|(_, places)| places.len() > 1).take(5).collect();
        assert!(doubled.is_empty(), "by {reader}, records are in the table twice: {doubled:?}");
        let lost: Vec<_> = self.acknowledged.iter().filter(|(id, _)| !found.contains_key(id)).take(5).collect();
        assert!(lost.is_empty(), "by {reader}, acknowledged records are lost: {lost:?}");
        let moved = |(id, place): &(&i64, &Place)| found[*id] != [**place];
        let moved: Vec<_> = self.acknowledged.iter().filter(moved).take(5).collect();
        assert!(moved.is_empty(), "by {reader}, records lie elsewhere than acknowledged: {moved:?}");
        let sent = |id: &i64| self.acknowledged.contains_key(id) || self.unknown.contains(id);
        let invented: Vec<_> = found.keys().filter(|id| !sent(id)).take(5).collect();
        assert!(invented.is_empty(), "by {reader}, the table has records that nobody sent: {invented:?}");
        let places: HashSet<Place> = rows.iter().map(|(_, place)| *place).collect();
        assert_eq!(places.len(), rows.len(), "by {reader}, two rows claim one place");
    }
}

fn rows_by_sql(server: &Server, table: &str) -> Vec<Row> {
    let query = format!("select id, _shard, _offset from {table}");
    let said = cli::millrace(server, &["sql", "--output", "csv", &query]).ok();
    let parse = |line: &str| {
        let mut fields = line.split(',').map(|field| field.parse::<i64>().ok());
        let mut next = || fields.next().flatten().unwrap_or_else(|| panic!("{line:?} is no row"));
        let (id, shard, offset) = (next(), next(), next());
        (id, (shard as u32, offset as u64))
    };
    said.stdout.lines().skip(1).filter(|line| !line.is_empty()).map(parse).collect()
}

fn rows_by_listing(folder: &Path) -> Vec<Row> {
    let batches = listing::read(folder);
    let mut rows = Vec::new();
    for batch in &batches {
        let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("a file has no column {name}"));
        let ids = column("id").as_primitive::<Int64Type>();
        let shards = column("_shard").as_primitive::<Int32Type>();
        let offsets = column("_offset").as_primitive::<Int64Type>();
        rows.extend((0..batch.num_rows()).map(|i| (ids.value(i), (shards.value(i) as u32, offsets.value(i) as u64))));
    }
    rows
}
