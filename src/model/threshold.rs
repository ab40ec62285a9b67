//! k6's threshold language: one aggregation, one operator, one number.

use std::fmt;

/// What a threshold looks at. Which of them a metric has depends on its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregation {
    Average,
    Minimum,
    Median,
    Maximum,
    /// In percent, 0 to 100.
    Percentile(f64),
    Count,
    Rate,
    Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// A parsed threshold, for example `p(95)<500`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expression {
    pub aggregation: Aggregation,
    pub operator: Operator,
    pub limit: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("threshold {expression:?}: {reason}")]
pub struct ExpressionError {
    pub expression: String,
    pub reason: &'static str,
}

/// In the order in which k6 looks for them: a longer operator comes before its own beginning.
const OPERATORS: [(&str, Operator); 7] = [
    ("<=", Operator::LessOrEqual),
    ("<", Operator::Less),
    (">=", Operator::GreaterOrEqual),
    (">", Operator::Greater),
    ("===", Operator::Equal),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
];

impl Expression {
    /// Parses as k6 2.2 does (`metrics/thresholds_parser.go`).
    pub fn parse(text: &str) -> Result<Expression, ExpressionError> {
        let error = |reason| ExpressionError { expression: text.to_owned(), reason };
        for (sign, operator) in OPERATORS {
            let Some((left, right)) = text.split_once(sign).filter(|(_, right)| !right.is_empty()) else { continue };
            let aggregation = Aggregation::parse(left.trim()).ok_or_else(|| {
                error("expected avg, min, med, max, p(0..100), count, rate or value before the operator")
            })?;
            let limit = right.trim().parse().map_err(|_| error("expected a number after the operator"))?;
            return Ok(Expression { aggregation, operator, limit });
        }
        Err(error("expected an operator: < <= > >= == === !="))
    }

    pub fn holds(&self, observed: f64) -> bool {
        match self.operator {
            Operator::Less => observed < self.limit,
            Operator::LessOrEqual => observed <= self.limit,
            Operator::Greater => observed > self.limit,
            Operator::GreaterOrEqual => observed >= self.limit,
            Operator::Equal => observed == self.limit,
            Operator::NotEqual => observed != self.limit,
        }
    }

    /// Returns how far `observed` is inside the limit, as a fraction of the limit; negative when beyond it.
    ///
    /// None for equalities and for a limit of 0, which have no such distance.
    pub fn headroom(&self, observed: f64) -> Option<f64> {
        let distance = match self.operator {
            Operator::Less | Operator::LessOrEqual => self.limit - observed,
            Operator::Greater | Operator::GreaterOrEqual => observed - self.limit,
            Operator::Equal | Operator::NotEqual => return None,
        };
        let headroom = distance / self.limit.abs();
        headroom.is_finite().then_some(headroom)
    }
}

impl Aggregation {
    fn parse(text: &str) -> Option<Aggregation> {
        match text {
            "avg" => return Some(Aggregation::Average),
            "min" => return Some(Aggregation::Minimum),
            "med" => return Some(Aggregation::Median),
            "max" => return Some(Aggregation::Maximum),
            "count" => return Some(Aggregation::Count),
            "rate" => return Some(Aggregation::Rate),
            "value" => return Some(Aggregation::Value),
            // k6 accepts a bare `p` and reads it as p(0).
            "p" => return Some(Aggregation::Percentile(0.0)),
            _ => {}
        }
        let percentage: f64 = text.strip_prefix("p(")?.strip_suffix(')')?.parse().ok()?;
        (0.0..=100.0).contains(&percentage).then_some(Aggregation::Percentile(percentage))
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Aggregation::Average => formatter.write_str("avg"),
            Aggregation::Minimum => formatter.write_str("min"),
            Aggregation::Median => formatter.write_str("med"),
            Aggregation::Maximum => formatter.write_str("max"),
            Aggregation::Percentile(percentage) => write!(formatter, "p({percentage})"),
            Aggregation::Count => formatter.write_str("count"),
            Aggregation::Rate => formatter.write_str("rate"),
            Aggregation::Value => formatter.write_str("value"),
        }
    }
}

/// Splits `metric{tag:value,...}` into the metric and the filter's names and values, as k6 does.
///
/// None when the braces do not match.
pub fn split_metric_filter(name: &str) -> Option<(&str, Vec<(String, String)>)> {
    let Some(open) = name.find('{') else {
        return (!name.contains('}')).then_some((name, Vec::new()));
    };
    let inside = name[open + 1..].strip_suffix('}')?;
    let unquoted = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    let pairs = inside.split(',').filter(|pair| !pair.is_empty());
    let tags = pairs.map(|pair| {
        let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
        (unquoted(key), unquoted(value))
    });
    Some((&name[..open], tags.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, aggregation: Aggregation, operator: Operator, limit: f64) {
        assert_eq!(Expression::parse(text), Ok(Expression { aggregation, operator, limit }));
    }

    #[test]
    fn the_whole_language() {
        check("p(95)<500", Aggregation::Percentile(95.0), Operator::Less, 500.0);
        check(" p(99.9) <= 1e3 ", Aggregation::Percentile(99.9), Operator::LessOrEqual, 1000.0);
        check("avg>1", Aggregation::Average, Operator::Greater, 1.0);
        check("min>=0.5", Aggregation::Minimum, Operator::GreaterOrEqual, 0.5);
        check("max!=3", Aggregation::Maximum, Operator::NotEqual, 3.0);
        check("med==2", Aggregation::Median, Operator::Equal, 2.0);
        check("count===10", Aggregation::Count, Operator::Equal, 10.0);
        check("rate<0.01", Aggregation::Rate, Operator::Less, 0.01);
        check("value>-2", Aggregation::Value, Operator::Greater, -2.0);
        for wrong in ["", "p(95)", "p(101)<1", "p(x)<1", "mean<1", "avg<", "avg<x", "<1"] {
            assert!(Expression::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn filters_of_submetrics() {
        let (metric, tags) = split_metric_filter("http_req_duration{name:\"a:b\", status:200}").unwrap();
        assert_eq!(metric, "http_req_duration");
        assert_eq!(tags, [("name".into(), "a:b".into()), ("status".into(), "200".into())]);
        assert_eq!(split_metric_filter("vus"), Some(("vus", vec![])));
        assert_eq!(split_metric_filter("vus{a:b"), None);
    }

    #[test]
    fn headroom_is_a_fraction_of_the_limit() {
        let headroom = |text: &str, observed| Expression::parse(text).unwrap().headroom(observed);
        assert_eq!(headroom("p(95)<500", 400.0), Some(0.2));
        assert_eq!(headroom("rate>0.5", 0.25), Some(-0.5));
        assert_eq!(headroom("count==0", 0.0), None);
        assert_eq!(headroom("rate<=0", 0.0), None);
    }
}
