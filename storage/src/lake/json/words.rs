//! Eight bytes of a text at once: where a string ends, whether a name is the expected one, and short whole numbers.

/// How a field's name and the colon after it are usually written; empty where the name cannot be written as it is.
pub(crate) fn key_token(name: &str) -> Box<[u8]> {
    if plain_length(name.as_bytes()) < name.len() {
        return Box::default();
    }
    format!("\"{name}\":").into_bytes().into()
}

/// How many bytes of a string stand for themselves: those before a quote, a backslash or a control character.
#[inline]
pub(super) fn plain_length(text: &[u8]) -> usize {
    let mut length = 0;
    while let Some(word) = word_of(&text[length..]) {
        let ends = string_ends(word);
        if ends != 0 {
            return length + ends.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1F);
    length + text[length..].iter().position(is_end).unwrap_or(text.len() - length)
}

/// The first eight bytes, where there are so many; the first of them is the lowest.
#[inline]
pub(super) fn word_of(text: &[u8]) -> Option<u64> {
    text.first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// As [`slice::starts_with`], without a call for so few bytes: by words, of which the last overlaps the one before.
#[inline]
pub(super) fn starts_with(text: &[u8], token: &[u8]) -> bool {
    let Some(text) = text.get(..token.len()) else { return false };
    if token.len() < 8 {
        return match token.len() {
            0..4 => text == token,
            _ => text.first_chunk::<4>() == token.first_chunk() && text.last_chunk::<4>() == token.last_chunk(),
        };
    }
    let (mut text_rest, mut token_rest) = (text, token);
    while let (Some((of_text, text_more)), Some((of_token, token_more))) =
        (text_rest.split_first_chunk::<8>(), token_rest.split_first_chunk::<8>())
    {
        if of_text != of_token {
            return false;
        }
        (text_rest, token_rest) = (text_more, token_more);
    }
    text.last_chunk::<8>() == token.last_chunk()
}

/// The whole number that a word's text begins with, and how many digits it has; `None` where it has none, a needless zero
/// before others, or goes on past the word.
#[inline]
pub(super) const fn short_whole(word: u64) -> Option<(i64, usize)> {
    // Digits become their values; in all other bytes the upper half is not zero, once 6 is added.
    let values = word ^ (ONES * b'0' as u64);
    let others = (values | values.wrapping_add(ONES * 6)) & (ONES * 0xF0);
    let length = others.trailing_zeros() as usize / 8;
    if length == 0 || length == 8 || (length > 1 && values & 0xFF == 0) {
        return None;
    }
    // Zeros come before the digits, so that they are eight; then each two become one, three times.
    let digits = values << (64 - 8 * length);
    let pairs = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    let eight = (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xFFFF_FFFF;
    Some((eight as i64, length))
}

/// A one in each byte.
const ONES: u64 = u64::MAX / 0xFF;

/// The high bit of each byte that ends a string's plain text; right up to the first such byte, which is the lowest.
#[inline]
const fn string_ends(word: u64) -> u64 {
    const HIGH: u64 = ONES << 7;
    // A byte borrows from the next one only where it is an end itself.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word
    }
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    (below_space | zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64))) & HIGH
}
