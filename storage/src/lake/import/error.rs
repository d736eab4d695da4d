//! Why an object cannot be read.

use crate::lake;

/// Why an object cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The store failed; [`lake::Error::is_retryable`] tells whether it may answer later.
    #[error(transparent)]
    Store(#[from] lake::Error),
    /// The object is not what was listed any more.
    #[error("the object was removed or written over while it was read")]
    Changed,
    /// The object is not of its format; reading it again finds the same.
    #[error("{0}")]
    Unreadable(String),
}

impl ReadError {
    /// Whether the same read may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Changed | Self::Unreadable(_) => false,
        }
    }
}
