//! The modules that the meta store has, in memory, and how each change is stored: in one commit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use millrace_storage::meta::keys::transform::{
    self, PART_BYTES_MAX, Sha256, TransformCompiledKey, TransformCompiledValue, TransformKey, TransformPartKey,
    TransformPartValue, TransformValue, TransformVersionKey, TransformVersionValue,
};
use millrace_storage::meta::{Condition, MetaStore, Write, keys};
use millrace_storage::time::Timestamp;

use super::name::ModuleName;
use crate::error::{Error, Kind, Result};
use crate::transform::wasm::digest;

/// A module.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Which of its versions are in use.
    pub value: TransformValue,
    /// By number.
    pub versions: BTreeMap<u32, Version>,
}

/// A version of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The digest of the component.
    pub sha256: Sha256,
    /// Its size.
    pub bytes: u64,
    /// When it was pushed.
    pub created_at: Timestamp,
}

/// All modules, by name.
pub(super) type Modules = BTreeMap<ModuleName, Module>;

/// Reads all modules, without their bytes.
pub(super) async fn read(meta: &dyn MetaStore) -> Result<Modules> {
    let name = |name: &str| name.parse::<ModuleName>().map_err(|error| Error::new(Kind::DataLoss, error));
    let mut modules = Modules::new();
    for (key, stored) in keys::scan::<TransformKey>(meta).await? {
        modules.insert(name(&key.name)?, Module { value: stored.value, versions: BTreeMap::new() });
    }
    for (key, stored) in keys::scan::<TransformVersionKey>(meta).await? {
        let TransformVersionValue { sha256, bytes, created_at_ms } = stored.value;
        let sha256 = Sha256::try_from(&sha256[..]).map_err(|_| {
            let words = format_args!("version {} of module {} has a digest that is none", key.version, key.name);
            Error::new(Kind::DataLoss, words)
        })?;
        if let Some(module) = modules.get_mut(&name(&key.name)?) {
            module.versions.insert(key.version, Version { sha256, bytes, created_at: Timestamp(created_at_ms) });
        }
    }
    Ok(modules)
}

/// The bytes of a module, checked against the digest that they are stored under.
pub(super) async fn read_bytes(meta: &dyn MetaStore, sha256: Sha256) -> Result<Vec<u8>> {
    let parts = transform::scan_parts(meta, sha256).await?;
    let bytes: Vec<u8> = parts.iter().flat_map(|(_, stored)| stored.value.bytes.iter().copied()).collect();
    if digest(&bytes) != sha256 {
        let words = format_args!("the bytes of the module {sha256} are not what was pushed; push it again");
        return Err(Error::new(Kind::DataLoss, words));
    }
    Ok(bytes)
}

/// A change of one module, as one commit.
#[derive(Debug, Default)]
pub(super) struct Change {
    conditions: Vec<Condition>,
    writes: Vec<Write>,
}

impl Change {
    /// Of a module that is as it was seen.
    pub(super) fn of(name: &ModuleName, seen: Option<&Module>) -> Self {
        let key = TransformKey { name: name.to_string() };
        let stored = seen.map(|module| keys::stored(&key, module.value));
        Self { conditions: vec![keys::as_found(&key, stored.as_ref())], writes: Vec::new() }
    }

    /// Sets which versions are in use.
    pub(super) fn set(mut self, name: &ModuleName, value: &TransformValue) -> Self {
        self.writes.push(keys::put(&TransformKey { name: name.to_string() }, value));
        self
    }

    /// Adds a version with its bytes, and the digest of what they were compiled to.
    pub(super) fn add(
        mut self,
        name: &ModuleName,
        number: u32,
        version: &Version,
        component: &Bytes,
        compiled: (u64, Sha256),
    ) -> Self {
        let value = TransformVersionValue {
            sha256: Bytes::copy_from_slice(&version.sha256.0),
            bytes: version.bytes,
            created_at_ms: version.created_at.as_millis(),
        };
        self.writes.push(keys::put(&TransformVersionKey { name: name.to_string(), version: number }, &value));
        for (part, start) in (0..).zip((0..component.len()).step_by(PART_BYTES_MAX)) {
            let bytes = component.slice(start..component.len().min(start + PART_BYTES_MAX));
            let key = TransformPartKey { sha256: version.sha256, part };
            self.writes.push(keys::put(&key, &TransformPartValue { bytes }));
        }
        let (engine, code) = compiled;
        self.writes.push(compiled_write(version.sha256, engine, code));
        self
    }

    /// Removes versions, and the bytes that no other version is of.
    pub(super) fn remove(mut self, name: &ModuleName, versions: &[(u32, Version)], all: &Modules) -> Self {
        let gone: BTreeSet<u32> = versions.iter().map(|(number, _)| *number).collect();
        let kept: BTreeSet<Sha256> = all
            .iter()
            .flat_map(|(of, module)| module.versions.iter().map(move |(number, version)| (of, number, version)))
            .filter(|(of, number, _)| *of != name || !gone.contains(number))
            .map(|(.., version)| version.sha256)
            .collect();
        for (number, version) in versions {
            self.writes.push(keys::delete(&TransformVersionKey { name: name.to_string(), version: *number }));
            if kept.contains(&version.sha256) {
                continue;
            }
            let parts = version.bytes.div_ceil(PART_BYTES_MAX as u64);
            for part in 0..u32::try_from(parts).unwrap_or(u32::MAX) {
                self.writes.push(keys::delete(&TransformPartKey { sha256: version.sha256, part }));
            }
        }
        self
    }

    /// Removes the module itself.
    pub(super) fn delete(mut self, name: &ModuleName) -> Self {
        self.writes.push(keys::delete(&TransformKey { name: name.to_string() }));
        self
    }

    pub(super) async fn commit(self, meta: &dyn MetaStore) -> Result<()> {
        Ok(meta.commit(self.conditions, self.writes).await?)
    }
}

/// Notes what a module was compiled to.
pub(super) fn compiled_write(sha256: Sha256, engine: u64, code: Sha256) -> Write {
    let value = TransformCompiledValue { sha256: Bytes::copy_from_slice(&code.0) };
    keys::put(&TransformCompiledKey { sha256, engine }, &value)
}
