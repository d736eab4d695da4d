//! What can go wrong with keys. No message holds a key.

use crate::meta;

/// A result of keys.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of keys.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No master key is set.
    #[error("no master key is set: set encryption.master_key_file, encryption.master_key or encryption.vault_url")]
    NoMaster,
    /// A text is no master key.
    #[error("{what} is not a master key: {reason}")]
    BadMaster {
        /// Where the text stands; never the text.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A data key was wrapped by a master key that this process does not have.
    #[error("it is wrapped by master key {wrapped_by}, and the master keys here are {here}")]
    OtherMaster {
        /// The id of the master key that is missing.
        wrapped_by: String,
        /// The ids of those that are set.
        here: String,
    },
    /// A wrapped key does not open: it, or what it is bound to, was changed.
    #[error("master key {master} does not open it: it was changed, or belongs to another stream or version")]
    Unauthentic {
        /// The master key's id.
        master: String,
    },
    /// The keeper of the master key refused.
    #[error("master key {master} was refused: {reason}")]
    Refused {
        /// The master key's id.
        master: String,
        /// What the keeper said.
        reason: String,
        /// Whether it may say otherwise later.
        is_retryable: bool,
    },
    /// The keeper of the master key does not answer.
    #[error("master key {master} cannot be reached: {reason}")]
    Unreachable {
        /// The master key's id.
        master: String,
        /// What happened.
        reason: String,
    },
    /// A stream has as many data keys as it may.
    #[error("the stream has {count} data keys, and the limit is {limit}; older ones go once their records are trimmed")]
    TooManyKeys {
        /// Its data keys.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
    /// The meta store failed.
    #[error(transparent)]
    Meta(#[from] meta::Error),
}

/// What is wrong with a data key, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    /// It, or the master key that wraps it, is not among those of this process.
    Missing,
    /// The keeper of its master key refuses, for now.
    Refused,
    /// The keeper of its master key does not answer.
    Away,
    /// Its master key does not open it, or what became of it is not known.
    Invalid,
    /// It was destroyed, and with it every record that it sealed.
    Destroyed,
}

impl Error {
    /// What is wrong with a key; `None` where something else failed.
    #[must_use]
    pub const fn fault(&self) -> Option<KeyFault> {
        match self {
            Self::NoMaster | Self::OtherMaster { .. } => Some(KeyFault::Missing),
            Self::Unauthentic { .. } | Self::Refused { is_retryable: false, .. } => Some(KeyFault::Invalid),
            Self::Refused { .. } => Some(KeyFault::Refused),
            Self::Unreachable { .. } => Some(KeyFault::Away),
            Self::BadMaster { .. } | Self::TooManyKeys { .. } | Self::NoRandom | Self::Meta(_) => None,
        }
    }

    /// Whether the same call may succeed later without a change of settings.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { is_retryable, .. } => *is_retryable,
            Self::Meta(error) => error.is_retryable(),
            _ => false,
        }
    }
}
