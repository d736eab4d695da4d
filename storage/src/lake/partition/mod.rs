//! Partitions: transforms of columns that a table is partitioned by ([`Partitioning`]), and partition keys, which are values of
//! records that become part of object names.
//!
//! A key comes from data, so anything may be in it. It must never leave its folder, and must never keep an object from
//! being written: what cannot be made safe is refused, with words for the record that is set aside.

mod partitioning;
mod values;
mod query;
mod rows;
mod count;

pub use count::{PartitionCounter, PartitionSet};
pub use partitioning::{PARTITION_FIELDS_MAX, Partitioning};
pub use query::KeyQuery;
pub use rows::RowKeys;
pub use values::{PartitionValue, PartitionValues};

use std::fmt::Write as _;

/// The longest key, in bytes, once it is safe.
pub const KEY_BYTES_MAX: usize = 200;

/// The value as a part of an object's name: what Hive or a store gives a meaning to is percent-encoded.
pub fn safe_key(name: &str, value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err(format!("the partition key {name:?} is empty"));
    }
    let mut safe = String::with_capacity(value.len());
    // A value of dots alone could be a folder that leads out.
    let is_dots = value.bytes().all(|byte| byte == b'.');
    for character in value.chars() {
        if is_dots || character.is_control() || "\"#%'*/:<=>?[\\]^`{|}~".contains(character) {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                write!(safe, "%{byte:02X}").expect("writing to a string cannot fail");
            }
        } else {
            safe.push(character);
        }
        if safe.len() > KEY_BYTES_MAX {
            let bytes = value.len();
            return Err(format!(
                "the partition key {name:?} has a value of {bytes} bytes, which needs more than the limit of \
                 {KEY_BYTES_MAX} in an object's name"
            ));
        }
    }
    Ok(safe)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_a_meaning_is_encoded() {
        for (value, expected) in [
            ("plain-1_A.b", "plain-1_A.b"),
            ("with space, ü", "with space, ü"),
            ("../../etc", "..%2F..%2Fetc"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("a\\b", "a%5Cb"),
            ("a\u{0}\n\u{85}b", "a%00%0A%C2%85b"),
            ("100%", "100%25"),
            ("k=v", "k%3Dv"),
        ] {
            assert_eq!(safe_key("k", value).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn empty_and_long_values_are_refused() {
        assert!(safe_key("k", "").unwrap_err().contains("\"k\" is empty"));
        assert_eq!(safe_key("k", &"a".repeat(200)).unwrap().len(), 200);
        let error = safe_key("k", &"a".repeat(1_000)).unwrap_err();
        assert!(error.contains("1000 bytes") && error.contains("200"), "{error}");
        assert!(safe_key("k", &"/".repeat(67)).is_err(), "encoded it is longer");
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_folder(value in ".{1,60}") {
            if let Ok(safe) = safe_key("k", &value) {
                prop_assert!(!safe.contains('/') && safe != "." && safe != ".." && !safe.chars().any(char::is_control));
                prop_assert!(safe.len() <= KEY_BYTES_MAX);
            }
        }
    }
}
