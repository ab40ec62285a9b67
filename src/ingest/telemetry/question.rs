//! The questions of a recording: what its manifest says of each file, and what that means.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::pyroscope::ProfileSubject;
use super::wire::{self, AnswerError, Integer, List};
use crate::model::telemetry::SERVICE_LABELS;

const QUESTIONS_MAX: usize = 20_000;

/// Why a question cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum QuestionError {
    #[error("the question does not say {0}")]
    Silent(&'static str),
    #[error(transparent)]
    Body(#[from] AnswerError),
}

#[derive(Deserialize)]
pub(super) struct Manifest<'a> {
    #[serde(borrow)]
    pub files: List<Question<'a>, QUESTIONS_MAX>,
    /// What the recorder could not have: `tempo trace 07ac..: timeout`.
    #[serde(default)]
    pub missing: List<String, QUESTIONS_MAX>,
}

#[derive(Deserialize)]
pub(super) struct Question<'a> {
    pub file: String,
    pub server: String,
    pub path: String,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    pub status: u16,
}

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Metrics,
    Metadata,
    Exemplars,
    Trace,
    Search,
    SpanSeries,
    Stacktraces,
    Difference,
    ProfileSeries,
    Render,
    Logs,
    Patterns,
    Other,
}

impl<'a> Question<'a> {
    pub fn kind(&self) -> Kind {
        let path = self.path_asked();
        match self.server.as_str() {
            "prometheus" if path.ends_with("/api/v1/query_range") || path.ends_with("/api/v1/query") => Kind::Metrics,
            "prometheus" if path.ends_with("/api/v1/query_exemplars") => Kind::Exemplars,
            "prometheus" if path.ends_with("/api/v1/metadata") => Kind::Metadata,
            "tempo" if path.ends_with("/api/metrics/query_range") => Kind::SpanSeries,
            "tempo" if path.contains("/api/v2/traces/") || path.contains("/api/traces/") => Kind::Trace,
            "tempo" if path.ends_with("/api/search") => Kind::Search,
            "pyroscope" if path.ends_with("/querier.v1.QuerierService/SelectMergeStacktraces") => Kind::Stacktraces,
            "pyroscope" if path.ends_with("/querier.v1.QuerierService/SelectMergeSpanProfile") => Kind::Stacktraces,
            "pyroscope" if path.ends_with("/querier.v1.QuerierService/Diff") => Kind::Difference,
            "pyroscope" if path.ends_with("/querier.v1.QuerierService/SelectSeries") => Kind::ProfileSeries,
            "pyroscope" if path.ends_with("/render") => Kind::Render,
            "loki" if path.ends_with("/api/v1/patterns") => Kind::Patterns,
            "loki" if path.ends_with("/api/v1/query_range") || path.ends_with("/api/v1/query") => Kind::Logs,
            _ => Kind::Other,
        }
    }

    pub fn path_asked(&self) -> &str {
        self.path.split_once('?').map_or(&self.path, |(path, _)| path)
    }

    /// Returns a parameter of the query, or of a form in the body.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let form: String = self.body.and_then(|body| serde_json::from_str(body.get()).ok()).unwrap_or_default();
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let of = |text: &str| {
            let mut pairs = url::form_urlencoded::parse(text.as_bytes());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        of(query).or_else(|| of(&form))
    }

    /// Reads what the profile is of from the body of `SelectMergeStacktraces`.
    pub fn subject_in_body(&self) -> Result<ProfileSubject, QuestionError> {
        self.body::<Stacktraces>()?.subject()
    }

    /// Reads what both profiles are of from the body of `Diff`.
    pub fn subjects_in_body(&self) -> Result<[ProfileSubject; 2], QuestionError> {
        #[derive(Deserialize)]
        struct Both {
            left: Stacktraces,
            right: Stacktraces,
        }
        let both: Both = self.body()?;
        Ok([both.left.subject()?, both.right.subject()?])
    }

    /// Reads the type of profile from the body of `SelectSeries`.
    pub fn profile_type_in_body(&self) -> Result<String, QuestionError> {
        #[derive(Deserialize)]
        struct Series {
            #[serde(rename = "profileTypeID", alias = "profileTypeId")]
            profile_type: String,
        }
        self.body::<Series>().map(|series| series.profile_type)
    }

