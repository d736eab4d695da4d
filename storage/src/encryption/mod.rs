//! Encryption at rest: a data key for each stream and rotation seals the log's blocks, and a master key wraps the data keys.
//!
//! [`DataKey`] seals and opens bytes; [`Keyring`] has the data keys that are in use, for the log; [`KeyStore`] keeps them
//! wrapped in the meta store; [`MasterKey`] is what wraps them. No key may ever be shown, logged or stored unwrapped.

mod error;
mod data_key;
mod keyring;
mod master;
mod local;
mod store;
#[cfg(test)]
mod tests;

pub use data_key::{DataKey, KEY_BYTES, KeyVersion};
pub(crate) use data_key::{NONCE_BYTES, TAG_BYTES};
pub use error::{Error, KeyFault, Result};
pub use keyring::{KeyUnusable, Keyring};
pub use local::{LocalKey, parse_local_keys};
pub use master::{KeyMaterial, MasterKey, MasterKeys};
pub use store::{KEYS_MAX, KeyState, KeyStore, NewKey};
