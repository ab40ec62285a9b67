//! What the answers of all four servers share: numbers as texts, ids in two alphabets, times in three units, and the bounds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, de};

use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

/// Longest text taken over from an answer: room for a long SQL query or a stack trace's first lines.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;

/// Most attributes of a span and labels of a log line: twice what instrumentations of HTTP, SQL and Kubernetes write together.
pub const ATTRIBUTES_MAX: usize = 64;

/// Letters of a server's refusal that are passed on.
const REFUSAL_BYTES_MAX: usize = 300;

const NANOSECONDS_PER_MILLISECOND: i64 = 1_000_000;

/// Why an answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error("failed to parse {place} as JSON")]
    Json {
        place: &'static str,
        #[source]
        cause: serde_json::Error,
    },
    #[error("the server refused: {message}")]
    Refused { message: String },
    #[error("failed to read {place}: expected {expected}")]
    Malformed { place: String, expected: &'static str },
    #[error("failed to read {place}: more than {limit} {what}")]
    TooMany { place: String, limit: usize, what: &'static str },
}

pub(super) fn malformed(place: impl Into<String>, expected: &'static str) -> AnswerError {
    AnswerError::Malformed { place: place.into(), expected }
}

/// Parses a whole answer, whatever mark of byte order stands before it.
pub(super) fn from_json<'a, T: Deserialize<'a>>(place: &'static str, bytes: &'a [u8]) -> Result<T, AnswerError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|cause| AnswerError::Json { place, cause })
}

/// Returns what a server said instead of an answer: a JSON object's `error` or `message`, else the text itself.
pub fn refusal(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: Option<String>,
        message: Option<String>,
    }
    let said = serde_json::from_slice::<Refusal>(body).ok().and_then(|refusal| refusal.error.or(refusal.message));
    let said = said.unwrap_or_else(|| {
        let start = body.get(..REFUSAL_BYTES_MAX * 2).unwrap_or(body);
        String::from_utf8_lossy(start).trim().to_owned()
    });
    cut_to(said, REFUSAL_BYTES_MAX)
}

/// Returns `text`, or its beginning and `…` when it is longer than [`TEXT_BYTES_MAX`].
pub fn cut(text: String) -> String {
    cut_to(text, TEXT_BYTES_MAX)
}

pub(super) fn cut_to(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max.saturating_sub('…'.len_utf8())));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

pub(super) fn cut_all(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.into_iter().map(|(name, value)| (cut(name), cut(value))).collect()
}

