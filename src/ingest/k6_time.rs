//! RFC 3339 times as Go writes them, to nanoseconds; most lines share all but the seconds with the line before.

use crate::model::time::NANOSECONDS_PER_SECOND;

use super::number::Digits;

/// Remembers the minute of the last time, so that only seconds and fraction are computed again.
#[derive(Debug)]
pub struct TimeParser {
    /// `2026-11-22T20:59:`
    minute_text: [u8; 17],
    minute_seconds: i64,
}

impl Default for TimeParser {
    /// Remembers a true minute: of bytes that are none, an input that holds them would get a time.
    fn default() -> TimeParser {
        TimeParser { minute_text: *b"1970-01-01T00:00:", minute_seconds: 0 }
    }
}

impl TimeParser {
    /// Parses `2026-11-22T20:59:43.602155916Z` or with an offset such as `+01:00`; none when it is anything else, or
    /// outside the years 1678 to 2261.
    pub fn parse(&mut self, text: &[u8]) -> Option<i64> {
        let (time_ns, length) = self.parse_prefix(text)?;
        (length == text.len()).then_some(time_ns)
    }

    /// Parses the time at the start of `text`; returns it and its length.
    #[inline(always)]
    pub fn parse_prefix(&mut self, text: &[u8]) -> Option<(i64, usize)> {
        let minute_text = text.first_chunk::<17>()?;
        if *minute_text != self.minute_text {
            self.minute_seconds = minute_seconds(minute_text)?;
            self.minute_text = *minute_text;
        }
        let second = two_digits(text.get(17..19)?)?;
        if second > 59 {
            return None;
        }
        let (nanoseconds, zone_start) = match text.get(19)? {
            b'.' => {
                let (nanoseconds, length) = fraction(&text[20..])?;
                (nanoseconds, 20 + length)
            }
            _ => (0, 19),
        };
        let (offset_seconds, end) = match text.get(zone_start)? {
            b'Z' => (0, zone_start + 1),
            _ => (zone_offset_seconds(text.get(zone_start..zone_start + 6)?)?, zone_start + 6),
        };
        let seconds = self.minute_seconds + second - offset_seconds;
        Some((seconds.checked_mul(NANOSECONDS_PER_SECOND)?.checked_add(nanoseconds)?, end))
    }
}

/// Returns the nanoseconds of the digits at the start of `text`, 1 to 9 of them, and how many there are.
#[inline(always)]
fn fraction(text: &[u8]) -> Option<(i64, usize)> {
    const SCALE: [i64; 10] = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    let (mut value, mut length) = match Digits::at(text) {
        Some(digits) => (digits.value as i64, digits.length),
        None => (0, 0),
    };
    // The ninth digit; at the end of the input all of them.
    while length < 10 && text.get(length).is_some_and(u8::is_ascii_digit) {
        value = value * 10 + i64::from(text[length] - b'0');
        length += 1;
    }
    if length == 0 || length > 9 {
        return None;
    }
    Some((value * SCALE[length], length))
}

/// `zone`: 6 bytes, `+01:00`.
fn zone_offset_seconds(zone: &[u8]) -> Option<i64> {
    if zone[3] != b':' {
        return None;
    }
    let (hours, minutes) = (two_digits(&zone[1..])?, two_digits(&zone[4..])?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    match zone[0] {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// `text`: `2026-11-22T20:59:`.
fn minute_seconds(text: &[u8; 17]) -> Option<i64> {
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(index, byte)| text[*index] != *byte) {
        return None;
    }
    let year = two_digits(text)? * 100 + two_digits(&text[2..])?;
    let (month, day) = (two_digits(&text[5..])?, two_digits(&text[8..])?);
    let (hour, minute) = (two_digits(&text[11..])?, two_digits(&text[14..])?);
    let date = chrono::NaiveDate::from_ymd_opt(year as i32, month as u32, day as u32)?;
    let time = date.and_hms_opt(hour as u32, minute as u32, 0)?;
    Some(time.and_utc().timestamp())
}

fn two_digits(text: &[u8]) -> Option<i64> {
    let (tens, ones) = (text[0].wrapping_sub(b'0'), text[1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then_some(i64::from(tens) * 10 + i64::from(ones))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let expected = expected.map(|text| text.parse::<crate::model::time::Timestamp>().unwrap().0);
        assert_eq!(TimeParser::default().parse(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn go_times() {
        for good in [
            "2026-11-22T20:59:43.602155916Z",
            "2026-11-22T20:59:43Z",
            "2026-11-22T20:59:43.6+01:00",
            "2024-02-29T23:59:59.000000001-11:30",
            "1700-01-01T00:00:00Z",
            "1970-01-01T00:00:01Z",
        ] {
            check(good, Some(good));
        }
        for wrong in [
            "",
            "2026-11-22T20:59:43",
            "2026-02-29T00:00:00Z",
            "2026-11-22 20:59:43Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T20:59:60Z",
            "2026-11-22T20:59:43.Z",
            "2026-11-22T20:59:43.1234567890Z",
            "2026-11-22T20:59:43+1:00",
            "0001-01-01T00:00:00Z",
            "9999-01-01T00:00:00Z",
            "2026-11-22T20:59:43Zx",
            "2026-11-22T20:59:4\u{e9}Z",
        ] {
            check(wrong, None);
        }
        // A new parser took these bytes for the minute that it remembered.
        check(&format!("{}43Z", "\0".repeat(17)), None);
    }

    #[test]
    fn the_remembered_minute_is_not_taken_for_another() {
        let mut parser = TimeParser::default();
        let first = parser.parse(b"2026-11-22T20:59:43Z").unwrap();
        assert_eq!(parser.parse(b"2026-11-22T20:59:44Z"), Some(first + NANOSECONDS_PER_SECOND));
        assert_eq!(parser.parse(b"2026-11-22T21:00:44Z"), Some(first + 61 * NANOSECONDS_PER_SECOND));
        assert_eq!(parser.parse(b"2026-11-22Tab:00:44Z"), None);
        assert_eq!(parser.parse(b"2026-11-22T20:59:43Z"), Some(first));
    }
}
