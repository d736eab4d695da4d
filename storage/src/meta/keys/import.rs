//! What imports keep: `import/<name>` what one does, `import-position/<name>` how far it is, `import-run/<name>/<number>` what
//! its runs did, `import-object/<name>/<url>/<version>` what became of each version of each object.
//!
//! The position outlives the import, as a delivery's does: one of the same name goes on where it ended.

use bytes::{BufMut, BytesMut};

use super::{Key, Stored, name, put_name_and_number, scan_prefix, split_name_and_number};
use crate::meta::{MetaStore, Result};

/// The key of an import.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImportKey {
    /// The import's name.
    pub name: String,
}

/// An import's declaration and wanted state.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImportValue {
    /// The declaration, in TOML.
    #[prost(string, tag = "1")]
    pub spec_toml: String,
    /// Whether it runs by itself.
    #[prost(enumeration = "ImportState", tag = "2")]
    pub state: i32,
    /// The stream that it puts into.
    #[prost(string, tag = "3")]
    pub stream: String,
    /// The principal that declared it and pays; empty where auth was off.
    #[prost(string, tag = "4")]
    pub owner: String,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "5")]
    pub created_at_ms: i64,
}

/// Whether an import runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ImportState {
    /// It runs when it is due.
    Running = 0,
    /// It does nothing, and keeps its position.
    Paused = 1,
}

/// The key of an import's position.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImportPositionKey {
    /// The import's name.
    pub import: String,
}

/// How far an import is. One value, so that one write moves all of it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImportPositionValue {
    /// The producer that its puts are named by: a random number.
    #[prost(uint64, tag = "1")]
    pub producer: u64,
    /// The sequence of the next put; where there is a current object, that of its next chunk, which may be stored already.
    #[prost(uint64, tag = "2")]
    pub next_sequence: u64,
    /// The number of the stream in the log that the sequences are of.
    #[prost(uint32, tag = "3")]
    pub stream_id: u32,
    /// The object that is being read.
    #[prost(message, optional, tag = "4")]
    pub current: Option<ImportCurrent>,
    /// The run under way.
    #[prost(message, optional, tag = "5")]
    pub run: Option<ImportRunValue>,
    /// The number that the next run gets.
    #[prost(uint64, tag = "6")]
    pub next_run: u64,
    /// Up to when the schedule was kept, in milliseconds since the Unix epoch.
    #[prost(int64, tag = "7")]
    pub scheduled_upto_ms: i64,
    /// When the position was written, in milliseconds since the Unix epoch.
    #[prost(int64, tag = "8")]
    pub moved_at_ms: i64,
    /// Of all runs.
    #[prost(message, optional, tag = "9")]
    pub totals: Option<ImportCounts>,
}

/// Which object is being read.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImportCurrent {
    /// Its URL.
    #[prost(string, tag = "1")]
    pub url: String,
    /// Which version of it.
    #[prost(uint64, tag = "2")]
    pub version: u64,
}

/// What a run, or all runs, saw and did.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ImportCounts {
    /// Objects below the prefix that the import is for.
    #[prost(uint64, tag = "1")]
    pub seen: u64,
    /// Objects whose last record was put.
    #[prost(uint64, tag = "2")]
    pub imported: u64,
    /// Objects that an earlier run had imported or given up.
    #[prost(uint64, tag = "3")]
    pub skipped: u64,
    /// Objects that were given up, or that the run could not read to their end.
    #[prost(uint64, tag = "4")]
    pub failed: u64,
    /// Records that were put.
    #[prost(uint64, tag = "5")]
    pub records: u64,
    /// Their bytes: data plus partition keys.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
    /// Rows that were set aside.
    #[prost(uint64, tag = "7")]
    pub set_aside: u64,
    /// Rows that had been set aside and were taken up again: each is a record, or set aside once more.
    #[prost(uint64, tag = "8")]
    pub replayed: u64,
}

/// The key of a run that ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImportRunKey {
    /// The import's name.
    pub import: String,
    /// The run's number, from 1.
    pub number: u64,
}

/// A run.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImportRunValue {
    /// Its number, from 1.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// What began it.
    #[prost(enumeration = "ImportTrigger", tag = "2")]
    pub trigger: i32,
    /// In milliseconds since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub begun_at_ms: i64,
    /// In milliseconds since the Unix epoch; zero while it runs.
    #[prost(int64, tag = "4")]
    pub ended_at_ms: i64,
    /// What it did.
    #[prost(message, optional, tag = "5")]
    pub counts: Option<ImportCounts>,
    /// Why it ended early; empty where it did not.
    #[prost(string, tag = "6")]
    pub error: String,
}

