use proptest::prelude::*;

use super::*;

fn format(columns: usize) -> CsvFormat {
    CsvFormat::new((0..columns).map(|column| format!("c{column}")).collect()).unwrap()
}

fn rows(format: &CsvFormat, output: &str) -> Result<Vec<String>, String> {
    let rows = match format.rows(&Bytes::copy_from_slice(output.as_bytes()))? {
        Rows::One(row) => vec![row],
        Rows::Many(rows) => {
            assert!(rows.len() > 1);
            rows
        }
    };
    Ok(rows.iter().map(|row| String::from_utf8(row.to_vec()).unwrap()).collect())
}

/// The fields of a row, `None` for null.
fn fields(parser: &mut CsvParser, row: &str) -> Result<Vec<Option<String>>, String> {
    parser.read(row.as_bytes())?;
    Ok((0..parser.columns().len()).map(|place| parser.value(place).map(str::to_owned)).collect())
}

#[test]
fn rows_end_at_lines_outside_of_quotes() {
    for (output, expected) in [
        ("a,b", vec!["a,b"]),
        ("a,b\n", vec!["a,b"]),
        ("\u{FEFF}a,b\r\nc,d\r\n", vec!["a,b", "c,d"]),
        ("a,b\rc,d", vec!["a,b", "c,d"]),
        ("\n\na,\n\r\n,b\n\n", vec!["a,", ",b"]),
        ("\"a\nb\",c\nd,\"e\"\"\r\n\"\n", vec!["\"a\nb\",c", "d,\"e\"\"\r\n\""]),
        ("a\"b,c\"\nd,e", vec!["a\"b,c\"", "d,e"]),
        ("\"\"", vec!["\"\""]),
        (",", vec![","]),
    ] {
        assert_eq!(rows(&format(2), output).unwrap(), expected, "{output:?}");
    }
}

#[test]
fn what_would_have_to_be_guessed_at_is_refused() {
    for (output, why) in [
        ("", "no row"),
        ("\r\n\n", "no row"),
        ("a,\"b\nc,d\n", "quote at byte 2 is not closed"),
        ("\"", "quote at byte 0 is not closed"),
        ("a,\"b\"\"", "quote at byte 2 is not closed"),
        ("a,b\n\"c\"d,e", "byte 7 follows a closing quote"),
        ("\"a\" ,b", "byte 3 follows a closing quote"),
    ] {
        let error = rows(&format(2), output).unwrap_err();
        assert!(error.contains(why), "{output:?}: {error}");
    }
}

#[test]
fn fields_are_read_and_null_is_told_from_empty_text() {
    let mut parser = format(3).parser();
    for (row, expected) in [
        ("a,b,c", [Some("a"), Some("b"), Some("c")]),
        (",\"\", ", [None, Some(""), Some(" ")]),
        ("\"a\"\"b\",\"c,d\",\"e\r\nf\"", [Some("a\"b"), Some("c,d"), Some("e\r\nf")]),
        ("a\"b,é,\u{FEFF}", [Some("a\"b"), Some("é"), Some("\u{FEFF}")]),
        ("\u{FEFF}a,b,", [Some("\u{FEFF}a"), Some("b"), None]),
        (",,", [None, None, None]),
    ] {
        assert_eq!(fields(&mut parser, row).unwrap(), expected.map(|text| text.map(str::to_owned)), "{row:?}");
    }
}

#[test]
fn a_row_that_is_none_is_told_and_leaves_the_parser_whole() {
    let mut parser = format(2).parser();
    for (row, why) in [
        ("a", "1 fields, and there are 2 columns"),
        ("a,b,c", "3 fields"),
        ("a,b\nc,d", "ends before byte 4"),
        ("a,\"b", "ends within a field"),
    ] {
        let error = fields(&mut parser, row).unwrap_err();
        assert!(error.contains(why), "{row:?}: {error}");
        assert_eq!(fields(&mut parser, "a,b").unwrap(), [Some("a".to_owned()), Some("b".to_owned())]);
    }
    assert!(parser.read(b"a,\xFF").unwrap_err().contains("not UTF-8 at byte 2"));
}

