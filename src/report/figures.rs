//! Figures as people read them: as many digits as say something, with their unit, sign and interval.

use crate::model::finding::{Change, Scale, SeriesReference};
use crate::model::metric::Unit;

use super::columns::thousands;

/// Words a duration: `29.3 s`, `12 min 05 s`, `3 h 07 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..=119 => format!("{seconds:.1} s"),
        120..=7199 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// With `decimals`, and the whole part grouped by three.
pub fn figure(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, ""), |(whole, fraction)| (whole, fraction));
    let grouped = whole.parse().map_or(whole.to_owned(), thousands);
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{dot}{fraction}")
}

/// As many digits as say something, without an exponent for what people meet.
pub fn short(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        _ if magnitude >= 1e8 => format!("{value:.3e}"),
        _ if value.fract() == 0.0 => figure(value, 0),
        _ if magnitude >= 1e5 => figure(value, 0),
        _ if magnitude >= 100.0 => figure(value, 1),
        _ if magnitude >= 1.0 => figure(value, 2),
        _ if magnitude >= 1e-4 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

/// Words a fraction in percent: `7.12 %`. What is not all is never rounded to 100 %, and what is not nothing never to 0 %.
pub fn percent(fraction: f64) -> String {
    let percent = fraction * 100.0;
    let is_whole = (percent - percent.round()).abs() < 1e-9;
    let decimals = match percent.abs() {
        _ if is_whole => 0,
        magnitude if magnitude < 0.005 => return format!("{} %", short(percent)),
        magnitude if magnitude > 99.995 && magnitude < 100.0 => 4,
        magnitude if magnitude >= 100.0 => 0,
        _ => 2,
    };
    format!("{} %", figure(percent, decimals))
}

/// Words a value with its unit: `345.2 ms`, `7.12 %`, `1.80 MB`, `221`.
pub fn quantity(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds => format!("{} ms", short(value)),
        Unit::Bytes => bytes(value),
        Unit::Fraction => percent(value),
        Unit::Count | Unit::None => short(value),
    }
}

/// Words a size in units of 1,000.
pub fn bytes(value: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let steps = units.iter().scan(1.0, |size, unit| {
        let this = *size;
        *size *= 1000.0;
        Some((this, unit))
    });
    let (size, unit) = steps.take_while(|(size, _)| value.abs() >= *size).last().unwrap_or((1.0, &"B"));
    format!("{} {unit}", short(value / size))
}

/// Words how far a figure has moved: `+38.2 %` of the old value, or `+7.04 points` and `+12 ms` where it is a difference.
pub fn change(change: &Change, unit: Unit) -> String {
    signed(change.point, change.scale, unit)
}

/// Words the interval that holds the true change: `+34.1 % to +42.7 %`; none where it is not known.
pub fn interval(change: &Change, unit: Unit) -> Option<String> {
    let (low, high) = (change.low?, change.high?);
    Some(format!("{} to {}", signed(low, change.scale, unit), signed(high, change.scale, unit)))
}

fn signed(value: f64, scale: Scale, unit: Unit) -> String {
    let size = value.abs();
    let words = match (scale, unit) {
        (Scale::Ratio, _) => format!("{} %", figure(size * 100.0, if size >= 1.0 { 0 } else { 1 })),
        (Scale::Difference, Unit::Fraction) => format!("{} points", percent(size).trim_end_matches(" %")),
        (Scale::Difference, _) => quantity(size, unit),
    };
    format!("{}{words}", sign(value, &words))
}

/// Returns a plus, or a minus as wide; nothing for what `words` rounds to zero.
fn sign(value: f64, words: &str) -> &'static str {
    match words.contains(|letter| matches!(letter, '1'..='9')) {
        true if value > 0.0 => "+",
        true if value < 0.0 => "−",
        _ => "",
    }
}

/// Words how far inside its limit a threshold is, in percent of the limit: `+31 %`, `−0.3 %`.
pub fn headroom(fraction: f64) -> String {
    let words = format!("{} %", figure(fraction.abs() * 100.0, if fraction.abs() < 0.1 { 1 } else { 0 }));
    format!("{}{words}", sign(fraction, &words))
}

