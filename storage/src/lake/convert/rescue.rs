//! What no column could take: kept as JSON text in the shape that it had in the record, so that a merge of row and rescued
//! object gives the record again.

use std::fmt::Write as _;

/// The rescued fields of one object.
pub(super) type Rescued = Vec<(String, Saved)>;

/// One rescued field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Saved {
    /// A value, as it was written.
    Value(String),
    /// Some fields of an object; the others are in their columns.
    Object(Rescued),
}

/// The JSON object for `_rescued`.
pub(super) fn render(rescued: &Rescued) -> String {
    let mut text = String::new();
    render_into(rescued, &mut text);
    text
}

fn render_into(rescued: &Rescued, text: &mut String) {
    text.push('{');
    for (index, (name, saved)) in rescued.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write!(text, "{}:", serde_json::Value::from(name.as_str())).expect("writing to a string cannot fail");
        match saved {
            Saved::Value(raw) => text.push_str(raw),
            Saved::Object(below) => render_into(below, text),
        }
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescued_fields_keep_their_shape_and_text() {
        let below = vec![("\"q\"".to_owned(), Saved::Value("1e0".to_owned()))];
        let rescued = vec![("a".to_owned(), Saved::Value("[1, 2]".to_owned())), ("b".to_owned(), Saved::Object(below))];
        assert_eq!(render(&rescued), r#"{"a":[1, 2],"b":{"\"q\"":1e0}}"#);
    }
}
