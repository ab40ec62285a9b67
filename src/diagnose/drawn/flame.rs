//! Two profiles as one tree of calls.

use std::collections::BTreeMap;

use crate::diagnose::contrast::Window;
use crate::model::exhibit::{FlameDifference, FlameFrame, Period};
use crate::model::telemetry::Profile;

/// Deeper stacks are cut: nobody looks at them, and a page has an end.
const DEEPEST: usize = 200;

/// One function below another; by its name as an index.
#[derive(Debug, Default)]
struct Frame<'p> {
    healthy: f64,
    faulty: f64,
    below: BTreeMap<&'p str, usize>,
}

/// Puts two profiles of a service side by side; keeps the `frames_max` that are widest on either side.
pub fn difference(healthy: &Profile, faulty: &Profile, diagnosis: u32, frames_max: usize) -> FlameDifference {
    let mut frames = vec![Frame::default()];
    add(&mut frames, healthy, |frame, value| frame.healthy += value);
    add(&mut frames, faulty, |frame, value| frame.faulty += value);
    let most = |frame: &Frame| frame.healthy.max(frame.faulty);
    // What is above a frame is as wide as it, at least, and was found before it.
    let mut widest: Vec<usize> = (1..frames.len()).collect();
    widest.sort_by(|left, right| most(&frames[*right]).total_cmp(&most(&frames[*left])).then(left.cmp(right)));
    let mut is_kept = vec![false; frames.len()];
    widest.iter().take(frames_max).for_each(|index| is_kept[*index] = true);
    let mut kept = Vec::new();
    // Those to come, the next one last.
    let mut waiting: Vec<(&str, usize, u32)> =
        frames[0].below.iter().rev().map(|(name, index)| (*name, *index, 0)).collect();
    while let Some((name, index, depth)) = waiting.pop() {
        if !is_kept[index] {
            continue;
        }
        let frame = &frames[index];
        kept.push(FlameFrame {
            depth,
            function: name.to_owned(),
            healthy_per_second: frame.healthy,
            faulty_per_second: frame.faulty,
        });
        waiting.extend(frame.below.iter().rev().map(|(name, index)| (*name, *index, depth + 1)));
    }
    let period = |profile: &Profile| Period { from: profile.from, until: profile.until };
    FlameDifference {
        diagnosis,
        service: faulty.service.clone(),
        profile_type: faulty.profile_type.clone(),
        healthy: period(healthy),
        faulty: period(faulty),
        left_out_count: (frames.len() - 1 - kept.len()) as u64,
        frames: kept,
    }
}

fn add<'p>(frames: &mut Vec<Frame<'p>>, profile: &'p Profile, put: impl Fn(&mut Frame<'p>, f64)) {
    let seconds = Window { from: profile.from, until: profile.until }.seconds().max(1.0);
    for (stack, value) in &profile.stacks {
        let value = *value as f64 / seconds;
        let mut at = 0;
        for function in stack.iter().take(DEEPEST) {
            let Some(name) = profile.functions.get(*function as usize) else { break };
            let next = frames.len();
            at = *frames[at].below.entry(name).or_insert(next);
            if at == next {
                frames.push(Frame::default());
            }
            put(&mut frames[at], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    fn profile(stacks: &[(&[u32], i64)]) -> Profile {
        Profile {
            service: "auth".to_owned(),
            profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned(),
            from: Timestamp(0),
            until: Timestamp(10_000_000_000),
            spans_count: 0,
            functions: ["main", "serve", "hash", "list"].map(str::to_owned).to_vec(),
            stacks: stacks.iter().map(|(stack, value)| (stack.to_vec(), *value)).collect(),
        }
    }

    #[test]
    fn the_widest_frames_of_both_sides_stay_with_what_is_above_them() {
        let healthy = profile(&[(&[0, 1, 3], 500), (&[0, 1, 2], 100), (&[0], 10)]);
        let faulty = profile(&[(&[0, 1, 2, 2], 4000), (&[0, 3], 20), (&[9], 5)]);
        let shape = |frames_max: usize| -> Vec<(u32, String, f64, f64)> {
            let difference = difference(&healthy, &faulty, 0, frames_max);
            assert_eq!(difference.frames.len() as u64 + difference.left_out_count, 6);
            let frame =
                |frame: FlameFrame| (frame.depth, frame.function, frame.healthy_per_second, frame.faulty_per_second);
            difference.frames.into_iter().map(frame).collect()
        };
        let all = shape(100);
        let names: Vec<(u32, &str)> = all.iter().map(|(depth, name, ..)| (*depth, name.as_str())).collect();
        assert_eq!(names, [(0, "main"), (1, "list"), (1, "serve"), (2, "hash"), (3, "hash"), (2, "list")]);
        assert_eq!((all[0].2, all[0].3, all[5].2, all[5].3), (61.0, 402.0, 50.0, 0.0));
        assert_eq!(
            shape(4).iter().map(|frame| frame.1.as_str()).collect::<Vec<_>>(),
            ["main", "serve", "hash", "hash"]
        );
        assert!(difference(&profile(&[]), &profile(&[]), 0, 9).frames.is_empty());
    }
}
