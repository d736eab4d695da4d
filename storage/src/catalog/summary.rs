//! What a batch says about itself in its snapshot's summary, so that the table alone proves what it holds.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::str::FromStr;

use crate::log::{Offset, ShardId};
use crate::meta::keys::Totals;

const DELIVERY: &str = "millrace.delivery";
const BATCH: &str = "millrace.batch";
const RANGES: &str = "millrace.ranges";
const RECORDS: &str = "millrace.records";
const OUTPUTS: &str = "millrace.outputs";
const ROWS: &str = "millrace.rows";
const SET_ASIDE: &str = "millrace.set_aside";
const DROPPED: &str = "millrace.dropped";
const FILES: &str = "millrace.files";
const BYTES_IN: &str = "millrace.bytes_in";
const BYTES_OUT: &str = "millrace.bytes_out";
const LOST: &str = "millrace.lost";
const REPLAYED: &str = "millrace.replayed";

/// A batch of a delivery: the records that one snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSummary {
    /// The delivery's name.
    pub delivery: String,
    /// The batch's number in its delivery.
    pub batch: u64,
    /// By shard of the stream, also those without new records.
    pub ranges: BTreeMap<ShardId, Range<Offset>>,
    /// Of this batch.
    pub totals: Totals,
}

impl BatchSummary {
    /// The snapshot properties. Ranges are JSON: `{"0":[from,to]}`, `from` inclusive and `to` exclusive.
    #[must_use]
    pub fn to_properties(&self) -> HashMap<String, String> {
        let ranges: BTreeMap<u32, [u64; 2]> =
            self.ranges.iter().map(|(shard, range)| (shard.0, [range.start.0, range.end.0])).collect();
        let ranges = serde_json::to_string(&ranges).expect("numbers and arrays are JSON");
        let Totals { records, outputs, rows, set_aside, dropped, files, bytes_in, bytes_out, lost, replayed } =
            self.totals;
        let counts = [
            (RECORDS, records),
            (OUTPUTS, outputs),
            (ROWS, rows),
            (SET_ASIDE, set_aside),
            (DROPPED, dropped),
            (FILES, files),
            (BYTES_IN, bytes_in),
            (BYTES_OUT, bytes_out),
            (LOST, lost),
            (REPLAYED, replayed),
            (BATCH, self.batch),
        ];
        let mut properties: HashMap<_, _> =
            counts.into_iter().map(|(name, count)| (name.to_owned(), count.to_string())).collect();
        properties.insert(DELIVERY.to_owned(), self.delivery.clone());
        properties.insert(RANGES.to_owned(), ranges);
        properties
    }

    /// Reads snapshot properties back; `None` where no delivery made the snapshot, and what is wrong where they are broken.
    pub fn from_properties(properties: &HashMap<String, String>) -> Result<Option<Self>, String> {
        let Some(delivery) = properties.get(DELIVERY) else {
            return Ok(None);
        };
        let ranges: BTreeMap<u32, [u64; 2]> = serde_json::from_str(text(properties, RANGES)?)
            .map_err(|error| format!("the property {RANGES} is not a JSON object of ranges: {error}"))?;
        let mut by_shard = BTreeMap::new();
        for (shard, [from, to]) in ranges {
            if from > to {
                return Err(format!("the property {RANGES} ends shard {shard} at {to}, before its start {from}"));
            }
            by_shard.insert(ShardId(shard), Offset(from)..Offset(to));
        }
        let count = |name| number::<u64>(properties, name);
        let totals = Totals {
            records: count(RECORDS)?,
            outputs: count(OUTPUTS)?,
            rows: count(ROWS)?,
            set_aside: count(SET_ASIDE)?,
            dropped: count(DROPPED)?,
            files: count(FILES)?,
            bytes_in: count(BYTES_IN)?,
            bytes_out: count(BYTES_OUT)?,
            lost: count(LOST)?,
            // Snapshots of before have none.
            replayed: if properties.contains_key(REPLAYED) { count(REPLAYED)? } else { 0 },
        };
        Ok(Some(Self { delivery: delivery.clone(), batch: count(BATCH)?, ranges: by_shard, totals }))
    }
}

fn text<'a>(properties: &'a HashMap<String, String>, name: &str) -> Result<&'a str, String> {
    properties.get(name).map(String::as_str).ok_or_else(|| format!("the property {name} is missing"))
}

fn number<N: FromStr>(properties: &HashMap<String, String>, name: &str) -> Result<N, String> {
    let text = text(properties, name)?;
    text.parse().map_err(|_| format!("the property {name} is not a number: {text:?}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn summaries() -> impl Strategy<Value = BatchSummary> {
        let range = (any::<u64>(), any::<u64>()).prop_map(|(a, b)| Offset(a.min(b))..Offset(a.max(b)));
        let ranges = proptest::collection::btree_map(any::<u32>().prop_map(ShardId), range, 0..5);
        (".{0,20}", any::<u64>(), ranges, any::<[u64; 10]>()).prop_map(|(delivery, batch, ranges, counts)| {
            let [records, outputs, rows, set_aside, dropped, files, bytes_in, bytes_out, lost, replayed] = counts;
            let totals =
                Totals { records, outputs, rows, set_aside, dropped, files, bytes_in, bytes_out, lost, replayed };
            BatchSummary { delivery, batch, ranges, totals }
        })
    }

    proptest! {
        #[test]
        fn a_summary_comes_back(summary in summaries()) {
            prop_assert_eq!(BatchSummary::from_properties(&summary.to_properties()), Ok(Some(summary)));
        }
    }

    #[test]
    fn a_foreign_snapshot_has_no_summary() {
        let properties = HashMap::from([("added-records".to_owned(), "1".to_owned())]);
        assert_eq!(BatchSummary::from_properties(&properties), Ok(None));
    }

    #[test]
    fn broken_properties_are_told() {
        let ranges = BTreeMap::from([(ShardId(0), Offset(0)..Offset(1))]);
        let summary = BatchSummary { delivery: "d".to_owned(), batch: 1, ranges, totals: Totals::default() };
        for (name, value, expected) in [
            (BATCH, None, "the property millrace.batch is missing"),
            (REPLAYED, Some("x"), "the property millrace.replayed is not a number: \"x\""),
            (RECORDS, Some("x"), "the property millrace.records is not a number: \"x\""),
            (RANGES, Some("[]"), "the property millrace.ranges is not a JSON object of ranges"),
            (RANGES, Some("{\"0\":[2,1]}"), "the property millrace.ranges ends shard 0 at 1, before its start 2"),
        ] {
            let mut properties = summary.to_properties();
            properties.remove(name);
            properties.extend(value.map(|value| (name.to_owned(), value.to_owned())));
            let error = BatchSummary::from_properties(&properties).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
