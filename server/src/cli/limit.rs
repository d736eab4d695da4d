//! A limit as a flag's value: a size or a count, or "off".

use std::fmt::Display;
use std::str::FromStr;

use bytesize::ByteSize;

/// A limit that may be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit<T> {
    Off,
    At(T),
}

impl<T> Limit<T>
where
    T: Into<Quantity>,
{
    /// As the wire has it: zero is no limit.
    pub(super) fn on_wire(self) -> u64 {
        match self {
            Self::Off => 0,
            Self::At(limit) => limit.into().0,
        }
    }
}

impl<T: FromStr> FromStr for Limit<T>
where
    T::Err: Display,
    T: Into<Quantity> + Copy,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        let limit: T = text.parse().map_err(|error| format!("{error}; want a quantity, or \"off\""))?;
        if limit.into().0 == 0 {
            return Err("zero would take nothing; \"off\" is no limit".to_owned());
        }
        Ok(Self::At(limit))
    }
}

/// Bytes or records, as a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantity(u64);

impl From<ByteSize> for Quantity {
    fn from(size: ByteSize) -> Self {
        Self(size.as_u64())
    }
}

impl From<u64> for Quantity {
    fn from(count: u64) -> Self {
        Self(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_quantity_or_off() {
        assert_eq!("2MiB".parse::<Limit<ByteSize>>().unwrap().on_wire(), 2 << 20);
        assert_eq!("1000".parse::<Limit<u64>>().unwrap().on_wire(), 1000);
        assert_eq!("off".parse::<Limit<u64>>().unwrap().on_wire(), 0);
    }

    #[test]
    fn zero_and_nonsense_are_refused_with_a_way_out() {
        for text in ["0", "0B", "fast"] {
            assert!(text.parse::<Limit<ByteSize>>().unwrap_err().contains("\"off\""), "{text}");
        }
    }
}