#[test]
fn marks_and_null_are_declared() {
    let tabs = format(2).with_marks('\t', None).unwrap().with_null("\\N").unwrap();
    assert_eq!(rows(&tabs, "\"a\tb\n\\N\t\n").unwrap(), ["\"a\tb", "\\N\t"]);
    let mut parser = tabs.parser();
    assert_eq!(fields(&mut parser, "\"a\tb").unwrap(), [Some("\"a".to_owned()), Some("b".to_owned())]);
    assert_eq!(fields(&mut parser, "\\N\t").unwrap(), [None, Some(String::new())]);
    let semicolons = format(2).with_marks(';', Some('\'')).unwrap();
    let mut parser = semicolons.parser();
    assert_eq!(fields(&mut parser, "'a;''b';\"").unwrap(), [Some("a;'b".to_owned()), Some("\"".to_owned())]);
}

#[test]
fn bad_formats_say_why() {
    let names = |names: &[&str]| CsvFormat::new(names.iter().map(|name| (*name).to_owned()).collect());
    for (made, why) in [
        (names(&[]), "names of its columns"),
        (names(&["a", "A"]), "\"A\" is there twice"),
        (names(&["_offset"]), "reserved"),
        (format(1).with_marks('€', None), "'€'"),
        (format(1).with_marks('\n', None), "delimiter"),
        (format(1).with_marks(',', Some(',')), "both delimiter and quote"),
        (format(1).with_null(&"x".repeat(65)), "65 bytes; the limit is 64"),
    ] {
        let error = made.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(format(1).with_null(&"x".repeat(64)).is_ok());
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

proptest! {
    #[test]
    fn any_values_come_back(table in prop::collection::vec(prop::collection::vec(prop::option::of("[a\"',\r\n é]{0,6}"), 3), 1..5)) {
        let line = |row: &Vec<Option<String>>| {
            row.iter().map(|value| value.as_deref().map(quoted).unwrap_or_default()).collect::<Vec<_>>().join(",")
        };
        let output = table.iter().map(|row| line(row) + "\r\n").collect::<String>();
        let found = rows(&format(3), &output).unwrap();
        let mut parser = format(3).parser();
        let found: Vec<_> = found.iter().map(|row| fields(&mut parser, row).unwrap()).collect();
        prop_assert_eq!(found, table);
    }

    #[test]
    fn no_byte_of_a_row_is_passed_by(output in "[a\",;\r\n]{0,24}") {
        if let Ok(found) = rows(&format(2), &output) {
            let kept: String = found.concat();
            let without_ends = |text: &str| text.replace(['\r', '\n'], "");
            prop_assert_eq!(without_ends(&kept), without_ends(&output));
        }
    }
}

#[test]
fn a_row_of_the_columns_names_is_a_header_where_such_rows_are_skipped() {
    let named = |names: &[&str]| CsvFormat::new(names.iter().map(|name| (*name).to_owned()).collect()).unwrap();
    let format = named(&["id", "Straße"]).with_header_skipped(true);
    for (row, expected) in [
        ("id,Straße", true),
        ("ID,STRASSE", false),
        ("Id,straße", true),
        ("\"id\",\"Straße\"", true),
        ("id,\"Straße\"", true),
        ("id", false),
        ("id,", false),
        ("id,Straße,", false),
        ("id,Straße,more", false),
        ("id, Straße", false),
        ("Straße,id", false),
        ("\"id\"\"\",Straße", false),
        ("\"id", false),
        ("1,a", false),
        ("", false),
    ] {
        assert_eq!(format.is_skipped_header(row.as_bytes()), expected, "{row}");
    }
    assert!(!named(&["id", "Straße"]).is_skipped_header("id,Straße".as_bytes()), "a row like others");
    let single = named(&["id"]).with_marks('\t', None).unwrap().with_header_skipped(true);
    assert!(
        single.is_skipped_header(b"id") && !single.is_skipped_header(b"\"id\"") && !single.is_skipped_header(b"\xFF")
    );
}
