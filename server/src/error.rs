//! The server's errors: coarse kinds that tell a caller what to do, with words that name the object, the value and the limit.

use std::fmt;
use std::time::Duration;

use millrace_storage::encryption::KeyFault;

/// A result of the server's services.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error. `api::status` maps each to a gRPC code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The request breaks a rule; the same request can never succeed.
    Invalid,
    /// Nobody knows the caller: credentials are missing, wrong, or no longer good.
    Unauthenticated,
    /// The caller is known, and no grant allows it this.
    PermissionDenied,
    /// The named object does not exist.
    NotFound,
    /// An object has the name already.
    AlreadyExists,
    /// The object's state forbids it; change that first.
    FailedPrecondition,
    /// The caller lost its lease on a shard: another may hold it, and what the caller has in hand is not its to note.
    StaleLease,
    /// A quota is used up; the same request may succeed after the time.
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// There is no room for more until something is removed; nothing was stored.
    Exhausted {
        /// What has no room, for programs: such as `DISK_FULL`.
        reason: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// Another writer was faster; read again and retry.
    Conflict,
    /// A part that the server needs fails or is closing; retry with back-off.
    Unavailable,
    /// Bytes on disk or in the store are not what was written.
    DataLoss,
    /// A bug.
    Internal,
}

/// An error of the server's services.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    /// The field of the request that breaks the rule.
    field: Option<&'static str>,
    /// The objects it is about: a noun and a name.
    about: Vec<(&'static str, String)>,
    /// What is wrong with the data key that it is about.
    key_fault: Option<KeyFault>,
}

impl Error {
    /// An error of a kind, in words: lower case, no full stop, naming the object, the value and the limit.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), field: None, about: Vec::new(), key_fault: None }
    }

    /// Shorthand for [`Kind::Invalid`].
    pub fn invalid(message: impl fmt::Display) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Shorthand for [`Kind::NotFound`].
    pub fn not_found(message: impl fmt::Display) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Shorthand for [`Kind::Unavailable`].
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// Names the request's field that breaks the rule.
    #[must_use]
    pub fn in_field(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// Names an object that the error is about, for callers that look at details rather than words.
    #[must_use]
    pub fn about(mut self, noun: &'static str, name: impl fmt::Display) -> Self {
        self.about.push((noun, name.to_string()));
        self
    }

    /// What the caller can do.
    #[must_use]
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The field of the request that breaks the rule.
    #[must_use]
    pub const fn field(&self) -> Option<&'static str> {
        self.field
    }

    /// The objects that the error is about, as noun and name.
    #[must_use]
    pub fn objects(&self) -> &[(&'static str, String)] {
        &self.about
    }

    /// Says what is wrong with the data key that it is about.
    #[must_use]
    pub const fn of_key(mut self, fault: Option<KeyFault>) -> Self {
        self.key_fault = fault;
        self
    }

    /// What is wrong with a data key, where that is the cause.
    #[must_use]
    pub const fn key_fault(&self) -> Option<KeyFault> {
        self.key_fault
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Throttled { .. } | Kind::Exhausted { .. } | Kind::Conflict | Kind::Unavailable)
    }
}

impl From<millrace_storage::log::Error> for Error {
    fn from(error: millrace_storage::log::Error) -> Self {
        use millrace_storage::log::Error as Log;
        let kind = match &error {
            Log::TooLarge { .. } | Log::SequenceReused { .. } => Kind::Invalid,
            Log::NextOffset { .. } | Log::SequenceTooOld { .. } => Kind::FailedPrecondition,
            Log::Corrupt { .. } | Log::Shredded { .. } | Log::Damaged { .. } => Kind::DataLoss,
            Log::InUse { .. } | Log::Key { is_retryable: false, .. } => Kind::FailedPrecondition,
            Log::Poisoned { .. } | Log::Closed | Log::Storage(_) | Log::Key { .. } => Kind::Unavailable,
        };
        let told = Self::new(kind, &error);
        match &error {
            // Where a reader may go on.
            Log::Corrupt { shard, last_offset, .. } => {
                told.about("shard", shard.shard).about("next_offset", *last_offset + 1)
            }
            Log::Shredded { shard, last_offset, .. } => {
                let told = told.about("shard", shard.shard).about("next_offset", *last_offset + 1);
                told.of_key(Some(KeyFault::Destroyed))
            }
            Log::Key { version, fault, .. } => told.about("data_key", version).of_key(Some(*fault)),
            _ => told,
        }
    }
}

impl From<millrace_storage::backup::Error> for Error {
    fn from(error: millrace_storage::backup::Error) -> Self {
        use millrace_storage::backup::Error as Backup;
        let kind = match error {
            Backup::Log(error) => return error.into(),
            Backup::Meta(error) => return error.into(),
            Backup::Store(_) | Backup::Disk { .. } => Kind::Unavailable,
            Backup::Damaged { .. } => Kind::DataLoss,
            Backup::NotFound { .. } => Kind::NotFound,
            Backup::NotEmpty { .. } | Backup::Busy { .. } => Kind::FailedPrecondition,
            Backup::Overtaken { .. } => Kind::Conflict,
            Backup::Lost(_) => Kind::Internal,
        };
        Self::new(kind, error)
    }
}

impl From<millrace_storage::meta::Error> for Error {
    fn from(error: millrace_storage::meta::Error) -> Self {
        use millrace_storage::meta::Error as Meta;
        let kind = match &error {
            Meta::Conflict { .. } => Kind::Conflict,
            Meta::Corrupt { .. } | Meta::Damaged { .. } => Kind::DataLoss,
            Meta::InUse { .. } => Kind::FailedPrecondition,
            Meta::Closed | Meta::Storage(_) => Kind::Unavailable,
        };
        Self::new(kind, error)
    }
}
