//! JSON numbers to f64, correctly rounded; the short decimals that k6 writes take one multiplication or division.

/// Powers of ten that f64 holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Parses the JSON number at the start of `text`; returns it and its length.
///
/// None when there is no JSON number, or one beyond the range of f64. Follows RFC 8259, section 6: no leading zero, no
/// `+`, a digit on both sides of the point.
#[inline]
pub fn parse_prefix(text: &[u8]) -> Option<(f64, usize)> {
    let negative = text.first() == Some(&b'-');
    let mut index = usize::from(negative);
    let integer_start = index;
    let mut mantissa: u64 = 0;
    while let Some(digit) = digit_at(text, index) {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(digit);
        index += 1;
    }
    let integer_length = index - integer_start;
    if integer_length == 0 || (integer_length > 1 && text[integer_start] == b'0') {
        return None;
    }
    let mut fraction_length = 0;
    if text.get(index) == Some(&b'.') {
        index += 1;
        let fraction_start = index;
        while let Some(digit) = digit_at(text, index) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(digit);
            index += 1;
        }
        fraction_length = index - fraction_start;
        if fraction_length == 0 {
            return None;
        }
    }
    let has_exponent = matches!(text.get(index), Some(b'e' | b'E'));
    // Both operands are exact in f64, so one rounding is the right rounding (Clinger 1990).
    if !has_exponent && integer_length + fraction_length <= 19 && mantissa <= 1 << 53 && fraction_length <= 22 {
        let value = mantissa as f64 / EXACT_POWERS[fraction_length];
        return Some((if negative { -value } else { value }, index));
    }
    if has_exponent {
        index += 1;
        index += usize::from(matches!(text.get(index), Some(b'+' | b'-')));
        let exponent_start = index;
        while digit_at(text, index).is_some() {
            index += 1;
        }
        if index == exponent_start {
            return None;
        }
    }
    let value: f64 = fast_float2::parse(&text[..index]).ok()?;
    value.is_finite().then_some((value, index))
}

#[inline]
fn digit_at(text: &[u8], index: usize) -> Option<u64> {
    let digit = text.get(index)?.wrapping_sub(b'0');
    (digit < 10).then_some(u64::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_number() {
        for wrong in ["", "-", "+1", ".5", "1.", "01", "-01", "1e", "1e+", "NaN", "Infinity", "-inf", "1e400", "null"] {
            let parsed = parse_prefix(wrong.as_bytes()).filter(|(_, length)| *length == wrong.len());
            assert_eq!(parsed, None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_number_is_as_the_standard_library_reads_it(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO) {
            for text in [format!("{value}"), format!("{value:e}"), format!("{value:.6}"), format!("{value:.17}")] {
                let (parsed, length) = parse_prefix(text.as_bytes()).unwrap();
                prop_assert_eq!(length, text.len());
                prop_assert_eq!(parsed.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{}", text);
            }
        }

        #[test]
        fn short_decimals(integer in 0u64..10_000_000, fraction in 0u32..1_000_000) {
            let text = format!("{integer}.{fraction:06}");
            let (parsed, _) = parse_prefix(text.as_bytes()).unwrap();
            prop_assert_eq!(parsed, text.parse::<f64>().unwrap());
        }
    }
}
