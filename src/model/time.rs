//! A point in time, to the nanosecond, in UTC.

use std::fmt;

use chrono::{DateTime, SecondsFormat};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

/// Nanoseconds since 1970-01-01T00:00:00Z; covers the years 1678 to 2261.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Timestamp {
        let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl Timestamp {
    /// Returns the time so many seconds later, as near as the type holds it.
    pub fn after_seconds(self, seconds: f64) -> Timestamp {
        Timestamp(self.0.saturating_add((seconds * NANOSECONDS_PER_SECOND as f64) as i64))
    }

    /// Returns hours, minutes and seconds in UTC: `10:05:00`.
    pub fn clock(self) -> String {
        self.to_string().get(11..19).unwrap_or_default().to_owned()
    }

    /// Returns the seconds from `earlier` to `self`, negative when `self` is the earlier one.
    pub fn seconds_since(self, earlier: Timestamp) -> f64 {
        (self.0 as i128 - earlier.0 as i128) as f64 / NANOSECONDS_PER_SECOND as f64
    }
}

/// RFC 3339 in UTC, with as many fractional digits (0, 3, 6 or 9) as the value needs.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = DateTime::from_timestamp_nanos(self.0).to_rfc3339_opts(SecondsFormat::AutoSi, true);
        formatter.write_str(&text)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = DateTime::parse_from_rfc3339(text).map_err(|error| error.to_string())?;
        let nanoseconds = time.timestamp_nanos_opt().ok_or("the year is outside 1678 to 2261")?;
        Ok(Timestamp(nanoseconds))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["2026-11-22T20:59:43.602155916Z", "1969-12-31T23:59:59.500Z", "2026-11-22T20:59:43Z"] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.to_string(), text);
        }
        assert!("0001-01-01T00:00:00Z".parse::<Timestamp>().is_err());
    }
}
