//! What applying does to one object, as it is told and as it is asked for.

/// What applying did, or would do, to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What was done.
    pub action: Action,
    /// `stream`, `table`, `delivery` or `import`.
    pub kind: &'static str,
    /// The object's name.
    pub name: String,
    /// For an update: the declaration before and after, as a line diff.
    pub diff: String,
}

/// What applying does to one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is as declared.
    Unchanged,
    /// It did not exist.
    Created,
    /// It was another.
    Updated,
}

impl Change {
    pub(crate) fn new(kind: &'static str, name: &str, before: Option<&str>, after: &str) -> Self {
        let (action, diff) = match before {
            None => (Action::Created, String::new()),
            Some(before) if before == after => (Action::Unchanged, String::new()),
            Some(before) => (Action::Updated, line_diff(before, after)),
        };
        Self { action, kind, name: name.to_owned(), diff }
    }
}

fn line_diff(before: &str, after: &str) -> String {
    similar::TextDiff::from_lines(before, after).unified_diff().context_radius(1).header("before", "after").to_string()
}

/// What applying is about to do to one object, for whoever says whether the caller may.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// A stream.
    Stream {
        /// Its name.
        name: &'a str,
        /// What is to be done to it.
        action: Action,
    },
    /// A table.
    Table {
        /// Its namespace.
        namespace: &'a str,
        /// Its name there.
        name: &'a str,
        /// What is to be done to it.
        action: Action,
    },
    /// A delivery.
    Delivery {
        /// Its name.
        name: &'a str,
        /// What is to be done to it.
        action: Action,
        /// The stream that it reads.
        stream: &'a str,
        /// The table that it writes to, by namespace and name, where it writes to one.
        table: Option<(&'a str, &'a str)>,
    },
    /// An import.
    Import {
        /// Its name.
        name: &'a str,
        /// What is to be done to it.
        action: Action,
        /// The stream that it puts into.
        stream: &'a str,
    },
}