/// What begins a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ImportTrigger {
    /// Somebody asked for it.
    Manual = 0,
    /// The schedule.
    Schedule = 1,
    /// An object that was not there before.
    Arrival = 2,
    /// Somebody asked for what was set aside to be taken up again.
    Replay = 3,
    /// The same, each row as it is.
    ReplayAsIs = 4,
}

/// The key of one version of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImportObjectKey {
    /// The import's name.
    pub import: String,
    /// The object's URL.
    pub url: String,
    /// The hash of what tells the version from another.
    pub version: u64,
}

/// What became of an object.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImportObjectValue {
    /// How far it is.
    #[prost(enumeration = "ImportObjectState", tag = "1")]
    pub state: i32,
    /// How it is read, in JSON: what holds until its end, whatever is declared meanwhile.
    #[prost(string, tag = "2")]
    pub options_json: String,
    /// The number of the next chunk.
    #[prost(uint64, tag = "3")]
    pub next_chunk: u64,
    /// Rows before the next chunk.
    #[prost(uint64, tag = "4")]
    pub rows: u64,
    /// Bytes of text, decompressed, before the next chunk.
    #[prost(uint64, tag = "5")]
    pub text_bytes: u64,
    /// Records that were put.
    #[prost(uint64, tag = "6")]
    pub records: u64,
    /// Their bytes: data plus partition keys.
    #[prost(uint64, tag = "7")]
    pub bytes: u64,
    /// Rows that were set aside.
    #[prost(uint64, tag = "8")]
    pub set_aside: u64,
    /// Why it was given up, or what fails at present.
    #[prost(string, tag = "9")]
    pub error: String,
    /// The run that took it up last.
    #[prost(uint64, tag = "10")]
    pub run: u64,
    /// When it was taken up first, in milliseconds since the Unix epoch.
    #[prost(int64, tag = "11")]
    pub begun_at_ms: i64,
    /// When it was done with, in milliseconds since the Unix epoch; zero before.
    #[prost(int64, tag = "12")]
    pub ended_at_ms: i64,
    /// The object's size, in bytes.
    #[prost(uint64, tag = "13")]
    pub size_bytes: u64,
    /// When the object was written, in milliseconds since the Unix epoch.
    #[prost(int64, tag = "14")]
    pub written_at_ms: i64,
    /// What the store calls the version.
    #[prost(string, tag = "15")]
    pub e_tag: String,
}

/// How far an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ImportObjectState {
    /// Some of it may be in the stream; the next run goes on with it.
    Open = 0,
    /// All of it is in the stream, or set aside.
    Imported = 1,
    /// It was given up.
    Failed = 2,
    /// It was removed or written over while it was read; what came before is in the stream.
    Changed = 3,
}

/// Reads the objects that an import knows, by URL.
pub async fn scan_objects(
    store: &dyn MetaStore,
    import: &str,
) -> Result<Vec<(ImportObjectKey, Stored<ImportObjectValue>)>> {
    let prefix = format!("{}{import}/", ImportObjectKey::FAMILY);
    scan_prefix(store, prefix.as_bytes()).await
}

/// Reads the runs of an import that ended, oldest first.
pub async fn scan_runs(store: &dyn MetaStore, import: &str) -> Result<Vec<(ImportRunKey, Stored<ImportRunValue>)>> {
    let prefix = format!("{}{import}/", ImportRunKey::FAMILY);
    scan_prefix(store, prefix.as_bytes()).await
}

impl Key for ImportKey {
    type Value = ImportValue;
    const FAMILY: &'static str = "import/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.name.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        name(rest).map(|name| Self { name })
    }
}

impl Key for ImportPositionKey {
    type Value = ImportPositionValue;
    const FAMILY: &'static str = "import-position/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.import.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        name(rest).map(|import| Self { import })
    }
}

impl Key for ImportRunKey {
    type Value = ImportRunValue;
    const FAMILY: &'static str = "import-run/";

    fn encode_rest(&self, key: &mut BytesMut) {
        put_name_and_number(key, &self.import, self.number);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        split_name_and_number(rest).map(|(import, number)| Self { import, number })
    }
}

