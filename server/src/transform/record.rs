//! What a transform is given and what it gives: records with what may be seen of them, and the partition keys that come along.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millrace_storage::log::{Offset, ShardId};
use millrace_storage::time::Timestamp;

/// The most partition keys that one output may have.
pub const PARTITION_KEYS_MAX: usize = 50;
/// The most bytes of a partition key's name.
pub const PARTITION_KEY_NAME_BYTES_MAX: usize = 64;
/// The most bytes of a partition key's value.
pub const PARTITION_KEY_VALUE_BYTES_MAX: usize = 1_024;

/// Where a record stands in its stream, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Its shard.
    pub shard: ShardId,
    /// Its offset there.
    pub offset: Offset,
    /// When it was appended.
    pub arrival_time: Timestamp,
}

impl Default for Origin {
    fn default() -> Self {
        Self { shard: ShardId(0), offset: Offset::ZERO, arrival_time: Timestamp::default() }
    }
}

/// What a transform may see of a record: all that is stored of it, and nothing that another run would not see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Input {
    /// Which of the chunk's records it is, or was part of.
    pub record: usize,
    /// Where that record stands.
    pub origin: Origin,
    /// Its number among the parts that the steps before made of the record, from 0.
    pub part: u32,
    /// The record's, or that of the user record of an aggregate.
    pub partition_key: Bytes,
    /// The bytes to transform.
    pub data: Bytes,
    /// What the steps before gave it.
    pub partition_keys: PartitionKeys,
}

impl Input {
    /// A name that no other input of the same step has: shard, offset and part.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}:{}", self.origin.shard, self.origin.offset, self.part)
    }

    /// Appends [`Input::id`], without the formatter's detours: a module is given one with each record.
    pub(super) fn put_id(&self, bytes: &mut Vec<u8>) {
        put_decimal(bytes, self.origin.shard.0.into());
        bytes.push(b':');
        put_decimal(bytes, self.origin.offset.0);
        bytes.push(b':');
        put_decimal(bytes, self.part.into());
    }
}

fn put_decimal(bytes: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len() - 1;
    while number > 9 {
        digits[at] += (number % 10) as u8;
        number /= 10;
        at -= 1;
    }
    digits[at] += number as u8;
    bytes.extend_from_slice(&digits[at..]);
}

/// One thing that a transform made of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Its bytes.
    pub data: Bytes,
    /// What folders and later steps may go by. They are added to those that the input had; the same name is replaced.
    pub partition_keys: PartitionKeys,
}

impl From<Bytes> for Output {
    fn from(data: Bytes) -> Self {
        Self { data, partition_keys: PartitionKeys::default() }
    }
}

/// Names and values that a transform gives an output, in the order of their names. A clone shares them, and no keys cost
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionKeys(Option<Arc<BTreeMap<String, String>>>);

impl PartitionKeys {
    /// With these names and values; of the same name the last one counts.
    ///
    /// # Errors
    /// Past [`PARTITION_KEYS_MAX`], [`PARTITION_KEY_NAME_BYTES_MAX`] or [`PARTITION_KEY_VALUE_BYTES_MAX`], or where a name is
    /// empty.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let mut keys = BTreeMap::new();
        for (name, value) in pairs {
            if name.is_empty() || name.len() > PARTITION_KEY_NAME_BYTES_MAX {
                let bytes = name.len();
                return Err(format!(
                    "a partition key's name of {bytes} bytes is outside 1 to {PARTITION_KEY_NAME_BYTES_MAX}"
                ));
            }
            if value.len() > PARTITION_KEY_VALUE_BYTES_MAX {
                let bytes = value.len();
                return Err(format!(
                    "the partition key {name:?} of {bytes} bytes is past the limit of {PARTITION_KEY_VALUE_BYTES_MAX}"
                ));
            }
            keys.insert(name, value);
        }
        Self::bounded(keys)
    }

    fn bounded(keys: BTreeMap<String, String>) -> Result<Self, String> {
        let count = keys.len();
        if count > PARTITION_KEYS_MAX {
            return Err(format!("{count} partition keys are past the limit of {PARTITION_KEYS_MAX}"));
        }
        Ok(Self((count > 0).then(|| Arc::new(keys))))
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.get(name).map(String::as_str)
    }

    /// All names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|keys| keys.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What they take in memory, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len() + 64).sum()
    }

    /// These, with `later` laid over them.
    ///
    /// # Errors
    /// Past [`PARTITION_KEYS_MAX`].
    pub fn overlaid(&self, later: Self) -> Result<Self, String> {
        match (&self.0, &later.0) {
            (None, _) => Ok(later),
            (_, None) => Ok(self.clone()),
            (Some(before), Some(after)) => {
                let mut keys = before.as_ref().clone();
                keys.extend(after.iter().map(|(name, value)| (name.clone(), value.clone())));
                Self::bounded(keys)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pairs: &[(&str, &str)]) -> Result<PartitionKeys, String> {
        PartitionKeys::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn an_id_is_the_same_either_way() {
        for number in [0, 9, 10, 4_294_967_295, 10_000_000_000_000_000_000, u64::MAX] {
            let part = u32::try_from(number).unwrap_or(u32::MAX);
            let origin = Origin { shard: ShardId(part), offset: Offset(number), ..Origin::default() };
            let input = Input { origin, part, ..Input::default() };
            let mut bytes = b"x".to_vec();
            input.put_id(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), format!("x{}", input.id()));
        }
    }

    #[test]
    fn later_keys_go_before_earlier_ones() {
        let before = keys(&[("a", "1"), ("b", "2")]).unwrap();
        let both = before.overlaid(keys(&[("b", "3"), ("c", "4")]).unwrap()).unwrap();
        assert_eq!(both.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3"), ("c", "4")]);
        assert_eq!(before.overlaid(PartitionKeys::default()).unwrap(), before);
        assert_eq!(PartitionKeys::default().overlaid(before.clone()).unwrap(), before);
        assert_eq!((before.get("b"), before.get("z")), (Some("2"), None));
        assert!(keys(&[]).unwrap().is_empty() && !before.is_empty());
    }

    #[test]
    fn limits_hold_at_the_limit_and_not_past_it() {
        let (name, value) = ("n".repeat(PARTITION_KEY_NAME_BYTES_MAX), "v".repeat(PARTITION_KEY_VALUE_BYTES_MAX));
        assert!(keys(&[(&name, &value)]).is_ok());
        assert!(keys(&[(&format!("{name}n"), "v")]).unwrap_err().contains("64"));
        assert!(keys(&[("n", &format!("{value}v"))]).unwrap_err().contains("1025 bytes"));
        assert!(keys(&[("", "v")]).unwrap_err().contains("0 bytes"));
        let many = |count: usize| PartitionKeys::new((0..count).map(|index| (index.to_string(), String::new())));
        let full = many(PARTITION_KEYS_MAX).unwrap();
        assert!(many(PARTITION_KEYS_MAX + 1).unwrap_err().contains("51"));
        assert!(full.overlaid(keys(&[("one more", "")]).unwrap()).is_err());
        assert!(full.overlaid(keys(&[("0", "again")]).unwrap()).is_ok());
    }
}
