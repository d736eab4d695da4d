//! What can be done, and what it can be done to. The words are those of the API, of grants and of the audit log.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The kinds of resources that grants name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// `stream/<name>`.
    Stream,
    /// `group/<stream>/<name>`.
    Group,
    /// `delivery/<name>`.
    Delivery,
    /// `import/<name>`.
    Import,
    /// `table/<namespace>.<name>`; the system's are `table/system.<name>`.
    Table,
    /// `server`, which has no name.
    Server,
}

impl ResourceKind {
    pub(super) const ALL: [Self; 6] =
        [Self::Stream, Self::Group, Self::Delivery, Self::Import, Self::Table, Self::Server];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Group => "group",
            Self::Delivery => "delivery",
            Self::Import => "import",
            Self::Table => "table",
            Self::Server => "server",
        }
    }
}

/// What a call is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    kind: ResourceKind,
    name: String,
}

impl Resource {
    /// A stream.
    pub fn stream(name: impl fmt::Display) -> Self {
        Self { kind: ResourceKind::Stream, name: name.to_string() }
    }

    /// A consumer group of a stream.
    pub fn group(stream: impl fmt::Display, name: impl fmt::Display) -> Self {
        Self { kind: ResourceKind::Group, name: format!("{stream}/{name}") }
    }

    /// A delivery.
    pub fn delivery(name: impl fmt::Display) -> Self {
        Self { kind: ResourceKind::Delivery, name: name.to_string() }
    }

    /// An import.
    pub fn import(name: impl fmt::Display) -> Self {
        Self { kind: ResourceKind::Import, name: name.to_string() }
    }

    /// A table, by namespace and name.
    pub fn table(namespace: impl fmt::Display, name: impl fmt::Display) -> Self {
        Self { kind: ResourceKind::Table, name: format!("{namespace}.{name}") }
    }

    /// The server itself.
    #[must_use]
    pub const fn server() -> Self {
        Self { kind: ResourceKind::Server, name: String::new() }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// Its name within the kind.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ResourceKind::Server => f.write_str("server"),
            kind => write!(f, "{}/{}", kind.as_str(), self.name),
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal on $kind:ident,)*) => {
        /// What a caller can do. Each is about one kind of resource, [`Action::Put`] about streams and deliveries.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($(#[$doc])* $name,)* }

        impl Action {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The kind of resource that it is about as a rule.
            #[must_use]
            pub const fn kind(self) -> ResourceKind {
                match self { $(Self::$name => ResourceKind::$kind,)* }
            }
        }
    };
}

actions! {
    /// Put records into a stream, or into a delivery that takes them directly.
    Put = "put" on Stream,
    /// Read records, one answer a call.
    Get = "get" on Stream,
    /// Have records pushed.
    Subscribe = "subscribe" on Stream,
    /// Make a stream.
    CreateStream = "create_stream" on Stream,
    /// See a stream, its shards and settings; what is not seen is not listed.
    DescribeStream = "describe_stream" on Stream,
    /// Change a stream: settings, shards, keys.
    UpdateStream = "update_stream" on Stream,
    /// Delete a stream with its records.
    DeleteStream = "delete_stream" on Stream,
    /// Be a group's member: join, heartbeat, checkpoint, release, leave.
    JoinGroup = "join_group" on Group,
    /// See a group.
    DescribeGroup = "describe_group" on Group,
    /// Move a group to a position.
    ResetGroup = "reset_group" on Group,
    /// Delete a group.
    DeleteGroup = "delete_group" on Group,
    /// Make or redefine a delivery.
    CreateDelivery = "create_delivery" on Delivery,
    /// See a delivery, and prove it by its table.
    DescribeDelivery = "describe_delivery" on Delivery,
    /// Pause, resume and flush a delivery.
    UpdateDelivery = "update_delivery" on Delivery,
    /// Delete a delivery.
    DeleteDelivery = "delete_delivery" on Delivery,
    /// Make or redefine an import; who does needs `put` on its stream, then and whenever it runs.
    CreateImport = "create_import" on Import,
    /// See an import, its runs and its objects.
    DescribeImport = "describe_import" on Import,
    /// Run, pause and resume an import.
    UpdateImport = "update_import" on Import,
    /// Delete an import.
    DeleteImport = "delete_import" on Import,
    /// Make a table, or redefine it.
    CreateTable = "create_table" on Table,
    /// See a table's columns and sizes.
    DescribeTable = "describe_table" on Table,
    /// Change or maintain a table.
    UpdateTable = "update_table" on Table,
    /// Read a table by SQL.
    Query = "query" on Table,
    /// Back up, verify, and rewrap keys.
    Maintain = "maintain" on Server,
    /// Push, steer, try out and delete transform modules.
    ManageTransforms = "manage_transforms" on Server,
    /// Read the metrics, where they are not open.
    Metrics = "metrics" on Server,
    /// Manage principals, and whatever no other action names.
    Admin = "admin" on Server,
}

impl Action {
    /// Whether it changes what is, rather than puts records or looks at something.
    #[must_use]
    pub const fn is_change(self) -> bool {
        !matches!(
            self,
            Self::Put
                | Self::Get
                | Self::Subscribe
                | Self::DescribeStream
                | Self::JoinGroup
                | Self::DescribeGroup
                | Self::DescribeDelivery
                | Self::DescribeImport
                | Self::DescribeTable
                | Self::Query
                | Self::Metrics
        )
    }

    /// Whether a grant for a kind of resource can mean this action.
    #[must_use]
    pub fn is_about(self, kind: ResourceKind) -> bool {
        self.kind() == kind || (self == Self::Put && kind == ResourceKind::Delivery)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == word).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|action| action.as_str()).collect();
            let shown: String = word.chars().take(64).collect();
            let message = format!("{shown:?} is no action; there are {} and *", known.join(", "));
            Error::invalid(message).in_field("grants")
        })
    }
}