/// Words which figure of which samples: `p95 of http_req_duration, GET https://shop/cart`.
///
/// `name` and `method` say by themselves what they are; any other tag is named.
pub fn series(series: &SeriesReference) -> String {
    let statistic = series.statistic.as_ref().map_or(String::new(), |statistic| format!("{statistic} of "));
    let tag = |name: &str| series.tags.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let endpoint = match (tag("method"), tag("name")) {
        // Many scripts put the method into the name.
        (Some(method), Some(name)) if !name.starts_with(method) => Some(format!("{method} {name}")),
        (_, Some(name)) => Some(name.to_owned()),
        (Some(method), None) => Some(method.to_owned()),
        (None, None) => None,
    };
    let others =
        series.tags.iter().filter(|(name, value)| !matches!(name.as_str(), "name" | "method") && !value.is_empty());
    let others = others.map(|(name, value)| format!("{name} {value}"));
    let parts: Vec<String> = endpoint.into_iter().chain(others).collect();
    let comma = if parts.is_empty() { "" } else { ", " };
    format!("{statistic}{}{comma}{}", series.metric, parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.00123, "0.0012"),
            (0.0000123, "1.23e-5"),
            (1.5, "1.50"),
            (12.345, "12.35"),
            (-1234.5, "-1,234.5"),
            (1_234_567.0, "1,234,567"),
            (5e10, "5.000e10"),
        ] {
            assert_eq!(short(value), expected);
        }
        assert_eq!([0.5, 29.349, 725.0, 11_220.0].map(duration), ["0.5 s", "29.3 s", "12 min 05 s", "3 h 07 min"]);
    }

    #[test]
    fn percentages_do_not_round_to_all_or_nothing() {
        for (fraction, expected) in [
            (0.0, "0 %"),
            (1.0, "100 %"),
            (0.0712, "7.12 %"),
            (0.5, "50 %"),
            (0.99999, "99.9990 %"),
            (0.000012, "0.0012 %"),
            (3.456, "346 %"),
        ] {
            assert_eq!(percent(fraction), expected);
        }
    }

    #[test]
    fn quantities_have_their_unit() {
        for (value, unit, expected) in [
            (345.2, Unit::Milliseconds, "345.2 ms"),
            (0.5, Unit::Fraction, "50 %"),
            (1_801_221.0, Unit::Bytes, "1.80 MB"),
            (0.0, Unit::Bytes, "0 B"),
            (999.0, Unit::Bytes, "999 B"),
            (221.0, Unit::Count, "221"),
        ] {
            assert_eq!(quantity(value, unit), expected);
        }
    }

    #[test]
    fn changes_have_a_sign_and_an_interval() {
        let moved = |scale, point| Change { scale, point, low: Some(point - 0.1), high: None, confidence: None };
        assert_eq!(change(&moved(Scale::Ratio, 0.382), Unit::Milliseconds), "+38.2 %");
        assert_eq!(change(&moved(Scale::Ratio, -0.5), Unit::Milliseconds), "−50.0 %");
        assert_eq!(change(&moved(Scale::Ratio, -0.0002), Unit::Milliseconds), "0.0 %");
        assert_eq!(change(&moved(Scale::Ratio, 1.27), Unit::Milliseconds), "+127 %");
        assert_eq!(change(&moved(Scale::Difference, 0.0704), Unit::Fraction), "+7.04 points");
        assert_eq!(change(&moved(Scale::Difference, 12.0), Unit::Milliseconds), "+12 ms");
        assert_eq!(interval(&moved(Scale::Ratio, 0.3), Unit::Milliseconds), None);
        let known = Change { high: Some(0.4), ..moved(Scale::Ratio, 0.3) };
        assert_eq!(interval(&known, Unit::Milliseconds).as_deref(), Some("+20.0 % to +40.0 %"));
    }

    #[test]
    fn series_are_worded() {
        let reference = |statistic: Option<&str>, tags: &[(&str, &str)]| SeriesReference {
            metric: "m".to_owned(),
            tags: tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            statistic: statistic.map(str::to_owned),
        };
        for (statistic, tags, expected) in [
            (None, &[][..], "m"),
            (Some("p95"), &[("method", "GET"), ("name", "/cart")], "p95 of m, GET /cart"),
            (None, &[("method", "GET"), ("name", "GET /cart")], "m, GET /cart"),
            (None, &[("name", "/a"), ("scenario", "buy"), ("group", "")], "m, /a, scenario buy"),
        ] {
            assert_eq!(series(&reference(statistic, tags)), expected);
        }
    }
}
