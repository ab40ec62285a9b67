//! A series: the samples of one metric that are judged together.

use serde::{Deserialize, Serialize};

use super::endpoint::endpoint;
use super::tags::TagSet;

/// What tells one series from another.
///
/// Latency of requests that k6 did not expect to succeed is a series of its own: a fast 500 must not flatter the
/// percentiles.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesKey {
    pub metric: String,
    /// The `name` tag, or the URL with ids replaced; none for a metric that is not of requests.
    pub endpoint: Option<String>,
    pub method: Option<String>,
    pub scenario: Option<String>,
    /// k6's path, for example `::buy::pay`; none at the root.
    pub group: Option<String>,
    pub expected_response: Option<bool>,
    /// The name of the check, for the metric `checks`.
    pub check: Option<String>,
}

impl SeriesKey {
    /// The key of all series of a metric together.
    pub fn whole(metric: &str) -> SeriesKey {
        SeriesKey {
            metric: metric.to_owned(),
            endpoint: None,
            method: None,
            scenario: None,
            group: None,
            expected_response: None,
            check: None,
        }
    }

    pub fn of(metric: &str, tags: &TagSet) -> SeriesKey {
        let owned = |name: &str| tags.non_empty(name).map(str::to_owned);
        SeriesKey {
            metric: metric.to_owned(),
            endpoint: tags.non_empty("name").or_else(|| tags.non_empty("url")).map(endpoint),
            method: owned("method"),
            scenario: owned("scenario"),
            group: owned("group"),
            expected_response: match tags.get("expected_response") {
                Some("true") => Some(true),
                Some("false") => Some(false),
                _ => None,
            },
            check: owned("check"),
        }
    }
}
