//! The canonical request and the string to sign, as the reference of Signature Version 4 defines them for every service but S3:
//! the path is normalised and encoded once more, query parameters are decoded, encoded and sorted, header values are trimmed.

use ring::digest::{SHA256, digest};

use super::error::SigV4Error;
use super::request::SignedParts;

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The most query parameters that are looked at.
const PARAMETERS_MAX: usize = 1000;

/// What a signature is made over.
pub(super) fn string_to_sign(date: &str, scope: &str, canonical_request: &[u8]) -> String {
    format!("{ALGORITHM}\n{date}\n{scope}\n{}", hash(canonical_request))
}

/// The canonical request. `left_out` is the query parameter that the signature itself stands in, where it does.
pub(super) fn request(
    parts: &SignedParts<'_>,
    signed: &[&str],
    payload_hash: &str,
    left_out: Option<&str>,
) -> Result<Vec<u8>, SigV4Error> {
    let mut text = Vec::with_capacity(512);
    for line in [parts.method, &path(parts.path), &query(parts.query, left_out)?] {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    for name in signed {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        for (at, value) in parts.values(name).enumerate() {
            if at > 0 {
                text.push(b',');
            }
            header_value(value, &mut text);
        }
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(signed.join(";").as_bytes());
    text.push(b'\n');
    text.extend_from_slice(payload_hash.as_bytes());
    Ok(text)
}

/// SHA-256 in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}

/// Reads lower-case hexadecimal.
pub(super) fn decoded_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Removes `.`, `..` and empty segments (RFC 3986, 5.2.4), then encodes what is there, `%` among it.
fn path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut canonical = String::with_capacity(path.len() + 8);
    for segment in &segments {
        canonical.push('/');
        encode(segment.as_bytes(), &mut canonical);
    }
    let ends_open = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if canonical.is_empty() || ends_open {
        canonical.push('/');
    }
    canonical
}

fn query(query: &str, left_out: Option<&str>) -> Result<String, SigV4Error> {
    let mut parameters = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let (name, value) = (encoded_anew(name), encoded_anew(value));
        if left_out != Some(name.as_str()) {
            parameters.push((name, value));
        }
        if parameters.len() > PARAMETERS_MAX {
            return Err(SigV4Error::incomplete(format!(
                "The request has more than {PARAMETERS_MAX} query parameters."
            )));
        }
    }
    parameters.sort_unstable();
    let mut canonical = String::with_capacity(query.len());
    for (name, value) in &parameters {
        if !canonical.is_empty() {
            canonical.push('&');
        }
        canonical.push_str(name);
        canonical.push('=');
        canonical.push_str(value);
    }
    Ok(canonical)
}

/// However a client encoded it, the same text is the same.
fn encoded_anew(text: &str) -> String {
    let mut canonical = String::with_capacity(text.len());
    encode(&decoded(text), &mut canonical);
    canonical
}

/// Takes `%XX` apart; a `%` that is none stays as it is.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).expect("two digits make a byte"));
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// Percent-encodes all but `A-Z a-z 0-9 - . _ ~`.
fn encode(bytes: &[u8], to: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => to.push(char::from(*byte)),
            byte => {
                to.push('%');
                to.push(char::from(DIGITS[usize::from(byte >> 4)]));
                to.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

/// Without space at its ends, and with one space where there were more.
fn header_value(value: &[u8], to: &mut Vec<u8>) {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let words = value.split(is_space).filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            to.push(b' ');
        }
        to.extend_from_slice(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_normalised_and_encoded_once_more() {
        for (sent, canonical) in [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/a//b/", "/a/b/"),
            ("/./a/./b", "/a/b"),
            ("/a/../b/..", "/"),
            ("/../../a", "/a"),
            ("/a%20b", "/a%2520b"),
            ("/a/..", "/"),
        ] {
            assert_eq!(path(sent), canonical, "{sent}");
        }
    }

    #[test]
    fn a_query_is_sorted_by_what_it_says_and_not_by_how_it_is_written() {
        for (sent, canonical) in [
            ("b=2&a=1", "a=1&b=2"),
            ("a=%2f&a=%2F&a", "a=&a=%2F&a=%2F"),
            ("%61=1", "a=1"),
            ("a=1=2", "a=1%3D2"),
            ("&&a=1&", "a=1"),
            ("a=%zz", "a=%25zz"),
            ("a=b+c", "a=b%2Bc"),
        ] {
            assert_eq!(query(sent, None).unwrap(), canonical, "{sent}");
        }
        assert_eq!(query("X-Amz-Signature=1&a=2", Some("X-Amz-Signature")).unwrap(), "a=2");
        assert!(query(&"a&".repeat(1000), None).is_ok() && query(&"a&".repeat(1001), None).is_err());
    }
}
