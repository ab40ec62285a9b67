//! What log lines say: which templates are new, or have risen, in a service.
//!
//! Lines are grouped as by Drain (He et al., ICWS 2017): of one service and level, with as many words, and with most of them the same;
//! words that differ become a blank, and so do numbers and identifiers from the start.

use std::collections::BTreeMap;

use crate::model::telemetry::{BLANK, LogLine, LogPattern, Telemetry, words_of};
use crate::stats::special::binomial_tail;

use super::contrast::{Contrast, Side};

/// Of the words of a line and a template as many are the same.
const ALIKE: f64 = 0.6;
/// Beyond so many templates of one service its lines are not text that a program writes.
const TEMPLATES_MAX: usize = 500;
/// Lines of a template that is called new or risen, and the factor and the chance from which on it is.
const LINES_MIN: usize = 3;
const RISE_MIN: f64 = 2.0;
const CHANCE_MAX: f64 = 1e-4;

/// Lines of one service that are the same but for their values.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pub service: String,
    pub level: String,
    pub words: Vec<String>,
    pub healthy_count: usize,
    pub faulty_count: usize,
    /// Of the faulty side, where it has one.
    pub example: String,
}

impl Template {
    pub fn text(&self) -> String {
        self.words.join(" ")
    }

    pub fn is_error(&self) -> bool {
        matches!(self.level.as_str(), "error" | "err" | "fatal" | "critical" | "panic" | "alert" | "emerg")
    }
}

/// The templates of all lines, and the seconds of both sides.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    pub templates: Vec<Template>,
    pub healthy_seconds: f64,
    pub faulty_seconds: f64,
}

impl Templates {
    /// Counts the lines that were read, or the patterns that the server counted where it knows of more lines.
    pub fn of(telemetry: &Telemetry, contrast: &Contrast) -> Templates {
        if telemetry.has_more_patterns_than_lines() {
            return grouped(telemetry.log_patterns.iter().map(|pattern| of_pattern(pattern, contrast)), contrast);
        }
        grouped(telemetry.logs.iter().filter_map(|line| of_line(line, contrast)), contrast)
    }

    /// Returns the templates of a service that are new or risen, those of errors first, then those with the most lines more.
    pub fn risen(&self, service: &str) -> Vec<&Template> {
        let mut risen: Vec<&Template> =
            self.templates.iter().filter(|template| template.service == service && self.has_risen(template)).collect();
        let more = |template: &Template| {
            template.faulty_count as f64 / self.faulty_seconds.max(1.0) - self.rate_healthy(template)
        };
        risen.sort_by(|left, right| right.is_error().cmp(&left.is_error()).then(more(right).total_cmp(&more(left))));
        risen
    }

    pub fn rate_healthy(&self, template: &Template) -> f64 {
        template.healthy_count as f64 / self.healthy_seconds.max(1.0)
    }

    pub fn rate_faulty(&self, template: &Template) -> f64 {
        template.faulty_count as f64 / self.faulty_seconds.max(1.0)
    }

    /// Returns the lines a second of a service, healthy and faulty.
    pub fn rates(&self, service: &str) -> (f64, f64) {
        let of_service = || self.templates.iter().filter(|template| template.service == service);
        (
            of_service().map(|template| self.rate_healthy(template)).sum(),
            of_service().map(|template| self.rate_faulty(template)).sum(),
        )
    }

    fn has_risen(&self, template: &Template) -> bool {
        let total = template.healthy_count + template.faulty_count;
        let share = self.faulty_seconds / (self.faulty_seconds + self.healthy_seconds).max(1.0);
        template.faulty_count >= LINES_MIN
            && self.rate_faulty(template) >= RISE_MIN * self.rate_healthy(template)
            && binomial_tail(total as u64, template.faulty_count as u64, share) <= CHANCE_MAX
    }
}

/// Lines that say the same: one, or those of a pattern.
struct Said {
    service: String,
    level: String,
    said: String,
    healthy_count: usize,
    faulty_count: usize,
}

fn of_line(line: &LogLine, contrast: &Contrast) -> Option<Said> {
    let side = contrast.side(line.at)?;
    Some(Said {
        service: line.service.clone(),
        level: line.level.clone().unwrap_or_default(),
        said: line.said(),
        healthy_count: usize::from(side == Side::Healthy),
        faulty_count: usize::from(side == Side::Faulty),
    })
}

fn of_pattern(pattern: &LogPattern, contrast: &Contrast) -> Said {
    let middle = pattern.step_seconds() / 2.0;
    let count = |side: Side| -> usize {
        let of_side = pattern.counts.iter().filter(|(at, _)| contrast.side(at.after_seconds(middle)) == Some(side));
        of_side.map(|(_, count)| count).sum::<f64>().round() as usize
    };
    Said {
        service: pattern.service.clone(),
        level: pattern.level.clone().unwrap_or_default(),
        said: pattern.said(),
        healthy_count: count(Side::Healthy),
        faulty_count: count(Side::Faulty),
    }
}

