//! A request that is read without a tree. What is read is what the tree would have given: objects as structures, arrays as
//! lists, text as text, and every member known. All else, also where it means the same, is an error, and the tree's to judge:
//! what it costs only odd requests pay.
//!
//! Deserialisers read more than the model allows. They take an array for a structure, CBOR's byte strings for names, and
//! tagged values for plain ones; and what they pass over they hardly look at.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// A value that was read so.
pub(super) struct Quick<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Quick<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Plain(deserializer)).map(Self)
    }
}

/// A deserialiser, or a part of one, that gives plain values only.
struct Plain<X>(X);

/// What a type asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Structure,
    List,
    Text,
    Bytes,
    Number,
    Boolean,
    Option,
}

/// A visitor that is shown one kind of values.
struct Only<V>(Kind, V);

impl<'de, D: Deserializer<'de>> Plain<D> {
    fn only<V: Visitor<'de>>(self, kind: Kind, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Only(kind, visitor))
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Plain<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.only(Kind::Structure, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.only(Kind::List, visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.only(Kind::Text, visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.only(Kind::Text, visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.only(Kind::Text, visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.only(Kind::Bytes, visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.only(Kind::Number, visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.only(Kind::Boolean, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Only(Kind::Option, visitor))
    }

    /// A member that is not known, or a type that no request has which is read so.
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, D::Error> {
        Err(D::Error::custom("it is not read without a tree"))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 f64 char bytes unit unit_struct newtype_struct tuple tuple_struct map enum
        ignored_any
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

impl<V> Only<V> {
    fn of<E: Error>(self, kind: Kind) -> Result<V, E> {
        if self.0 == kind { Ok(self.1) } else { Err(E::custom(format_args!("{kind:?} in place of {:?}", self.0))) }
    }
}

/// Whatever is not here, floating-point numbers and tags among it, is refused.
impl<'de, V: Visitor<'de>> Visitor<'de> for Only<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.expecting(formatter)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.of(Kind::Structure)?.visit_map(Plain(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.of(Kind::List)?.visit_seq(Plain(items))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        self.of(Kind::Text)?.visit_str(text)
    }

    fn visit_string<E: Error>(self, text: String) -> Result<V::Value, E> {
        self.of(Kind::Text)?.visit_string(text)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<V::Value, E> {
        self.of(Kind::Bytes)?.visit_bytes(bytes)
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<V::Value, E> {
        self.of(Kind::Bytes)?.visit_byte_buf(bytes)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<V::Value, E> {
        self.of(Kind::Number)?.visit_u64(number)
    }

    fn visit_bool<E: Error>(self, is: bool) -> Result<V::Value, E> {
        self.of(Kind::Boolean)?.visit_bool(is)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.of(Kind::Option)?.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.of(Kind::Option)?.visit_some(Plain(deserializer))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Plain<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(Plain(seed))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.0.next_value_seed(Plain(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Plain<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        self.0.next_element_seed(Plain(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Plain<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Plain(deserializer))
    }
}
