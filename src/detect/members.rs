//! One cause is one finding: what another finding explains becomes a part of it.

use crate::model::finding::{Evidence, Finding};

/// Makes findings members of another one, with their figures as evidence; returns them.
pub(super) fn take_up(
    into: &mut Finding,
    findings: &mut Vec<Finding>,
    is_member: impl Fn(&Finding) -> bool,
) -> Vec<Finding> {
    let (members, others): (Vec<Finding>, Vec<Finding>) = findings.drain(..).partition(|finding| is_member(finding));
    *findings = others;
    for member in &members {
        for series in std::iter::once(&member.series).chain(&member.also) {
            if *series != into.series && !into.also.contains(series) {
                into.also.push(series.clone());
            }
        }
        let figures = member.evidence.iter().filter(|evidence| matches!(evidence, Evidence::Metric { .. }));
        into.evidence.extend(figures.cloned());
    }
    members
}
