//! Checks of a delivery's fields, each within its limit, and the defaults of those that were left out.

use std::time::Duration;

use millrace_storage::lake::prefix::{DEFAULT_PREFIX, PREFIX_BYTES_MAX};

use super::{Compression, DeliverySpec, Format, Size, StartSpec};
use crate::delivery::declaration::Declaration;
use crate::delivery::input::InputSpec;
use crate::delivery::layout::Layout;
use crate::delivery::settings::MEMORY_BYTES_MIN;
use crate::error::Result;
use crate::transform::TransformSpec;

/// The sizes that a delivery's buffer may have.
pub const BUFFER_SIZE_MIN: Size = Size(1 << 20);
/// The sizes that a delivery's buffer may have.
pub const BUFFER_SIZE_MAX: Size = Size(128 << 20);
/// The longest time that a delivery may wait for more records.
pub const BUFFER_INTERVAL_MAX: Duration = Duration::from_secs(900);
/// The most steps of a transform chain.
const TRANSFORMS_MAX: usize = 16;
/// The most characters of the extension of files' names, with its dot.
const EXTENSION_LEN_MAX: usize = 128;
/// The most partitions that a batch may be let grow to.
const PARTITIONS_MAX: u32 = 100_000;
pub(super) const PARTITIONS_DEFAULT: u32 = 10_000;
/// The most columns that are listed for one purpose.
const LISTED_COLUMNS_MAX: usize = 32;
/// The fewest rows that a row group may be limited to.
const ROW_GROUP_ROWS_MIN: usize = 1_000;
/// The most rows of a row group.
const ROW_GROUP_ROWS_MAX: usize = 10_000_000;
const ROW_GROUP_ROWS_DEFAULT: usize = 1 << 20;

impl DeliverySpec {
    /// Fills in the defaults and checks each field. The error names delivery, field, value and limit.
    pub fn normalised(mut self) -> Result<Self> {
        self.check_name()?;
        self.check_buffer()?;
        if self.transforms.len() > TRANSFORMS_MAX {
            let steps = self.transforms.len();
            return Err(self.invalid("transforms", format_args!("{steps} steps are more than {TRANSFORMS_MAX}")));
        }
        if self.transforms.iter().skip(1).any(|step| *step == TransformSpec::Deaggregate) {
            return Err(self.invalid("transforms", "deaggregate takes whole records apart, so it must come first"));
        }
        match self.format {
            Format::Parquet => self.normalise_parquet()?,
            Format::JsonLines => self.normalise_json_lines()?,
            Format::Raw => self.normalise_raw()?,
        }
        self.normalise_backup()?;
        if let Some(memory) = self.memory_max.filter(|memory| memory.as_u64() < MEMORY_BYTES_MIN.as_u64()) {
            return Err(self.invalid("memory_max", format_args!("{memory} is less than {MEMORY_BYTES_MIN}")));
        }
        if !(1..=PARTITIONS_MAX).contains(&self.partitions_max()) {
            let words = format_args!("{} is outside 1 to {PARTITIONS_MAX}", self.partitions_max());
            return Err(self.invalid("partitions_max", words));
        }
        Layout::of(&self)?;
        // What a table declares may be missing yet.
        if !matches!(&self.input, InputSpec::Csv(csv) if csv.columns.is_empty()) {
            self.input()?;
        }
        Ok(self)
    }

    fn check_buffer(&self) -> Result<()> {
        if self.buffer_size < BUFFER_SIZE_MIN || self.buffer_size > BUFFER_SIZE_MAX {
            let words = format_args!("{} is outside {BUFFER_SIZE_MIN} to {BUFFER_SIZE_MAX}", self.buffer_size);
            return Err(self.invalid("buffer_size", words));
        }
        if self.buffer_interval > BUFFER_INTERVAL_MAX {
            let value = humantime::format_duration(self.buffer_interval);
            let most = BUFFER_INTERVAL_MAX.as_secs();
            return Err(self.invalid("buffer_interval", format_args!("{value} is outside 0s to {most}s")));
        }
        Ok(())
    }

    fn normalise_parquet(&mut self) -> Result<()> {
        self.refuse("destination", self.destination.is_some())?;
        self.refuse("extension", self.extension.is_some())?;
        self.check_compression(&[
            Compression::Snappy,
            Compression::Zstd,
            Compression::Gzip,
            Compression::Lz4,
            Compression::None,
        ])?;
        for (field, columns) in [("bloom_filters", &self.bloom_filters), ("sort_by", &self.sort_by)] {
            let count = columns.len();
            if count > LISTED_COLUMNS_MAX || columns.iter().any(String::is_empty) {
                let words = format_args!("{count} columns, each with a name, may be at most {LISTED_COLUMNS_MAX}");
                return Err(self.invalid(field, words));
            }
        }
        self.table.get_or_insert_with(|| self.name.clone());
        self.compression.get_or_insert(Compression::Snappy);
        self.dictionary.get_or_insert(true);
        let rows = *self.row_group_rows.get_or_insert(ROW_GROUP_ROWS_DEFAULT);
        if !(ROW_GROUP_ROWS_MIN..=ROW_GROUP_ROWS_MAX).contains(&rows) {
            let words = format!("{rows} is outside {ROW_GROUP_ROWS_MIN} to {ROW_GROUP_ROWS_MAX}");
            return Err(self.invalid("row_group_rows", words));
        }
        Ok(())
    }

