//! Values that both formats can say, and some that only one can, or none.

/// A value in a body.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// Base64 in JSON.
    Bytes(Vec<u8>),
    List(Vec<Node>),
    /// A key may be anything.
    Map(Vec<(Node, Node)>),
    /// Without its tag in JSON.
    Tagged(u64, Box<Node>),
    /// These very bytes, in JSON and in CBOR.
    Raw(&'static str, &'static [u8]),
}

/// How a body is written; it says the same in each way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// JSON's texts in escapes; CBOR's lists, maps, texts and byte strings without lengths.
    pub(super) is_odd: bool,
}

impl Node {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn json(&self, style: Style) -> Vec<u8> {
        let mut body = String::new();
        self.write_json(style, &mut body);
        body.into_bytes()
    }

    fn write_json(&self, style: Style, to: &mut String) {
        use base64::Engine;
        match self {
            Self::Null => to.push_str("null"),
            Self::Boolean(is) => to.push_str(&is.to_string()),
            Self::Integer(number) => to.push_str(&number.to_string()),
            Self::Float(number) => to.push_str(&format!("{number:e}")),
            Self::Text(text) if style.is_odd => {
                let escaped = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
                to.push_str(&format!("\"{}\"", escaped.collect::<String>()));
            }
            Self::Text(text) => to.push_str(&serde_json::to_string(text).unwrap()),
            Self::Bytes(bytes) => {
                to.push_str(&format!("\"{}\"", base64::engine::general_purpose::STANDARD.encode(bytes)));
            }
            Self::List(items) => {
                to.push('[');
                for (at, item) in items.iter().enumerate() {
                    to.push_str(if at == 0 { "" } else { ", " });
                    item.write_json(style, to);
                }
                to.push(']');
            }
            Self::Map(entries) => {
                to.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    to.push_str(if at == 0 { "" } else { ", " });
                    key.write_json(style, to);
                    to.push(':');
                    value.write_json(style, to);
                }
                to.push('}');
            }
            Self::Tagged(_, value) => value.write_json(style, to),
            Self::Raw(json, _) => to.push_str(json),
        }
    }

    pub(super) fn cbor(&self, style: Style) -> Vec<u8> {
        let mut body = Vec::new();
        self.write_cbor(style, &mut body);
        body
    }

    fn write_cbor(&self, style: Style, to: &mut Vec<u8>) {
        match self {
            Self::Null => to.push(0xf6),
            Self::Boolean(is) => to.push(0xf4 + u8::from(*is)),
            Self::Integer(number) => match u64::try_from(*number) {
                Ok(number) => head(0, number, to),
                Err(_) => head(1, !number.cast_unsigned(), to),
            },
            Self::Float(number) => {
                to.push(0xfb);
                to.extend(number.to_be_bytes());
            }
            Self::Text(text) => in_parts(3, text.as_bytes(), style, to),
            Self::Bytes(bytes) => in_parts(2, bytes, style, to),
            Self::List(items) => several(4, items.len(), style, to, |to| {
                items.iter().for_each(|item| item.write_cbor(style, to));
            }),
            Self::Map(entries) => several(5, entries.len(), style, to, |to| {
                for (key, value) in entries {
                    key.write_cbor(style, to);
                    value.write_cbor(style, to);
                }
            }),
            Self::Tagged(tag, value) => {
                head(6, *tag, to);
                value.write_cbor(style, to);
            }
            Self::Raw(_, cbor) => to.extend_from_slice(cbor),
        }
    }
}

/// A major type and its number.
fn head(major: u8, number: u64, to: &mut Vec<u8>) {
    let major = major << 5;
    match number {
        0..24 => to.push(major + number as u8),
        24..0x100 => to.extend([major + 24, number as u8]),
        0x100..0x1_0000 => {
            to.push(major + 25);
            to.extend((number as u16).to_be_bytes());
        }
        _ => {
            to.push(major + 27);
            to.extend(number.to_be_bytes());
        }
    }
}

/// Cut within characters, too: each part of a text must be text, so that such a body is none.
fn in_parts(major: u8, bytes: &[u8], style: Style, to: &mut Vec<u8>) {
    if !style.is_odd {
        head(major, bytes.len() as u64, to);
        to.extend_from_slice(bytes);
        return;
    }
    to.push((major << 5) + 31);
    for part in bytes.chunks(3) {
        head(major, part.len() as u64, to);
        to.extend_from_slice(part);
    }
    to.push(0xff);
}

fn several(major: u8, count: usize, style: Style, to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if style.is_odd {
        to.push((major << 5) + 31);
    } else {
        head(major, count as u64, to);
    }
    write(to);
    if style.is_odd {
        to.push(0xff);
    }
}