    fn body<T: Deserialize<'a>>(&self) -> Result<T, QuestionError> {
        let body = self.body.ok_or(QuestionError::Silent("anything: it has no body"))?;
        Ok(wire::from_json("the question", body.get().as_bytes())?)
    }

    /// Reads whose patterns were asked for from the selector.
    pub fn service_in_selector(&self) -> Result<String, QuestionError> {
        let query = self.parameter("query").unwrap_or_default();
        let service = SERVICE_LABELS.iter().find_map(|label| label_in(&query, label));
        service.map(wire::cut).ok_or(QuestionError::Silent("what service it is of"))
    }

    /// Reads what the profile is of from the parameters of `/render`: `query=<type>{<selector>}&from=..&until=..`.
    pub fn subject_in_parameters(&self) -> Result<ProfileSubject, QuestionError> {
        let query = self.parameter("query").ok_or(QuestionError::Silent("what profile it is of"))?;
        let (profile_type, selector) = query.split_at(query.find('{').unwrap_or(query.len()));
        let number = |name| self.parameter(name).and_then(|text| text.parse::<f64>().ok());
        let (Some(from), Some(until)) = (number("from"), number("until")) else {
            return Err(QuestionError::Silent("from when until when, as numbers"));
        };
        subject(profile_type.to_owned(), selector, from, until)
    }
}

/// The question of `SelectMergeStacktraces`, of which `Diff` has two.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stacktraces {
    #[serde(rename = "profileTypeID", alias = "profileTypeId")]
    profile_type: String,
    label_selector: String,
    start: Integer,
    end: Integer,
    #[serde(default)]
    span_selector: Vec<String>,
}

impl Stacktraces {
    fn subject(self) -> Result<ProfileSubject, QuestionError> {
        let subject = subject(self.profile_type, &self.label_selector, self.start.0 as f64, self.end.0 as f64)?;
        Ok(ProfileSubject { spans_count: self.span_selector.len(), ..subject })
    }
}

fn subject(profile_type: String, selector: &str, from: f64, until: f64) -> Result<ProfileSubject, QuestionError> {
    let service = SERVICE_LABELS.iter().find_map(|label| label_in(selector, label));
    let service = service.ok_or(QuestionError::Silent("what service the profile is of"))?;
    let times = wire::time_of_any_unit(from).zip(wire::time_of_any_unit(until));
    let (from, until) = times.ok_or(QuestionError::Silent("times within 1678 to 2261"))?;
    Ok(ProfileSubject {
        service: wire::cut(service),
        profile_type: wire::cut(profile_type),
        from,
        until,
        spans_count: 0,
    })
}

/// Returns the value that a selector such as `{service_name="auth", region!="eu"}` asks of a label to be equal to.
fn label_in(selector: &str, label: &str) -> Option<String> {
    let mut rest = selector.trim().trim_start_matches('{');
    loop {
        let (name, matching) = rest.split_at(rest.find(['=', '!', '}'])?);
        let (operator, quoted) = matching.split_at(matching.find('"')?);
        let mut value = String::new();
        let mut letters = quoted.char_indices().skip(1);
        let end = loop {
            match letters.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match letters.next()?.1 {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    letter => letter,
                }),
                (_, letter) => value.push(letter),
            }
        };
        if name.trim().trim_matches('"') == label && operator.trim() == "=" {
            return Some(value);
        }
        rest = quoted[end..].trim_start().strip_prefix(',')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_a_selector() {
        for (selector, expected) in [
            (r#"{service_name="auth"}"#, Some("auth")),
            (r#" { region =~ "a|b\"," , service_name = "a\"b" }"#, Some("a\"b")),
            (r#"{"service_name"="auth",}"#, Some("auth")),
            (r#"{service_name="a\nb\\"}"#, Some("a\nb\\")),
            (r#"{service_name!="auth"}"#, None),
            (r#"{service_name=~"auth|cart"}"#, None),
            (r#"{service_name=auth}"#, None),
            (r#"{service_name="auth"#, None),
            (r#"{service_name="é\"#, None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(label_in(selector, "service_name").as_deref(), expected, "{selector}");
        }
    }
}
