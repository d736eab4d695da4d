//! `table/<namespace>/<name>`: the pointer of a table. Whoever swaps it has committed.

use bytes::{BufMut, BytesMut};

use super::{Key, name};

/// The key of a table's pointer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableKey {
    /// The namespace; it holds no `/`.
    pub namespace: String,
    /// The table's name within it.
    pub name: String,
}

/// A table's pointer and declaration.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TableValue {
    /// The URL of the current Iceberg metadata file.
    #[prost(string, tag = "1")]
    pub metadata_location: String,
    /// The declaration, in TOML; empty where nobody declared the table.
    #[prost(string, tag = "2")]
    pub spec_toml: String,
}

impl Key for TableKey {
    type Value = TableValue;
    const FAMILY: &'static str = "table/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.namespace.as_bytes());
        key.put_u8(b'/');
        key.put_slice(self.name.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        let slash = rest.iter().position(|&byte| byte == b'/')?;
        Some(Self { namespace: name(&rest[..slash])?, name: name(&rest[slash + 1..])? })
    }
}