fn grouped(all: impl Iterator<Item = Said>, contrast: &Contrast) -> Templates {
    // By service, level and count of words.
    let mut groups: BTreeMap<(String, String, usize), Vec<Template>> = BTreeMap::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for Said { service, level, said, healthy_count, faulty_count } in all {
        let words: Vec<String> = words_of(&said).into_iter().map(str::to_owned).collect();
        let group = groups.entry((service.clone(), level.clone(), words.len())).or_default();
        let is_alike = |template: &&mut Template| {
            let same = template.words.iter().zip(&words).filter(|(left, right)| left == right).count();
            same as f64 >= ALIKE * words.len() as f64
        };
        let template = match group.iter_mut().find(is_alike) {
            Some(template) => template,
            None => {
                let count = known.entry(service.clone()).or_default();
                if *count >= TEMPLATES_MAX {
                    continue;
                }
                *count += 1;
                group.push(Template {
                    service,
                    level,
                    words: words.clone(),
                    healthy_count: 0,
                    faulty_count: 0,
                    example: String::new(),
                });
                let last = group.len() - 1;
                &mut group[last]
            }
        };
        for (word, other) in template.words.iter_mut().zip(&words) {
            if word != other {
                BLANK.clone_into(word);
            }
        }
        template.healthy_count += healthy_count;
        template.faulty_count += faulty_count;
        if faulty_count > 0 && template.example.is_empty() {
            template.example = said;
        }
    }
    Templates {
        templates: groups.into_values().flatten().collect(),
        healthy_seconds: contrast.healthy_seconds(),
        faulty_seconds: contrast.faulty.seconds(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::contrast::Window;
    use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

    fn line(second: i64, level: &str, message: &str) -> LogLine {
        LogLine {
            at: Timestamp(second * NANOSECONDS_PER_SECOND),
            service: "stock".to_owned(),
            level: Some(level.to_owned()),
            message: message.to_owned(),
            trace_id: None,
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_new_is_told_and_what_goes_on_is_not() {
        let second = |second: i64| Timestamp(second * NANOSECONDS_PER_SECOND);
        let contrast = Contrast::of(
            Window { from: second(60), until: second(80) },
            Window { from: second(0), until: second(100) },
            &[],
        );
        let mut logs: Vec<LogLine> =
            (0..100).map(|at| line(at, "info", &format!("order of customer {at}, 3 items"))).collect();
        logs.extend((60..80).map(|at| {
            line(at, "error", &format!(r#"{{"level":"error","message":"shelf map of zone {at} is unreadable"}}"#))
        }));
        logs.extend((60..80).map(|at| line(at, "info", "cache is cold now")));
        logs.push(line(65, "error", "once is nothing"));
        let mut telemetry = Telemetry { logs, ..Telemetry::default() };
        let templates = Templates::of(&telemetry, &contrast);
        let texts = |templates: &Templates| -> Vec<String> {
            templates.risen("stock").iter().map(|template| template.text()).collect()
        };
        assert_eq!(texts(&templates), ["shelf map of zone <*> is unreadable", "cache is cold now"]);

        // Fewer lines than were read are none to go by.
        let pattern = |count: f64| LogPattern {
            service: "stock".to_owned(),
            level: Some("warn".to_owned()),
            text: "retry <*> of the shelf map".to_owned(),
            counts: (0..10).map(|step| (second(10 * step), if step == 6 || step == 7 { count } else { 1.0 })).collect(),
        };
        telemetry.log_patterns = vec![pattern(5.0)];
        assert_eq!(Templates::of(&telemetry, &contrast).templates, templates.templates);
        telemetry.log_patterns = vec![pattern(500.0)];
        let counted = Templates::of(&telemetry, &contrast);
        assert_eq!(texts(&counted), ["retry <*> of the shelf map"]);
        // The step that the finding ends next to is of neither side.
        assert_eq!(
            counted.templates.iter().map(|one| (one.healthy_count, one.faulty_count)).collect::<Vec<_>>(),
            [(8, 1000)]
        );
        let (healthy, faulty) = templates.rates("stock");
        assert!((healthy - 1.0).abs() < 0.05 && faulty > 2.9, "{healthy} {faulty}");
        assert!(templates.risen("other").is_empty());
    }

    #[test]
    fn lines_that_differ_in_a_word_are_one_template() {
        let second = |second: i64| Timestamp(second * NANOSECONDS_PER_SECOND);
        let contrast = Contrast::of(
            Window { from: second(0), until: second(50) },
            Window { from: second(0), until: second(100) },
            &[],
        );
        let logs =
            [line(1, "info", "user alice signed in"), line(2, "info", "user bob signed in"), line(3, "info", "")];
        let telemetry = Telemetry { logs: logs.to_vec(), ..Telemetry::default() };
        let templates = Templates::of(&telemetry, &contrast);
        let texts: Vec<String> = templates.templates.iter().map(Template::text).collect();
        assert_eq!(texts, ["", "user <*> signed in"]);
    }
}
