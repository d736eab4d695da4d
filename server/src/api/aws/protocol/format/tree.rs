//! A body as a tree, the same whichever format it had, and of bounded size.

use std::cell::Cell;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde_json::{Map, Number, Value};

/// The most values of a tree: no request has a tenth of them. A value takes a byte of a body, and hundreds of a tree.
const VALUES_MAX: usize = 1 << 16;
/// CBOR's tag of a time since the epoch, which AWS' SDKs give in milliseconds.
const EPOCH_TAG: u64 = 1;
/// How `serde_json` names members that are not what they seem. Where it reads a [`Value`], the text of such a member is read
/// as JSON in its place, and so on within, as deep as the stack goes and then past it. So no tree has one.
const PRIVATE: &str = "$serde_json::private::";

/// Reads a client's JSON; nothing else should. See `PRIVATE`.
pub(in crate::api::aws) fn json_tree(json: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(json).map(|Tree(value)| value)
}

/// Reads a client's CBOR as the JSON that would say the same: bytes are base64, times are seconds.
pub(super) fn cbor_tree(cbor: &[u8]) -> Result<Value, ciborium::de::Error<std::io::Error>> {
    ciborium::from_reader(cbor).map(|Tree(value)| value)
}

struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Part(&Cell::new(VALUES_MAX)).deserialize(deserializer).map(Self)
    }
}

/// A part of a tree, and how many values there may still be.
struct Part<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| D::Error::custom(format_args!("it has more than {VALUES_MAX} values")))?);
        deserializer.deserialize_any(self)
    }
}

/// As deep as the readers go, which is not deep.
impl<'de> Visitor<'de> for Part<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::Bool(is))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    /// CBOR's integers of more than 64 bits, some of which have no more.
    fn visit_i128<E: Error>(self, number: i128) -> Result<Value, E> {
        i64::try_from(number).map(Value::from).map_err(|_| E::custom("a number has more than 64 bits"))
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<Value, E> {
        u64::try_from(number).map(Value::from).map_err(|_| E::custom("a number has more than 64 bits"))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(STANDARD.encode(bytes).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Part(self.0))? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(Name(name)) = members.next_key()? {
            object.insert(name, members.next_value_seed(Part(self.0))?);
        }
        Ok(Value::Object(object))
    }

    /// CBOR's tags.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        let (IgnoredAny, tagged) = tagged.variant()?;
        tagged.tuple_variant(2, Tagged(self.0))
    }
}

/// A member's name.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name that is text")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        if name.starts_with(PRIVATE) {
            Err(E::custom("a member has a private name"))
        } else {
            Ok(Name(name.to_owned()))
        }
    }
}

/// A value with a tag, which means nothing but on a time in milliseconds.
struct Tagged<'a>(&'a Cell<usize>);

impl<'de> Visitor<'de> for Tagged<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a tag and a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tagged: A) -> Result<Value, A::Error> {
        let tag: Option<u64> = tagged.next_element()?;
        let value = tagged.next_element_seed(Part(self.0))?.ok_or_else(|| A::Error::custom("a tag has no value"))?;
        match value.as_i64() {
            Some(millis) if tag == Some(EPOCH_TAG) => Ok(Value::from(millis as f64 / 1000.0)),
            _ => Ok(value),
        }
    }
}
