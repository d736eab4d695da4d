//! `application/vnd.amazon.eventstream`: messages with headers and check sums, as
//! <https://smithy.io/2.0/aws/amazon-eventstream.html> has them.
//!
//! ```text
//! total length u32 | headers' length u32 | CRC-32 of these 8 bytes | headers | payload | CRC-32 of all before
//! header: name's length u8 | name | 7, a string | value's length u16 | value
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use crate::api::aws::protocol::{AwsError, Format};

/// Lengths and check sums around headers and payload.
const FRAME_BYTES: usize = 16;
const STRING: u8 = 7;

/// The first message of an answer: an operation without other output gives it empty.
pub(super) fn initial_response(format: Format) -> Bytes {
    let empty = match format {
        Format::Json => Bytes::from_static(b"{}"),
        Format::Cbor => Bytes::from_static(&[0xa0]),
    };
    event("initial-response", format, &empty)
}

/// An event of a type.
pub(super) fn event(kind: &str, format: Format, payload: &[u8]) -> Bytes {
    let headers = [(":message-type", "event"), (":event-type", kind), (":content-type", format.content_type())];
    message(&headers, payload)
}

/// An error that ends the stream.
pub(super) fn exception(error: &AwsError, format: Format) -> Bytes {
    let headers =
        [(":message-type", "exception"), (":exception-type", error.code()), (":content-type", format.content_type())];
    let payload = format.encode(&std::collections::BTreeMap::from([("message", error.message())]));
    message(&headers, &payload.unwrap_or_default())
}

fn message(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let headers_length: usize = headers.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    let length = FRAME_BYTES + headers_length + payload.len();
    let number = |length: usize| u32::try_from(length).expect("a message has one block of records at most");
    let mut message = BytesMut::with_capacity(length);
    message.put_u32(number(length));
    message.put_u32(number(headers_length));
    message.put_u32(crc32fast::hash(&message));
    for (name, value) in headers {
        message.put_u8(u8::try_from(name.len()).expect("headers' names are literals"));
        message.put_slice(name.as_bytes());
        message.put_u8(STRING);
        message.put_u16(u16::try_from(value.len()).expect("headers' values are names of types"));
        message.put_slice(value.as_bytes());
    }
    message.put_slice(payload);
    message.put_u32(crc32fast::hash(&message));
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published vector `payload_one_str_header`.
    #[test]
    fn a_message_is_as_the_format_has_it() {
        let expected = [
            0, 0, 0, 0x3d, 0, 0, 0, 0x20, 0x07, 0xfd, 0x83, 0x96, 0x0c, b'c', b'o', b'n', b't', b'e', b'n', b't', b'-',
            b't', b'y', b'p', b'e', 0x07, 0, 0x10, b'a', b'p', b'p', b'l', b'i', b'c', b'a', b't', b'i', b'o', b'n',
            b'/', b'j', b's', b'o', b'n', b'{', b'\'', b'f', b'o', b'o', b'\'', b':', b'\'', b'b', b'a', b'r', b'\'',
            b'}', 0x8d, 0x9c, 0x08, 0xb1,
        ];
        let message = message(&[("content-type", "application/json")], b"{'foo':'bar'}");
        assert_eq!(&message[..], expected);
    }

    #[test]
    fn an_exception_names_its_type() {
        let message = exception(&AwsError::in_use("taken over"), Format::Json);
        let text = String::from_utf8_lossy(&message);
        for part in [":message-type", "exception", "ResourceInUseException", r#"{"message":"taken over"}"#] {
            assert!(text.contains(part), "{text}");
        }
    }
}
