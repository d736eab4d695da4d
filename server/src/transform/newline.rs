//! `newline`: ends each record with a delimiter, so that records written one after the other stay apart.
//!
//! It must never add a second delimiter to a record that ends with one.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Input, Outcome, Transform};

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
    fn name(&self) -> &str {
        "newline"
    }

    fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
        inputs.iter().map(|input| Outcome::One(self.end(input.data.clone()).into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_is_added_once() {
        let check = |delimiter: &'static str, data: &'static str, expected: &'static str| {
            let newline = Newline::new(Bytes::from_static(delimiter.as_bytes()));
            let end = |data: &'static str| newline.apply(&[Input { data: Bytes::from(data), ..Input::default() }]);
            let once = end(data);
            assert_eq!(once, vec![Outcome::One(Bytes::from(expected).into())], "{data:?}");
            let twice = end(expected);
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
