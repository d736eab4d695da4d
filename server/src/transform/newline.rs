//! `newline`: ends each record with a delimiter, so that records written one after the other stay apart.
//!
//! It must never add a second delimiter to a record that ends with one.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Outcome, Transform};

/// Appends a delimiter to records that lack it.
#[derive(Debug)]
pub struct Newline {
    delimiter: Bytes,
}

impl Newline {
    /// With the delimiter to end records with.
    #[must_use]
    pub const fn new(delimiter: Bytes) -> Self {
        Self { delimiter }
    }

    fn end(&self, data: Bytes) -> Bytes {
        if data.ends_with(&self.delimiter) {
            return data;
        }
        let mut ended = BytesMut::with_capacity(data.len() + self.delimiter.len());
        ended.put_slice(&data);
        ended.put_slice(&self.delimiter);
        ended.freeze()
    }
}

impl Transform for Newline {
    fn name(&self) -> &'static str {
        "newline"
    }

    fn apply(&self, records: Vec<Bytes>) -> Vec<Outcome> {
        records.into_iter().map(|data| Outcome::One(self.end(data))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_is_added_once() {
        let check = |delimiter: &'static str, data: &'static str, expected: &'static str| {
            let newline = Newline::new(Bytes::from_static(delimiter.as_bytes()));
            let once = newline.apply(vec![Bytes::from_static(data.as_bytes())]);
            assert_eq!(once, vec![Outcome::One(Bytes::from_static(expected.as_bytes()))], "{data:?}");
            let twice = newline.apply(vec![Bytes::from_static(expected.as_bytes())]);
            assert_eq!(twice, once, "{data:?} twice");
        };
        check("\n", "{}", "{}\n");
        check("\n", "{}\n", "{}\n");
        check("\n", "", "\n");
        check("\n", "a\nb", "a\nb\n");
        check("\r\n", "a\n", "a\n\r\n");
        check("\r\n", "a\r\n", "a\r\n");
        check("|", "a", "a|");
    }
}