impl Key for ImportObjectKey {
    type Value = ImportObjectValue;
    const FAMILY: &'static str = "import-object/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.import.as_bytes());
        key.put_u8(b'/');
        key.put_slice(self.url.as_bytes());
        key.put_u8(b'/');
        key.put_u64(self.version);
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        let (rest, version) = rest.split_last_chunk()?;
        // An import's name has no slash, a URL has some.
        let (import, url) = std::str::from_utf8(rest.strip_suffix(b"/")?).ok()?.split_once('/')?;
        Some(Self { import: import.to_owned(), url: url.to_owned(), version: u64::from_be_bytes(*version) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::meta::keys::{delete, put};
    use crate::meta::memory::MemoryMeta;

    proptest! {
        #[test]
        fn keys_come_back(import in "[a-zA-Z0-9._-]{1,40}", url in ".{0,60}", number: u64) {
            fn check<K: Key>(key: &K) {
                assert_eq!(K::decode(&key.encode()).as_ref(), Some(key));
            }
            check(&ImportKey { name: import.clone() });
            check(&ImportPositionKey { import: import.clone() });
            check(&ImportRunKey { import: import.clone(), number });
            check(&ImportObjectKey { import, url, version: number });
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            for family in ["import/", "import-position/", "import-run/", "import-object/"] {
                let key = [family.as_bytes(), &bytes].concat();
                let _ = (ImportKey::decode(&key), ImportPositionKey::decode(&key));
                if let Some(decoded) = ImportRunKey::decode(&key) {
                    prop_assert_eq!(&decoded.encode()[..], &key[..]);
                }
                if let Some(decoded) = ImportObjectKey::decode(&key) {
                    prop_assert_eq!(&decoded.encode()[..], &key[..]);
                }
            }
        }

        #[test]
        fn runs_sort_by_number(a: u64, b: u64) {
            let key = |number| ImportRunKey { import: "i".to_owned(), number }.encode();
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        }
    }

    /// `a` is a prefix of `a-b` and of `a.b`, and none of their objects or runs are its own.
    #[tokio::test]
    async fn a_scan_takes_one_import_only() {
        let store = MemoryMeta::new();
        let object = |import: &str, url: &str| ImportObjectKey { import: import.into(), url: url.into(), version: 7 };
        let run = |import: &str, number| ImportRunKey { import: import.into(), number };
        let mut writes = Vec::new();
        for import in ["a", "a-b", "a.b"] {
            writes.push(put(&object(import, "s3://b/x/y"), &ImportObjectValue::default()));
            writes.push(put(&run(import, 0x2f2f), &ImportRunValue::default()));
            writes.push(put(&run(import, 2), &ImportRunValue::default()));
        }
        store.commit(vec![], writes).await.unwrap();
        let objects = scan_objects(&store, "a").await.unwrap();
        assert_eq!(objects.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [object("a", "s3://b/x/y")]);
        let runs = scan_runs(&store, "a").await.unwrap();
        assert_eq!(runs.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [run("a", 2), run("a", 0x2f2f)]);
        store.commit(vec![], vec![delete(&run("a", 2))]).await.unwrap();
        assert_eq!(scan_runs(&store, "a").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn values_come_back() {
        let store = MemoryMeta::new();
        let counts = ImportCounts {
            seen: 9,
            imported: 4,
            skipped: 3,
            failed: 2,
            records: 7,
            bytes: 8,
            set_aside: 1,
            replayed: 6,
        };
        let run = ImportRunValue {
            number: 3,
            trigger: ImportTrigger::Arrival.into(),
            begun_at_ms: 1,
            ended_at_ms: 2,
            counts: Some(counts),
            error: "away".into(),
        };
        let position = ImportPositionValue {
            producer: u64::MAX,
            next_sequence: 5,
            stream_id: 6,
            current: Some(ImportCurrent { url: "s3://b/x".into(), version: 9 }),
            run: Some(run.clone()),
            next_run: 4,
            scheduled_upto_ms: 10,
            moved_at_ms: 11,
            totals: Some(counts),
        };
        let key = ImportPositionKey { import: "i".into() };
        store.commit(vec![], vec![put(&key, &position)]).await.unwrap();
        assert_eq!(super::super::get(&store, &key).await.unwrap().unwrap().value, position);
        let key = ImportRunKey { import: "i".into(), number: 3 };
        store.commit(vec![], vec![put(&key, &run)]).await.unwrap();
        assert_eq!(super::super::get(&store, &key).await.unwrap().unwrap().value, run);
    }
}
