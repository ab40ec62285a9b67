//! RFC 3339 times as Go writes them, to nanoseconds; most lines share all but the seconds with the line before.

use crate::model::time::NANOSECONDS_PER_SECOND;

/// Remembers the minute of the last time, so that only seconds and fraction are computed again.
#[derive(Debug, Default)]
pub struct TimeParser {
    /// `2026-11-22T20:59:`
    minute_text: [u8; 17],
    minute_seconds: i64,
}

impl TimeParser {
    /// Parses `2026-11-22T20:59:43.602155916Z` or with an offset such as `+01:00`; none when it is anything else, or
    /// outside the years 1678 to 2261.
    #[inline]
    pub fn parse(&mut self, text: &[u8]) -> Option<i64> {
        if text.len() < 20 {
            return None;
        }
        if text[..17] != self.minute_text {
            self.minute_seconds = minute_seconds(&text[..17])?;
            self.minute_text.copy_from_slice(&text[..17]);
        }
        let second = two_digits(&text[17..])?;
        if second > 59 {
            return None;
        }
        let (nanoseconds, fraction_length) = if text[19] == b'.' { fraction(&text[20..])? } else { (0, 0) };
        let zone_start = 19 + if fraction_length > 0 { fraction_length + 1 } else { 0 };
        let offset_seconds = zone_offset_seconds(&text[zone_start..])?;
        let seconds = self.minute_seconds + second - offset_seconds;
        seconds.checked_mul(NANOSECONDS_PER_SECOND)?.checked_add(nanoseconds)
    }
}

/// Returns the nanoseconds of the digits at the start of `text`, 1 to 9 of them, and how many there are.
fn fraction(text: &[u8]) -> Option<(i64, usize)> {
    let mut nanoseconds = 0;
    let mut length = 0;
    while length < text.len() && text[length].is_ascii_digit() {
        if length == 9 {
            return None;
        }
        nanoseconds = nanoseconds * 10 + i64::from(text[length] - b'0');
        length += 1;
    }
    const SCALE: [i64; 10] = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    (length > 0).then_some((nanoseconds * SCALE[length], length))
}

fn zone_offset_seconds(zone: &[u8]) -> Option<i64> {
    if zone == b"Z" {
        return Some(0);
    }
    if zone.len() != 6 || zone[3] != b':' {
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

/// `text`: 17 bytes, `2026-11-22T20:59:`.
fn minute_seconds(text: &[u8]) -> Option<i64> {
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
