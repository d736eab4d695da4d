//! What wraps data keys: the contract of a master key, and the set of those that a process has.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{Error, KEY_BYTES, Result};

/// The bytes of a data key; overwritten when dropped.
pub type KeyMaterial = Zeroizing<[u8; KEY_BYTES]>;

/// A key that wraps data keys and never leaves its keeper.
///
/// `unwrap` MUST fail for bytes that this key did not wrap with the very same `bound_to`. Neither call may log or keep what
/// it is given. The id MUST tell one master key from another, MUST NOT tell the key, and MUST stay the same for the key.
#[async_trait]
pub trait MasterKey: Send + Sync + fmt::Debug + 'static {
    /// Names the key; it is stored beside what the key wrapped.
    fn id(&self) -> &str;

    /// Encrypts a data key.
    async fn wrap(&self, key: &KeyMaterial, bound_to: &[u8]) -> Result<Vec<u8>>;

    /// Decrypts a data key.
    async fn unwrap(&self, wrapped: &[u8], bound_to: &[u8]) -> Result<KeyMaterial>;
}

/// The master keys of a process: the first wraps, all unwrap.
#[derive(Debug, Clone, Default)]
pub struct MasterKeys(Vec<Arc<dyn MasterKey>>);

impl MasterKeys {
    /// Master keys; the first wraps.
    #[must_use]
    pub const fn new(masters: Vec<Arc<dyn MasterKey>>) -> Self {
        Self(masters)
    }

    /// The one that wraps.
    pub fn current(&self) -> Result<&Arc<dyn MasterKey>> {
        self.0.first().ok_or(Error::NoMaster)
    }

    /// The one of an id, to unwrap what it wrapped.
    pub fn by_id(&self, id: &str) -> Result<&Arc<dyn MasterKey>> {
        self.0.iter().find(|master| master.id() == id).ok_or_else(|| {
            let here: Vec<&str> = self.0.iter().map(|master| master.id()).collect();
            let here = if here.is_empty() { "none".to_owned() } else { here.join(", ") };
            Error::OtherMaster { wrapped_by: id.to_owned(), here }
        })
    }
}