/// A whole number that JSON holds as a number or, since it may have 64 bits, as a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Integer(pub i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Integer;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a whole number of at most 63 bits, bare or as a text")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Integer, E> {
                Ok(Integer(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Integer, E> {
                i64::try_from(value).map(Integer).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Integer, E> {
                value.parse().map(Integer).map_err(|_| E::invalid_value(de::Unexpected::Str(head_of(value)), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A number that JSON holds as a text, since it may be `NaN` or `+Inf`, or bare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Decimal(pub f64);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Decimal;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a number, bare or as a text")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Decimal, E> {
                Ok(Decimal(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Decimal, E> {
                Ok(Decimal(value as f64))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Decimal, E> {
                Ok(Decimal(value as f64))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Decimal, E> {
                value.parse().map(Decimal).map_err(|_| E::invalid_value(de::Unexpected::Str(head_of(value)), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A member of an enumeration, which protobuf's JSON writes by name and OTLP's by number.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Code {
    #[default]
    Absent,
    Number(i64),
    Name(String),
}

impl Code {
    pub(super) fn is(&self, name: &str, number: i64) -> bool {
        match self {
            Code::Absent => false,
            Code::Number(held) => *held == number,
            Code::Name(held) => held == name,
        }
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Code;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a name or a number")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Code, E> {
                Ok(Code::Number(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Code, E> {
                i64::try_from(value)
                    .map(Code::Number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Code, E> {
                Ok(Code::Name(head_of(value).to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A list that is refused once it has more than `MAX` elements, before they take memory.
#[derive(Debug)]
pub(super) struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> de::Visitor<'de> for Visitor<T, MAX> {
            type Value = List<T, MAX>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                write!(formatter, "a list of at most {MAX}")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = elements.next_element()? {
                    if list.len() == MAX {
                        return Err(de::Error::invalid_length(MAX + 1, &self));
                    }
                    list.push(element);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(Visitor(PhantomData))
    }
}

fn head_of(text: &str) -> &str {
    &text[..text.floor_char_boundary(40)]
}

/// Returns the time of so many seconds since 1970, to the millisecond: the servers' clocks have no finer step, and a float
/// of seconds is off by some hundred nanoseconds.
pub(super) fn time_of_seconds(seconds: f64) -> Option<Timestamp> {
    let milliseconds = (seconds * 1e3).round();
    const MILLISECONDS_MAX: i64 = i64::MAX / NANOSECONDS_PER_MILLISECOND;
    let is_held = milliseconds.abs() <= MILLISECONDS_MAX as f64;
    is_held.then_some(Timestamp((milliseconds as i64).saturating_mul(NANOSECONDS_PER_MILLISECOND)))
}

/// Returns the time of a number whose unit its size tells: seconds below 10^11, milliseconds below 10^14, microseconds
/// below 10^17, else nanoseconds. Each of these bounds is a day of the year 5138 in its unit and of 1973 in the next.
pub(super) fn time_of_any_unit(number: f64) -> Option<Timestamp> {
    let nanoseconds_per_unit = match number.abs() {
        size if size < 1e11 => return time_of_seconds(number),
        size if size < 1e14 => NANOSECONDS_PER_MILLISECOND,
        size if size < 1e17 => NANOSECONDS_PER_SECOND / 1_000_000,
        size if size < i64::MAX as f64 => 1,
        _ => return None,
    };
    (number as i64).checked_mul(nanoseconds_per_unit).map(Timestamp)
}

const BASE64_ANY_PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, BASE64_ANY_PADDING);

/// Reads an id of `N` bytes from hex, whose leading zeros may be missing, or from base64; none when it is neither or all zeros.
///
/// 16 bytes are at most 32 letters of hex, 8 bytes 16. Base64 of either is padded with `=`, which hex has not.
pub fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut id = [0; N];
    let is_hex = !text.is_empty() && text.len() <= 2 * N && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        for (place, digit) in text.bytes().rev().enumerate() {
            let value = (digit as char).to_digit(16)? as u8;
            id[N - 1 - place / 2] |= value << (4 * (place % 2));
        }
    } else {
        if text.len() > 4 * N.div_ceil(3) {
            return None;
        }
        let standard: Cow<str> =
            if text.contains(['-', '_']) { text.replace('-', "+").replace('_', "/").into() } else { text.into() };
        let bytes = BASE64.decode(standard.as_bytes()).ok().filter(|bytes| bytes.len() <= N)?;
        id[N - bytes.len()..].copy_from_slice(&bytes);
    }
    (id != [0; N]).then_some(id)
}

/// Returns the trace id that labels hold under any of its usual names.
pub(super) fn trace_id_in(labels: &BTreeMap<String, String>) -> Option<[u8; 16]> {
    const NAMES: [&str; 5] = ["trace_id", "traceID", "traceId", "traceid", "TraceId"];
    NAMES.iter().find_map(|name| id(labels.get(*name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_either_alphabet() {
        let whole =
            Some([0x07, 0xac, 0x2a, 0xe5, 0xfc, 0xff, 0x81, 0x15, 0x8e, 0x06, 0x24, 0x2a, 0x9c, 0x18, 0x40, 0x0d]);
        // Tempo's search lost the leading zero; its trace has base64.
        for text in [
            "07ac2ae5fcff81158e06242a9c18400d",
            "7ac2ae5fcff81158e06242a9c18400d",
            "B6wq5fz/gRWOBiQqnBhADQ==",
            "B6wq5fz_gRWOBiQqnBhADQ",
        ] {
            assert_eq!(id::<16>(text), whole, "{text}");
        }
        assert_eq!(id::<8>("DR+i+5MGUdA="), Some([0x0d, 0x1f, 0xa2, 0xfb, 0x93, 0x06, 0x51, 0xd0]));
        assert_eq!(id::<8>("1"), Some([0, 0, 0, 0, 0, 0, 0, 1]));
        let long = "a".repeat(1 << 20);
        for text in ["", "0000000000000000", "AAAAAAAAAAA=", "zz zz", "é", "=", "00f067aa0ba902b70", &long] {
            assert_eq!(id::<8>(text), None, "{}", head_of(text));
        }
    }

    #[test]
    fn texts_are_cut_between_letters() {
        let cut_text = cut("é".repeat(3000));
        assert!(cut_text.len() <= TEXT_BYTES_MAX && cut_text.ends_with("é…"));
        assert_eq!(cut("short".to_owned()), "short");
    }

    #[test]
    fn times_in_any_unit() {
        for number in [1_795_451_624.825, 1_795_451_624_825.0, 1_795_451_624_825_000.0] {
            assert_eq!(time_of_any_unit(number), Some(Timestamp(1_795_451_624_825_000_000)), "{number}");
        }
        for number in [f64::NAN, f64::INFINITY, 1e300, -1e300] {
            assert_eq!((time_of_any_unit(number), time_of_seconds(number)), (None, None), "{number}");
        }
    }

    #[test]
    fn refusals_of_any_form() {
        assert_eq!(refusal(br#"{"code":"unknown","message":"canceled"}"#), "canceled");
        assert_eq!(refusal(b"parse error at line 1\n"), "parse error at line 1");
        assert_eq!(refusal(&[0xff; 10_000]).chars().count(), 100);
        assert_eq!(refusal(b""), "");
    }
}