    fn normalise_json_lines(&mut self) -> Result<()> {
        self.refuse("table", self.table.is_some())?;
        self.refuse("input", !self.input.is_json())?;
        self.refuse("bloom_filters", !self.bloom_filters.is_empty())?;
        self.refuse("sort_by", !self.sort_by.is_empty())?;
        self.refuse("row_group_rows", self.row_group_rows.is_some())?;
        self.refuse("dictionary", self.dictionary.is_some())?;
        self.refuse("extension", self.extension.is_some())?;
        self.check_compression(&[Compression::None, Compression::Gzip, Compression::Zstd, Compression::Snappy])?;
        self.normalise_folder()
    }

    fn normalise_raw(&mut self) -> Result<()> {
        self.refuse("table", self.table.is_some())?;
        self.refuse("input", !self.input.is_json())?;
        self.refuse("bloom_filters", !self.bloom_filters.is_empty())?;
        self.refuse("sort_by", !self.sort_by.is_empty())?;
        self.refuse("row_group_rows", self.row_group_rows.is_some())?;
        self.refuse("dictionary", self.dictionary.is_some())?;
        let allowed = [Compression::None, Compression::Gzip, Compression::XerialSnappy, Compression::HadoopSnappy];
        self.check_compression(&allowed)?;
        if let Some(extension) = &self.extension {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
            let starts = extension.starts_with('.') && extension.len() > 1;
            if !starts || extension.len() > EXTENSION_LEN_MAX || !extension.bytes().all(fits) {
                let words = format_args!(
                    "{extension:?} is not a dot and up to {} of a-z A-Z 0-9 ! - _ . * ' ( )",
                    EXTENSION_LEN_MAX - 1
                );
                return Err(self.invalid("extension", words));
            }
        }
        self.normalise_folder()
    }

    fn check_compression(&self, allowed: &[Compression]) -> Result<()> {
        match self.compression {
            Some(compression) if !allowed.contains(&compression) => {
                let names: Vec<_> = allowed.iter().map(|compression| compression.name()).collect();
                let (format, name) = (self.format.name(), compression.name());
                let words = format_args!("{name} is none of those that {format} takes: {}", names.join(", "));
                Err(self.invalid("compression", words))
            }
            _ => Ok(()),
        }
    }

    /// The compression, destination and prefix of files that no table lists.
    fn normalise_folder(&mut self) -> Result<()> {
        self.compression.get_or_insert(Compression::None);
        let destination = self.destination.get_or_insert_with(|| self.name.clone()).clone();
        self.check_folder("destination", &destination)?;
        self.prefix.get_or_insert_with(|| DEFAULT_PREFIX.to_owned());
        Ok(())
    }

    fn normalise_backup(&mut self) -> Result<()> {
        let Some(mut backup) = self.backup.take() else { return Ok(()) };
        if backup.destination.is_empty() {
            backup.destination = format!("backup/{}", self.name);
        }
        self.check_folder("backup.destination", &backup.destination)?;
        let allowed = [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Snappy];
        if !allowed.contains(&backup.compression) {
            let words = "a backup takes none, gzip, zstd or snappy";
            return Err(self.invalid("backup.compression", words));
        }
        self.backup = Some(backup);
        Ok(())
    }

    fn check_folder(&self, field: &str, folder: &str) -> Result<()> {
        let part_is_bad =
            |part: &str| part.is_empty() || part == "." || part == ".." || part.chars().any(char::is_control);
        if folder.len() > PREFIX_BYTES_MAX || folder.split('/').any(part_is_bad) {
            let words = format_args!("{folder:?} is not a relative folder such as \"exports/flights\"");
            return Err(self.invalid(field, words));
        }
        Ok(())
    }

    fn refuse(&self, field: &str, present: bool) -> Result<()> {
        if present {
            return Err(self.invalid(field, format_args!("format {} does not take it", self.format.name())));
        }
        Ok(())
    }

    /// Checks a changed spec against the one in force: some fields can never change, because batches, positions and
    /// object names hang on them.
    pub fn check_change(&self, next: &Self) -> Result<()> {
        let same = |field: &str, before: &str, after: &str| {
            if before == after {
                return Ok(());
            }
            let words =
                format_args!("it is {before:?} and cannot become {after:?}; declare a delivery with another name");
            Err(next.invalid(field, words))
        };
        same("stream", &self.stream, &next.stream)?;
        let start = |spec: &Self| spec.start.unwrap_or(StartSpec::TrimHorizon).to_string();
        same("start", &start(self), &start(next))?;
        same("format", self.format.name(), next.format.name())?;
        same("table", self.table.as_deref().unwrap_or_default(), next.table.as_deref().unwrap_or_default())?;
        let folder = |spec: &Self| spec.destination.clone().unwrap_or_default();
        same("destination", &folder(self), &folder(next))
    }

    /// The compression's name in settings.
    #[must_use]
    pub fn compression_name(&self) -> &'static str {
        self.compression.unwrap_or(Compression::None).name()
    }
}
