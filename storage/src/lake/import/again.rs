//! Rows that were set aside, once more: each by the format, or as it is. A row that fails again keeps its first place.

use std::io::{self, BufRead};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::chunk::{Chunk, Chunker, Row};
use super::text::Text;
use super::{Again, BadRowLine, ImportCause, ImportFormat, Origin, ReadOptions, csv, lines};

/// Reads lines that [`super::write_bad_rows`] wrote until `emit` says no.
pub(super) fn read(
    text: &mut Text,
    options: &ReadOptions,
    again: Again,
    chunker: &mut Chunker<'_>,
    emit: &mut dyn FnMut(Chunk) -> bool,
) -> io::Result<bool> {
    let invalid = |words: String| io::Error::new(io::ErrorKind::InvalidData, words);
    let mut line = Vec::new();
    loop {
        line.clear();
        if text.read_until(b'\n', &mut line)? == 0 {
            return Ok(true);
        }
        let line: BadRowLine =
            serde_json::from_slice(&line).map_err(|error| invalid(format!("no row that was set aside: {error}")))?;
        let data = BASE64_STANDARD.decode(&line.raw_data);
        let data = data.map_err(|error| invalid(format!("its rawData is not base64: {error}")))?;
        let row = row(&line, data.into(), options, again);
        let origin = Origin { object: line.object, row: line.row, attempts: line.attempts_made };
        if let Some(chunk) = chunker.push_again(row, text.at(), origin)
            && !emit(chunk)
        {
            return Ok(false);
        }
    }
}

fn row(line: &BadRowLine, data: Bytes, options: &ReadOptions, again: Again) -> Row {
    if !line.is_whole {
        return Row::Cut { message: "only its beginning was kept, because it was too large".to_owned(), data };
    }
    // What was a record already, and only was not let in, is not read by the format once more.
    let was_record = [ImportCause::TooLarge, ImportCause::PartitionKey].map(ImportCause::as_str);
    let was_record = was_record.contains(&line.error_code.as_str());
    match (again, options.format) {
        // A key that was too long stays too long.
        (Again::AsIs, _) if line.error_code == ImportCause::PartitionKey.as_str() => {
            Row::Record { partition_key: None, data }
        }
        (Again::AsIs, _) => Row::Record { partition_key: line.partition_key.clone(), data },
        (_, ImportFormat::Lines | ImportFormat::Raw) => Row::Record { partition_key: None, data },
        (_, ImportFormat::Csv) if !was_record => csv::row_alone(&data, options),
        (_, ImportFormat::SourceBackup) if !was_record => lines::backup(&data),
        (_, ImportFormat::SourceBackup) => Row::Record { partition_key: line.partition_key.clone(), data },
        (_, ImportFormat::JsonLines | ImportFormat::Csv | ImportFormat::Parquet) => {
            lines::json(&data, options.partition_key.as_deref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::import::{CsvOptions, CsvValues, ImportCompression};

    fn options(format: ImportFormat) -> ReadOptions {
        ReadOptions {
            format,
            compression: ImportCompression::Auto,
            csv: CsvOptions { delimiter: b';', columns: vec!["a".into(), "b".into()], values: CsvValues::Infer },
            partition_key: Some("a".into()),
            partition_key_chars_max: 256,
            record_bytes_max: 1 << 20,
            chunk_rows: 3,
            chunk_bytes: 1 << 20,
            again: Some(Again::ByFormat),
        }
    }

    fn line(cause: ImportCause, partition_key: Option<&str>) -> BadRowLine {
        BadRowLine {
            import: "i".into(),
            stream: "s".into(),
            object: "file:///a".into(),
            row: 7,
            error_code: cause.as_str().into(),
            error_message: String::new(),
            attempts_made: 1,
            partition_key: partition_key.map(str::to_owned),
            is_whole: true,
            raw_data: String::new(),
        }
    }

    /// The record's key and data, or the cause and data of a row that is none still.
    fn check(options: &ReadOptions, line: &BadRowLine, data: &str, wanted: Result<(Option<&str>, &str), ImportCause>) {
        match (row(line, data.to_owned().into(), options, options.again.unwrap()), wanted) {
            (Row::Record { partition_key, data: found }, Ok((key, record))) => {
                assert_eq!((partition_key.as_deref(), &found[..]), (key, record.as_bytes()), "{data}");
            }
            (Row::Bad { cause, data: found, .. }, Err(wanted)) => {
                assert_eq!((cause, &found[..]), (wanted, data.as_bytes()), "what fails again keeps its bytes");
            }
            _ => panic!("{data} became something else"),
        }
    }

    #[test]
    fn a_row_is_read_by_what_is_declared_now() {
        let (json, csv) = (line(ImportCause::InvalidJson, None), line(ImportCause::InvalidCsv, None));
        let by = options(ImportFormat::JsonLines);
        check(&by, &json, "{\"a\":1}", Ok((Some("1"), "{\"a\":1}")));
        check(&by, &json, "{", Err(ImportCause::InvalidJson));
        check(&options(ImportFormat::Lines), &json, " ", Ok((None, " ")));
        let by = options(ImportFormat::Csv);
        check(&by, &csv, "x;2", Ok((Some("x"), "{\"a\":\"x\",\"b\":2}")));
        check(&by, &csv, "\"x;\";", Ok((Some("x;"), "{\"a\":\"x;\",\"b\":null}")));
        for bad in ["x,2", "", "x;2\ny;3", "\"x;2"] {
            check(&by, &csv, bad, Err(ImportCause::InvalidCsv));
        }
        let mut by = by;
        by.csv.columns.clear();
        check(&by, &csv, "x;2", Err(ImportCause::InvalidCsv));
        by.again = Some(Again::AsIs);
        check(&by, &csv, "x,2", Ok((None, "x,2")));
    }

    #[test]
    fn what_was_a_record_is_not_made_one_twice() {
        let large = line(ImportCause::TooLarge, None);
        check(&options(ImportFormat::Csv), &large, "{\"a\":\"x\"}", Ok((Some("x"), "{\"a\":\"x\"}")));
        check(&options(ImportFormat::Parquet), &large, "{\"b\":1}", Ok((None, "{\"b\":1}")));
        let backup = line(ImportCause::TooLarge, Some("key"));
        check(&options(ImportFormat::SourceBackup), &backup, "bytes", Ok((Some("key"), "bytes")));
        check(
            &options(ImportFormat::SourceBackup),
            &line(ImportCause::InvalidBackup, None),
            "bytes",
            Err(ImportCause::InvalidBackup),
        );
    }

    #[test]
    fn a_row_of_which_only_the_beginning_was_kept_never_becomes_a_record() {
        let cut = BadRowLine { is_whole: false, ..line(ImportCause::TooLarge, None) };
        for again in [Again::ByFormat, Again::AsIs] {
            assert!(matches!(row(&cut, "{}".into(), &options(ImportFormat::JsonLines), again), Row::Cut { .. }));
        }
    }
}
