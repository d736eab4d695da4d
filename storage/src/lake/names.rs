//! The names of a batch's files: a pure function of delivery, batch and partition, so that a batch that is done again
//! overwrites its files and never adds to them.

use ring::digest;

use super::prefix::{RANDOM, RANDOM_LEN};

/// What random strings are made of: 32 characters that no file system confuses.
const RANDOM_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Milliseconds of an hour.
pub(crate) const HOUR_MILLIS: i64 = 3_600_000;

/// Whose files they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNames {
    /// The delivery's name.
    pub delivery: String,
    /// The batch's number within the delivery.
    pub batch: u64,
}

impl FileNames {
    /// The name of one part of the batch in one partition, such as `flights-000000000042-000.parquet`.
    #[must_use]
    pub fn part(&self, part: u32, extension: &str) -> String {
        format!("{}-{:012}-{part:03}.{extension}", self.delivery, self.batch)
    }

    /// An evaluated prefix with its random strings filled in. They spread objects over a store's name space; each follows
    /// from the delivery, the batch, the rest of the prefix and its place in it, so that the same batch gets the same again.
    #[must_use]
    pub fn folder(&self, prefix: &str) -> String {
        let mut folder = String::with_capacity(prefix.len() + RANDOM_LEN);
        let mut parts = prefix.split(RANDOM);
        folder.push_str(parts.next().unwrap_or_default());
        for (index, part) in parts.enumerate() {
            let seed = format!("{}\n{}\n{index}\n{prefix}", self.delivery, self.batch);
            let hash = digest::digest(&digest::SHA256, seed.as_bytes());
            let letters = hash.as_ref().iter().take(RANDOM_LEN);
            folder.extend(letters.map(|byte| char::from(RANDOM_ALPHABET[usize::from(byte % 32)])));
            folder.push_str(part);
        }
        folder
    }

    /// The name of a file that has no parts, such as `flights-000000000042.jsonl`.
    #[must_use]
    pub fn whole(&self, extension: &str) -> String {
        format!("{}-{:012}.{extension}", self.delivery, self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_batch() {
        let names = FileNames { delivery: "flights".into(), batch: 42 };
        assert_eq!(names.part(0, "parquet"), "flights-000000000042-000.parquet");
        assert_eq!(names.whole("jsonl"), "flights-000000000042.jsonl");
    }

    #[test]
    fn random_strings_follow_from_what_they_name() {
        let names = |batch| FileNames { delivery: "d".into(), batch };
        let prefix = "a/\0/\0/b";
        let folder = names(1).folder(prefix);
        assert_eq!(folder, names(1).folder(prefix), "the same batch again");
        let parts: Vec<&str> = folder.split('/').collect();
        assert_eq!((parts[0], parts[3], parts[1].len(), parts[2].len()), ("a", "b", 11, 11));
        assert_ne!(parts[1], parts[2], "each use is another");
        assert_ne!(folder, names(2).folder(prefix));
        assert_ne!(parts[1], names(1).folder("c/\0/").split('/').nth(1).unwrap());
        assert_eq!(names(1).folder("plain/"), "plain/");
    }
}
