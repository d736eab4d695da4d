//! Pipeline files for tests.

use std::fs;
use std::path::{Path, PathBuf};

/// A pipeline of one stream, table and delivery, all called `name`, without quotas.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The name of all three.
    pub name: String,
    /// Shards of the stream.
    pub shards: u32,
    /// `evolve`, `rescue` or `reject`.
    pub schema_policy: &'static str,
    /// For example `1MiB`.
    pub buffer_size: &'static str,
    /// For example `60s`.
    pub buffer_interval: &'static str,
    /// More lines of the `[[table]]` section.
    pub table_lines: String,
}

impl Pipeline {
    /// Two shards, an evolving schema, and a buffer that only a flush empties within a test.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            shards: 2,
            schema_policy: "evolve",
            buffer_size: "64MiB",
            buffer_interval: "900s",
            table_lines: String::new(),
        }
    }

    /// The pipeline as TOML.
    #[must_use]
    pub fn toml(&self) -> String {
        let Self { name, shards, schema_policy, buffer_size, buffer_interval, table_lines } = self;
        format!(
            r#"
[[stream]]
name = "{name}"
shards = {shards}
retention = "168h"
[stream.quota]
in_bytes_per_second = "off"
in_records_per_second = "off"
out_bytes_per_second = "off"

[[table]]
name = "{name}"
schema_policy = "{schema_policy}"
{table_lines}

[[delivery]]
name = "{name}"
stream = "{name}"
table = "{name}"
format = "parquet"
transforms = ["newline", "split"]
buffer_size = "{buffer_size}"
buffer_interval = "{buffer_interval}"
"#
        )
    }

    /// Writes it to a file in `folder`.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join(format!("{}.toml", self.name));
        fs::write(&path, self.toml()).expect("the test's folder can be written");
        path
    }
}
