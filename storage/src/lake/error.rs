//! What can go wrong in the lake: coarse kinds that tell the caller what to do.
//!
//! Every message names the object and the store. No message and no debug output holds a secret.

use std::io;

/// A lake result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the lake.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The object is not there.
    #[error("{object} is not in the store {store}")]
    NotFound {
        /// The object's path.
        object: String,
        /// The store's URL.
        store: String,
    },
    /// The object is there already, or is not the expected version any more.
    #[error("{object} in the store {store} is there already or has changed: {reason}")]
    AlreadyExists {
        /// The object's path.
        object: String,
        /// The store's URL.
        store: String,
        /// What the store said.
        reason: String,
    },
    /// The store does not let these credentials, or this user, do that.
    #[error("the store {store} denies access to {object}: {reason}; check its credentials and rights")]
    PermissionDenied {
        /// The object's path.
        object: String,
        /// The store's URL.
        store: String,
        /// What the store said.
        reason: String,
    },
    /// The store does not answer or answers with a failure of its own. A full disk counts: it may be given space.
    #[error("the store {store} failed on {object}: {reason}")]
    Unavailable {
        /// The object's path.
        object: String,
        /// The store's URL.
        store: String,
        /// What the store said.
        reason: String,
    },
    /// Bytes are not what was written.
    #[error("{object} in the store {store} is corrupt: {reason}")]
    Corrupt {
        /// The object's path.
        object: String,
        /// The store's URL.
        store: String,
        /// What the check found.
        reason: String,
    },
    /// The caller asks for what cannot be.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// Whether the same call may succeed later without a change by the caller.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether a write that failed so may be in the store nevertheless.
    #[must_use]
    pub const fn may_have_applied(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Sorts an error of the object store into its kind. `store` is the store's URL, `object` the path.
    pub(crate) fn of_store(store: &str, object: &str, error: &object_store::Error) -> Self {
        use object_store::Error as E;
        let (object, store, reason) = (object.to_owned(), store.to_owned(), reason_of(error));
        match error {
            E::NotFound { .. } => Self::NotFound { object, store },
            E::AlreadyExists { .. } | E::Precondition { .. } => Self::AlreadyExists { object, store, reason },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Self::PermissionDenied { object, store, reason },
            E::InvalidPath { .. } | E::NotSupported { .. } | E::NotImplemented { .. } => {
                Self::Invalid(format!("the store {store} cannot serve {object}: {reason}"))
            }
            _ => match io_kind(error) {
                Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                    Self::PermissionDenied { object, store, reason }
                }
                _ => Self::Unavailable { object, store, reason },
            },
        }
    }
}

/// The messages of an error and of its sources, each once.
fn reason_of(error: &dyn std::error::Error) -> String {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !reason.contains(&text) {
            reason.push_str(": ");
            reason.push_str(&text);
        }
        source = error.source();
    }
    reason
}

/// The kind of the operating system's error below `error`, where one is there.
fn io_kind(error: &dyn std::error::Error) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = error.source();
    }
    None
}
