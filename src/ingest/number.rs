//! JSON numbers to f64, correctly rounded; the short decimals that k6 writes are read eight digits at a time.

/// Powers of ten that f64 holds exactly.
const EXACT_POWERS: [f64; 9] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];

/// Parses the JSON number at the start of `text`; returns it and its length.
///
/// None when there is no JSON number, or one beyond the range of f64. Follows RFC 8259, section 6: no leading zero, no
/// `+`, a digit on both sides of the point.
#[inline(always)]
pub fn parse_prefix(text: &[u8]) -> Option<(f64, usize)> {
    match short_decimal(text) {
        Some(parsed) => Some(parsed),
        None => any_number(text),
    }
}

/// Parses what k6 writes nearly always: fewer than eight digits before the point and fewer than eight behind it.
#[inline(always)]
fn short_decimal(text: &[u8]) -> Option<(f64, usize)> {
    let integer = Digits::at(text)?;
    // Without short circuits: how many digits come is not to be foreseen, and a wrong guess of the processor costs more.
    let starts_with_zero = (integer.length > 1) & (text[0] == b'0');
    if (integer.length == 0) | (integer.length == 8) | starts_with_zero {
        return None;
    }
    let mut length = integer.length;
    // Signed: the processor has no conversion of its own from unsigned words.
    let mut value = integer.value as i64 as f64;
    if text[length] == b'.' {
        let fraction = Digits::at(&text[length + 1..])?;
        if (fraction.length == 0) | (fraction.length == 8) {
            return None;
        }
        length += 1 + fraction.length;
        let mantissa = integer.value * INTEGER_POWERS[fraction.length] + fraction.value;
        // Both operands are exact in f64, so one rounding is the right rounding (Clinger 1990).
        value = mantissa as i64 as f64 / EXACT_POWERS[fraction.length];
    }
    let ends = !matches!(text.get(length)?, b'e' | b'E');
    ends.then_some((value, length))
}

const INTEGER_POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The decimal digits at the start of a text, eight at most, read as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digits {
    pub value: u64,
    pub length: usize,
}

impl Digits {
    /// None when fewer than eight bytes are left to read.
    #[inline(always)]
    pub fn at(text: &[u8]) -> Option<Digits> {
        let word = u64::from_le_bytes(text.first_chunk::<8>().copied()?) ^ 0x3030_3030_3030_3030;
        // A byte above 9 reaches the highest bit by 0x76; what it carries over spoils only bytes that come after it.
        let others = (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
        let length = others.trailing_zeros() as usize / 8;
        // The digits move up to the end of the word, zeros come before them; then neighbours are joined: 1, 2, 4 digits.
        let digits = word.checked_shl(64 - 8 * length as u32).unwrap_or(0);
        let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
        const EVERY_FOURTH: u64 = 0x0000_00ff_0000_00ff;
        let high = (pairs & EVERY_FOURTH).wrapping_mul(1_000_000 << 32 | 100);
        let low = (pairs >> 16 & EVERY_FOURTH).wrapping_mul(10_000 << 32 | 1);
        Some(Digits { value: high.wrapping_add(low) >> 32, length })
    }
}

/// Parses a number of any form.
#[cold]
fn any_number(text: &[u8]) -> Option<(f64, usize)> {
    let mut index = usize::from(text.first() == Some(&b'-'));
    let integer_start = index;
    while is_digit(text, index) {
        index += 1;
    }
    let integer_length = index - integer_start;
    if integer_length == 0 || (integer_length > 1 && text[integer_start] == b'0') {
        return None;
    }
    if text.get(index) == Some(&b'.') {
        index += 1;
        let fraction_start = index;
        while is_digit(text, index) {
            index += 1;
        }
        if index == fraction_start {
            return None;
        }
    }
    if matches!(text.get(index), Some(b'e' | b'E')) {
        index += 1;
        index += usize::from(matches!(text.get(index), Some(b'+' | b'-')));
        let exponent_start = index;
        while is_digit(text, index) {
            index += 1;
        }
        if index == exponent_start {
            return None;
        }
    }
    let value: f64 = fast_float2::parse(&text[..index]).ok()?;
    value.is_finite().then_some((value, index))
}

fn is_digit(text: &[u8], index: usize) -> bool {
    text.get(index).is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_number() {
        for wrong in ["", "-", "+1", ".5", "1.", "01", "-01", "1e", "1e+", "NaN", "Infinity", "-inf", "1e400", "null"] {
            for more in ["", "}          "] {
                let parsed = parse_prefix(format!("{wrong}{more}").as_bytes());
                assert_eq!(parsed.filter(|(_, length)| *length == wrong.len()), None, "{wrong}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_number_is_as_the_standard_library_reads_it(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO) {
            for text in [format!("{value}"), format!("{value:e}"), format!("{value:.6}"), format!("{value:.17}")] {
                // With bytes behind it the number is read as words, at the end of the input byte by byte.
                for more in ["", ",\"tags\":{}"] {
                    let (parsed, length) = parse_prefix(format!("{text}{more}").as_bytes()).unwrap();
                    prop_assert_eq!(length, text.len());
                    prop_assert_eq!(parsed.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{}", text);
                }
            }
        }

        #[test]
        fn short_decimals(integer in 0u64..1_000_000_000, fraction in 0u32..1_000_000_000, places in 1usize..10) {
            let fraction = &format!("{fraction:09}")[..places];
            for text in [format!("{integer}"), format!("{integer}.{fraction}"), format!("0.{fraction}")] {
                let (parsed, length) = parse_prefix(format!("{text},\"tags\"").as_bytes()).unwrap();
                prop_assert_eq!((parsed, length), (text.parse::<f64>().unwrap(), text.len()));
            }
        }

        #[test]
        fn digits_at_the_start(number in 0u64..100_000_000, rest in "[^0-9]{8}") {
            let text = format!("{number}{rest}");
            let length = number.to_string().len();
            prop_assert_eq!(Digits::at(text.as_bytes()), Some(Digits { value: number, length }));
            prop_assert_eq!(Digits::at(rest.as_bytes()).map(|digits| digits.length), Some(0));
        }
    }
}
