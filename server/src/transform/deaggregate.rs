//! `deaggregate`: what the Kinesis Producer Library packed into one record becomes records again, each with its own key.
//!
//! What is no whole aggregate passes as it is. All user records are taken, also those whose hash key belongs to another shard
//! after a reshard: leaving them out, as readers of that library do in the hope that its producer sends them again, could
//! lose what was acknowledged.

use bytes::Bytes;
use millrace_proto::aggregate;

use super::Chain;

/// What goes into a chain: a record, or a user record of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Which of the given records it is or was part of.
    pub record: usize,
    /// Its own.
    pub partition_key: Bytes,
    /// Its own.
    pub data: Bytes,
}

impl Chain {
    /// What goes into the steps for records given as key and data, in their order. An aggregate of no user records gives
    /// nothing.
    pub fn inputs<'a>(&self, records: impl Iterator<Item = (&'a Bytes, &'a Bytes)>) -> Vec<Input> {
        let mut inputs = Vec::with_capacity(records.size_hint().0);
        for (record, (partition_key, data)) in records.enumerate() {
            match self.deaggregate.then(|| aggregate::unpack(data)).flatten() {
                Some(parts) => inputs.extend(parts.into_iter().map(|part| Input {
                    record,
                    partition_key: part.partition_key,
                    data: part.data,
                })),
                None => inputs.push(Input { record, partition_key: partition_key.clone(), data: data.clone() }),
            }
        }
        inputs
    }
}

#[cfg(test)]
mod tests {
    use millrace_proto::aggregate::Aggregate;

    use super::*;
    use crate::transform::TransformSpec;

    #[test]
    fn aggregates_are_taken_apart_and_others_pass() {
        let mut aggregate = Aggregate::new();
        aggregate.push("a", None, b"1");
        aggregate.push("b", Some("7"), b"2");
        let whole = aggregate.finish();
        let mut broken = whole.to_vec();
        broken[6] ^= 1;
        let broken = Bytes::from(broken);
        let (key, plain) = (Bytes::from_static(b"k"), Bytes::from_static(b"{}"));
        let empty = Aggregate::new().finish();
        let records = [(&key, &plain), (&key, &whole), (&key, &empty), (&key, &broken)];
        let seen = |specs: &[TransformSpec]| -> Vec<(usize, Bytes, Bytes)> {
            let inputs = Chain::new(specs).inputs(records.into_iter());
            inputs.into_iter().map(|input| (input.record, input.partition_key, input.data)).collect()
        };
        let part = |key: &'static str, data: &'static str| (1, Bytes::from(key), Bytes::from(data));
        let expected =
            [(0, key.clone(), plain.clone()), part("a", "1"), part("b", "2"), (3, key.clone(), broken.clone())];
        assert_eq!(seen(&[TransformSpec::Deaggregate, TransformSpec::Split]), expected);
        assert_eq!(seen(&[TransformSpec::Split]).len(), 4);
        assert_eq!(seen(&[])[1], (1, key.clone(), whole.clone()));
    }
}
