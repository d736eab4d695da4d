//! How a delivery's records are written: `"json"`, `"csv"`, `"lines"`, `"raw"`, or a table with more to say of CSV.
//!
//! It is written back in its shortest form, so that two declarations that mean the same are equal.

use millrace_storage::lake::input::{CsvFormat, Input};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::declaration::Declaration;
use super::layout::Layout;
use super::spec::{DeliverySpec, TableSpec};
use crate::error::Result;

/// An `input = …` of a `[[delivery]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum InputSpec {
    /// JSON objects.
    #[default]
    Json,
    /// Rows of comma-separated values.
    Csv(CsvSpec),
    /// Each line is a row.
    Lines,
    /// Each record is a row.
    Raw,
}

/// A CSV format. What is left out is as RFC 4180 has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CsvSpec {
    /// The columns in the order of the fields. Where there are none, applying fills in those that the table declares.
    pub columns: Vec<String>,
    /// Between fields; a comma where it is left out.
    pub delimiter: Option<char>,
    /// Around fields; `"` where it is left out, and none where it is empty.
    pub quote: Option<Option<char>>,
    /// A field that stands for null, without quotes; one of nothing where it is left out.
    pub null: Option<String>,
    /// What becomes of a row of the columns' names.
    pub header: CsvHeader,
}

/// What becomes of a row of CSV that has the columns' names as its fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CsvHeader {
    /// It is a row as every other.
    #[default]
    None,
    /// It is dropped, and counted as that.
    Skip,
}

impl CsvHeader {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Table {
    format: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delimiter: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quote: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    null: Option<String>,
    #[serde(default, skip_serializing_if = "CsvHeader::is_none")]
    header: CsvHeader,
}

impl Table {
    fn build(self) -> Result<InputSpec, String> {
        let is_plain = self.columns.is_empty()
            && self.delimiter.is_none()
            && self.quote.is_none()
            && self.null.is_none()
            && self.header.is_none();
        match self.format.as_str() {
            "csv" => self.build_csv().map(InputSpec::Csv),
            "json" | "lines" | "raw" if !is_plain => {
                Err(format!("input {} takes no columns, delimiter, quote, null or header", self.format))
            }
            "json" => Ok(InputSpec::Json),
            "lines" => Ok(InputSpec::Lines),
            "raw" => Ok(InputSpec::Raw),
            other => Err(format!("input {other:?} is not known; known are csv, json, lines, raw")),
        }
    }

    fn build_csv(self) -> Result<CsvSpec, String> {
        let one = |what: &str, text: &str| {
            let mut characters = text.chars();
            match (characters.next(), characters.next()) {
                (Some(character), None) => Ok(character),
                _ => Err(format!("input csv: the {what} {text:?} is not one character")),
            }
        };
        let delimiter = self.delimiter.map(|text| one("delimiter", &text)).transpose()?;
        let quote = match self.quote.as_deref() {
            None => None,
            Some("") => Some(None),
            Some(text) => Some(Some(one("quote", text)?)),
        };
        Ok(CsvSpec {
            columns: self.columns,
            delimiter: delimiter.filter(|delimiter| *delimiter != ','),
            quote: quote.filter(|quote| *quote != Some('"')),
            null: self.null.filter(|null| !null.is_empty()),
            header: self.header,
        })
    }
}

impl<'de> Deserialize<'de> for InputSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let table = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(format) => Table { format, ..Table::default() },
            table => table.try_into().map_err(|error| D::Error::custom(format!("input: {error}")))?,
        };
        table.build().map_err(D::Error::custom)
    }
}

impl Serialize for InputSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Csv(csv) if *csv != CsvSpec::default() => {
                let quote = csv.quote.map(|quote| quote.map(String::from).unwrap_or_default());
                let table = Table {
                    format: self.name().to_owned(),
                    columns: csv.columns.clone(),
                    delimiter: csv.delimiter.map(String::from),
                    quote,
                    null: csv.null.clone(),
                    header: csv.header,
                };
                table.serialize(serializer)
            }
            plain => serializer.serialize_str(plain.name()),
        }
    }
}

impl InputSpec {
    /// The word of its format.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv(_) => "csv",
            Self::Lines => "lines",
            Self::Raw => "raw",
        }
    }

    pub(super) fn is_json(&self) -> bool {
        *self == Self::Json
    }

    fn parse(&self) -> Result<Input, millrace_storage::lake::Error> {
        Ok(match self {
            Self::Json => Input::Json,
            Self::Lines => Input::Lines,
            Self::Raw => Input::Raw,
            Self::Csv(csv) => {
                let format = CsvFormat::new(csv.columns.clone())?;
                let quote = csv.quote.unwrap_or(Some('"'));
                let format = format.with_marks(csv.delimiter.unwrap_or(','), quote)?;
                let format = format.with_null(csv.null.as_deref().unwrap_or_default())?;
                Input::Csv(format.with_header_skipped(csv.header == CsvHeader::Skip))
            }
        })
    }
}

impl DeliverySpec {
    /// The input, for records of this delivery. An error names delivery, field and value.
    pub(super) fn input(&self) -> Result<Input> {
        self.input.parse().map_err(|error| self.invalid("input", error))
    }

    /// The same delivery with the columns that the table declares, where its CSV has none of its own.
    pub(super) fn with_columns_of(mut self, table: &TableSpec) -> Self {
        if let InputSpec::Csv(csv) = &mut self.input
            && csv.columns.is_empty()
        {
            csv.columns = table.columns.iter().map(|column| column.name.clone()).collect();
        }
        self
    }

