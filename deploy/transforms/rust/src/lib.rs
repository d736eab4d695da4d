//! The newline fix: each record ends with a line feed, so that records written one after the other stay apart.

wit_bindgen::generate!({ path: "../../../proto/wit", world: "transformer" });

use millrace::transform::types::Output;

struct Newline;

impl Guest for Newline {
    fn transform(batch: Vec<Record>) -> Vec<Outcome> {
        batch.into_iter().map(|record| Outcome::Ok(vec![ended(record.data)])).collect()
    }
}

fn ended(mut data: Vec<u8>) -> Output {
    if data.last() != Some(&b'\n') {
        data.push(b'\n');
    }
    Output { data, partition_keys: Vec::new() }
}

export!(Newline);
