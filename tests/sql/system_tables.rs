//! The system tables tell what the service holds.

use crate::site::{self, FLIGHTS};

#[test]
fn system_tables_answer() {
    let site = site::with_flights();
    let cases = [
        ("select count(*) from system.streams", 1),
        ("select count(*) from system.shards", 2),
        ("select count(*) from system.deliveries", 1),
        ("select count(*) from system.snapshots", 2),
        ("select count(*) from system.streams where stream = 'flights'", 1),
        ("select sum(next_offset) from system.shards", FLIGHTS as i64),
    ];
    for (query, wanted) in cases {
        assert_eq!(site.number(query), wanted, "{query}");
    }
    assert!(site.number("select count(*) from system.files") >= 2);
    assert_eq!(site.number("select sum(rows) from system.files"), 2000);
}