    /// Checks that its records can have what its table and its prefix ask for. An error names delivery, field and value.
    pub(super) fn check_input(&self, table: &TableSpec) -> Result<Input> {
        if matches!(&self.input, InputSpec::Csv(csv) if csv.columns.is_empty()) {
            let words = format_args!("csv needs columns: name them here, or declare those of table {}", table.name);
            return Err(self.invalid("input", words));
        }
        let input = self.input()?;
        let has = |name: &str| match &input {
            Input::Json => true,
            Input::Csv(format) => format.columns().iter().any(|column| column == name),
            Input::Lines | Input::Raw => false,
        };
        if let Some(time) = table.time.as_ref().filter(|time| !has(&time.field)) {
            let (input, field) = (self.input.name(), &time.field);
            let words = format_args!("{input} has no field {field:?}, which is the time of table {}", table.name);
            return Err(self.invalid("input", words));
        }
        for (name, field) in Layout::of(self)?.queried() {
            if !input_is_json(&input) && !field.is_some_and(has) {
                let input = self.input.name();
                let words =
                    format_args!("{name:?} is no path to a field of its own, such as .carrier, that {input} has");
                return Err(self.invalid("partition_keys", words));
            }
        }
        Ok(input)
    }
}

fn input_is_json(input: &Input) -> bool {
    *input == Input::Json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::pipeline::Pipeline;

    fn delivery(lines: &str) -> DeliverySpec {
        let text = format!("[[delivery]]\nname = \"d\"\nstream = \"s\"\n{lines}\n");
        Pipeline::parse(&text).unwrap_or_else(|error| panic!("{lines}: {error}")).deliveries.remove(0)
    }

    #[test]
    fn an_input_is_written_back_in_its_shortest_form() {
        for (written, kept) in [
            ("input = \"json\"", None),
            ("input = { format = \"json\" }", None),
            ("input = \"lines\"", Some("\"lines\"")),
            ("input = \"csv\"", Some("\"csv\"")),
            (
                "input = { format = \"csv\", delimiter = \",\", quote = '\"', null = \"\", header = \"none\" }",
                Some("\"csv\""),
            ),
        ] {
            let text = delivery(written).to_toml();
            let line = text.lines().find_map(|line| line.strip_prefix("input = "));
            assert_eq!(line, kept, "{written}");
        }
        let full = "input = { format = \"csv\", columns = [\"a\"], delimiter = \"\\t\", quote = \"\", null = \"\\\\N\", \
                    header = \"skip\" }";
        let spec = delivery(full);
        let csv = CsvSpec {
            columns: vec!["a".into()],
            delimiter: Some('\t'),
            quote: Some(None),
            null: Some("\\N".into()),
            header: CsvHeader::Skip,
        };
        assert_eq!(spec.input, InputSpec::Csv(csv));
        assert_eq!(DeliverySpec::from_toml(&spec.to_toml()).unwrap(), spec);
    }

    #[test]
    fn bad_inputs_say_what_is_wrong() {
        for (lines, why) in [
            ("input = \"xml\"", "known are csv, json, lines, raw"),
            ("input = { format = \"lines\", null = \"x\" }", "lines takes no columns"),
            ("input = { format = \"csv\", header = true }", "header"),
            ("input = { format = \"csv\", header = \"first\" }", "skip"),
            ("input = { format = \"lines\", header = \"skip\" }", "lines takes no columns"),
            ("input = { format = \"csv\", delimiter = \"||\" }", "\"||\" is not one character"),
            ("input = { format = \"csv\", columns = [\"a\"], delimiter = \"é\" }", "single ASCII"),
            ("input = { format = \"csv\", columns = [\"a\", \"A\"] }", "\"A\" is there twice"),
            ("input = \"lines\"\nformat = \"raw\"", "format raw does not take it"),
        ] {
            let text = format!("[[delivery]]\nname = \"d\"\nstream = \"s\"\n{lines}\n");
            let error = Pipeline::parse(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{lines}: {error}");
        }
    }

    #[test]
    fn what_table_and_prefix_ask_for_must_be_there() {
        let table =
            |lines: &str| Pipeline::parse(&format!("[[table]]\nname = \"t\"\n{lines}")).unwrap().tables.remove(0);
        let declared =
            table("column = [{ name = \"at\", type = \"timestamptz\" }, { name = \"c\", type = \"string\" }]");
        let csv = delivery("input = \"csv\"").with_columns_of(&declared);
        assert!(matches!(csv.check_input(&declared), Ok(Input::Csv(format)) if format.columns() == ["at", "c"]));
        let keyed = |field: &str| {
            let prefix = "prefix = \"!{partitionKeyFromQuery:c}/\"";
            format!("{prefix}\ninput = \"csv\"\n[delivery.partition_keys]\nc = \"{field}\"")
        };
        assert!(delivery(&keyed(".c")).with_columns_of(&declared).check_input(&declared).is_ok());
        let timed = table("time = { field = \"at\" }\ncolumn = [{ name = \"c\", type = \"string\" }]");
        for (lines, table, why) in [
            ("input = \"csv\"".to_owned(), &table(""), "csv needs columns"),
            ("input = \"csv\"".to_owned(), &timed, "csv has no field \"at\""),
            ("input = \"lines\"".to_owned(), &timed, "lines has no field \"at\""),
            (keyed(".d"), &declared, "partition_keys"),
            (keyed(".c.d"), &declared, "partition_keys"),
        ] {
            let error = delivery(&lines).with_columns_of(table).check_input(table).unwrap_err().to_string();
            assert!(error.contains("delivery d") && error.contains(why), "{lines}: {error}");
        }
    }
}
