//! Pyroscope's answers: a flame graph, laid out in levels, becomes stacks of functions.
//!
//! A level lists its nodes from the left, four numbers each: how far the node begins behind the end of the one before it,
//! how wide it is (its total), how much of that is its own (its self), and its function as an index into `names`. A node
//! stands on the one of the level above whose width it lies within. Both forms of an answer have these levels: Connect's
//! `SelectMergeStacktraces` writes numbers as texts, `/render` writes them bare.

use serde::Deserialize;

use super::wire::{self, AnswerError, Code, Integer, List, from_json, malformed};
use crate::model::telemetry::Profile;
use crate::model::time::Timestamp;

/// Pyroscope itself cuts a flame graph to 8192 nodes when it is not asked for more; who asks may get all.
const NODES_MAX: usize = 250_000;
const NUMBERS_MAX: usize = 7 * NODES_MAX;

/// Deeper than profilers record: Go's stacks end at 128 frames, Java's at 2048.
const DEPTH_MAX: usize = 4096;

/// Frames of all stacks together, 24 MiB: a chain where every node has something of its own grows with its square.
const FRAMES_MAX: usize = 6 << 20;

/// What a profile is of: an answer does not say it, only its question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProfileSubject {
    pub service: String,
    /// `process_cpu:cpu:nanoseconds:cpu:nanoseconds`
    pub profile_type: String,
    pub from: Timestamp,
    pub until: Timestamp,
    /// Spans in which it was taken; 0: all that the service did.
    pub spans_count: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAnswer {
    flamegraph: Option<RawFlamegraph>,
    flamebearer: Option<RawFlamebearer>,
    #[serde(default)]
    metadata: RawMetadata,
}

#[derive(Default, Deserialize)]
struct RawFlamegraph {
    #[serde(default)]
    names: List<String, NODES_MAX>,
    #[serde(default)]
    levels: List<RawLevel, DEPTH_MAX>,
}

#[derive(Deserialize)]
struct RawLevel {
    #[serde(default)]
    values: List<Integer, NUMBERS_MAX>,
}

#[derive(Deserialize)]
struct RawFlamebearer {
    #[serde(default)]
    names: List<String, NODES_MAX>,
    #[serde(default)]
    levels: List<List<Integer, NUMBERS_MAX>, DEPTH_MAX>,
}

#[derive(Default, Deserialize)]
struct RawMetadata {
    #[serde(default)]
    format: Code,
}

/// A node of the flame graph, `total` wide from `start` on.
struct Node {
    start: i64,
    end: i64,
    function: u32,
    /// Index among all nodes; none for those of the first level.
    parent: Option<usize>,
    /// What of its width neither itself nor its children have taken yet.
    left: i64,
}

/// Reads the answer to `SelectMergeStacktraces` or `/pyroscope/render`, of a single profile.
///
/// The first level, which Pyroscope calls `total` and which is no function, is left out of the stacks. Units are those of
/// the profile's type; snapshots such as `inuse_space` are added up over all uploads of the window, as the server does.
pub fn profile(body: &[u8], subject: ProfileSubject) -> Result<Profile, AnswerError> {
    let Levels { names, levels, is_difference } = levels(body)?;
    if is_difference {
        return Err(malformed("metadata.format", "`single`, not the difference of two profiles"));
    }
    made(subject, &levels, names)
}

/// Reads the answer to `Diff`: both profiles that it holds, cut to the same nodes.
///
/// A node has seven numbers: gap, total and self on the left, the same on the right, and its function.
pub fn difference(body: &[u8], left: ProfileSubject, right: ProfileSubject) -> Result<[Profile; 2], AnswerError> {
    let Levels { names, levels, .. } = levels(body)?;
    let mut sides = [Vec::new(), Vec::new()];
    for (depth, level) in levels.iter().enumerate() {
        let (nodes, rest) = level.as_chunks::<7>();
        if !rest.is_empty() {
            return Err(malformed(format!("levels[{depth}]"), "seven numbers for each node"));
        }
        for (side, at) in sides.iter_mut().zip([0, 3]) {
            side.push(nodes.iter().flat_map(|node| [node[at], node[at + 1], node[at + 2], node[6]]).collect());
        }
    }
    let [on_left, on_right] = sides;
    Ok([made(left, &on_left, names.clone())?, made(right, &on_right, names)?])
}

/// A flame graph as it came.
struct Levels {
    names: Vec<String>,
    levels: Vec<Vec<Integer>>,
    /// Whether it is said to be of two profiles.
    is_difference: bool,
}

fn levels(body: &[u8]) -> Result<Levels, AnswerError> {
    let raw: RawAnswer = from_json("the profile", body)?;
    let (names, levels) = match (raw.flamegraph, raw.flamebearer) {
        (Some(graph), _) => (graph.names.0, graph.levels.0.into_iter().map(|level| level.values.0).collect()),
        (None, Some(graph)) => (graph.names.0, graph.levels.0.into_iter().map(|level| level.0).collect::<Vec<_>>()),
        (None, None) => return Err(malformed("the profile", "`flamegraph` or `flamebearer`")),
    };
    Ok(Levels { names, levels, is_difference: raw.metadata.format.is("double", -1) })
}

fn made(subject: ProfileSubject, levels: &[Vec<Integer>], names: Vec<String>) -> Result<Profile, AnswerError> {
    let stacks = stacks(levels, names.len())?;
    let ProfileSubject { service, profile_type, from, until, spans_count } = subject;
    let functions = names.into_iter().map(wire::cut).collect();
    Ok(Profile { service, profile_type, from, until, spans_count, functions, stacks })
}

fn stacks(levels: &[Vec<Integer>], functions_count: usize) -> Result<Vec<(Vec<u32>, i64)>, AnswerError> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut stacks = Vec::new();
    let mut frames_count = 0;
    let mut above = 0..0;
    for (depth, level) in levels.iter().enumerate() {
        let place = || format!("levels[{depth}]");
        let (chunks, rest) = level.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(malformed(place(), "four numbers for each node"));
        }
        if nodes.len() + chunks.len() > NODES_MAX {
            return Err(AnswerError::TooMany { place: place(), limit: NODES_MAX, what: "nodes" });
        }
        let first = nodes.len();
        let mut parent = above.start;
        let mut end_before = 0_i64;
        for (index, [gap, total, own, function]) in
            chunks.iter().map(|chunk| chunk.map(|Integer(number)| number)).enumerate()
        {
            let place = || format!("levels[{depth}], node {index}");
            if gap < 0 || own < 0 || own > total {
                return Err(malformed(place(), "a gap, a total and a self of 0 or more, with self within total"));
            }
            let start = end_before.checked_add(gap);
            let span = start.and_then(|start| Some((start, start.checked_add(total)?)));
            let (start, end) = span.ok_or_else(|| malformed(place(), "widths that add up within 63 bits"))?;
            end_before = end;
            let function = u32::try_from(function).ok().filter(|function| (*function as usize) < functions_count);
            let function = function.ok_or_else(|| malformed(place(), "its function to be an index into `names`"))?;
            // Of an empty profile the root is there, and has no width.
            if total == 0 {
                continue;
            }
            while parent < above.end && nodes[parent].end <= start {
                parent += 1;
            }
            if depth > 0 {
                let holds = parent < above.end && nodes[parent].start <= start && end <= nodes[parent].end;
                if !holds || nodes[parent].left < total {
                    return Err(malformed(place(), "a node of the level above that holds it"));
                }
                nodes[parent].left -= total;
            }
            nodes.push(Node { start, end, function, parent: (depth > 0).then_some(parent), left: total - own });
            if own > 0 {
                frames_count += depth.max(1);
                if frames_count > FRAMES_MAX {
                    return Err(AnswerError::TooMany {
                        place: place(),
                        limit: FRAMES_MAX,
                        what: "frames in all stacks",
                    });
                }
                stacks.push((path_to(nodes.len() - 1, depth, &nodes), own));
            }
        }
        above = first..nodes.len();
    }
    Ok(stacks)
}

/// Returns the functions from below the first level to `node`; of a node of the first level, its own.
fn path_to(node: usize, depth: usize, nodes: &[Node]) -> Vec<u32> {
    let mut path = Vec::with_capacity(depth.max(1));
    let mut at = node;
    while let Some(parent) = nodes[at].parent {
        path.push(nodes[at].function);
        at = parent;
    }
    if path.is_empty() {
        path.push(nodes[node].function);
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn read(body: &str) -> Result<Profile, AnswerError> {
        let subject = ProfileSubject {
            service: "auth".to_owned(),
            profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned(),
            from: Timestamp(1),
            until: Timestamp(2),
            spans_count: 0,
        };
        profile(body.as_bytes(), subject)
    }

    fn named(profile: &Profile) -> Vec<(String, i64)> {
        let name = |index: &u32| profile.functions[*index as usize].as_str();
        profile.stacks.iter().map(|(stack, own)| (stack.iter().map(name).collect::<Vec<_>>().join(";"), *own)).collect()
    }

    /// Bare levels in the form of `/render`, with eight functions `a` to `h` at hand.
    fn render(levels: &str) -> String {
        format!(r#"{{"flamebearer":{{"names":["a","b","c","d","e","f","g","h"],"levels":{levels}}}}}"#)
    }

    #[test]
    fn a_difference_holds_two_profiles() {
        // What Pyroscope 1.12 answers to `Diff` of 100 and 250 ms of the same program; `retry.sleep` is on the right alone.
        let body = r#"{"flamegraph":{"names":["total","main","handle","retry.sleep","json.encode","gc","db.query"],"levels":[
            {"values":["0","1000000000","0","0","2500000000","0","0"]},{"values":["0","1000000000","0","0","2500000000","0","1"]},
            {"values":["0","1000000000","0","0","2500000000","0","2"]},
            {"values":["0","500000000","500000000","0","1400000000","1400000000","6","0","200000000","200000000","0","600000000","600000000","5",
                       "0","300000000","300000000","0","300000000","300000000","4","0","0","0","0","200000000","200000000","3"]}],
            "total":"3500000000","maxSelf":"1400000000","leftTicks":"1000000000","rightTicks":"2500000000"}}"#;
        let subject = |from: i64| ProfileSubject {
            service: "auth".to_owned(),
            profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned(),
            from: Timestamp(from),
            until: Timestamp(from + 1),
            spans_count: 0,
        };
        let [left, right] = difference(body.as_bytes(), subject(1), subject(2)).unwrap();
        let named_so = |all: &[(&str, i64)]| {
            all.iter().map(|(name, own)| (format!("main;handle;{name}"), own * 100_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(named(&left), named_so(&[("db.query", 5), ("gc", 2), ("json.encode", 3)]));
        assert_eq!(named(&right), named_so(&[("db.query", 14), ("gc", 6), ("json.encode", 3), ("retry.sleep", 2)]));
        assert_eq!((left.from, right.from), (Timestamp(1), Timestamp(2)));
        let cut = body.replace(r#","3"]}],"#, "]}],");
        assert!(difference(cut.as_bytes(), subject(1), subject(2)).is_err());
    }

    #[test]
    fn both_forms_of_the_same_stacks() {
        // What Pyroscope 1.12 answers to the folded stacks main;handle;db.query 140, json.encode 30, gc 60, retry.sleep 20.
        let connect = r#"{"flamegraph":{"names":["total","main","handle","retry.sleep","json.encode","gc","db.query"],"levels":[
            {"values":["0","2500000000","0","0"]},{"values":["0","2500000000","0","1"]},{"values":["0","2500000000","0","2"]},
            {"values":["0","1400000000","1400000000","6","0","600000000","600000000","5","0","300000000","300000000","4","0","200000000","200000000","3"]}],
            "total":"2500000000","maxSelf":"1400000000"}}"#;
        let render = r#"{"version":1,"flamebearer":{"names":["total","main","handle","retry.sleep","json.encode","gc","db.query"],"levels":[
            [0,2500000000,0,0],[0,2500000000,0,1],[0,2500000000,0,2],
            [0,1400000000,1400000000,6,0,600000000,600000000,5,0,300000000,300000000,4,0,200000000,200000000,3]],
            "numTicks":2500000000,"maxSelf":1400000000},"metadata":{"format":"single","sampleRate":1000000000},"groups":null}"#;
        let expected = [("db.query", 14), ("gc", 6), ("json.encode", 3), ("retry.sleep", 2)];
        let expected = expected.map(|(name, own)| (format!("main;handle;{name}"), own * 100_000_000));
        assert_eq!(named(&read(connect).unwrap()), expected);
        assert_eq!(read(connect).unwrap(), read(render).unwrap());
    }

    #[test]
    fn gaps_are_counted_from_the_node_before() {
        // total 10 = b 4 (self 1, child d 3) + c 6 (self 4, child e 2); d begins at 1, e at 8: 4 behind d's end.
        let profile = read(&render("[[0,10,0,0],[0,4,1,1,0,6,4,2],[1,3,3,3,4,2,2,4]]")).unwrap();
        let expected = [("b", 1), ("c", 4), ("b;d", 3), ("c;e", 2)].map(|(stack, own)| (stack.to_owned(), own));
        assert_eq!(named(&profile), expected);
    }

    #[test]
    fn nothing_was_spent() {
        let none = r#"{"flamegraph":{"names":["total"],"levels":[{"values":["0","0","0","0"]}]}}"#;
        for body in [none, r#"{"flamegraph":{}}"#, &render("[]"), &render("[[0,5,0,0],[]]")] {
            assert!(read(body).unwrap().stacks.is_empty(), "{body}");
        }
    }

    #[test]
    fn hostile_levels() {
        let cases = [
            ("[[0,10,0]]", "four numbers"),
            ("[[0,10,0,0],[0,4,1,1,0]]", "levels[1]: expected four numbers"),
            ("[[0,10,0,8]]", "index into `names`"),
            ("[[0,10,0,-1]]", "index into `names`"),
            ("[[0,10,0,4294967296]]", "index into `names`"),
            ("[[-1,10,0,0]]", "of 0 or more"),
            ("[[0,-10,0,0]]", "of 0 or more"),
            ("[[0,10,-1,0]]", "of 0 or more"),
            ("[[0,10,11,0]]", "of 0 or more"),
            ("[[1,9223372036854775807,0,0]]", "within 63 bits"),
            ("[[9223372036854775807,1,0,0]]", "within 63 bits"),
            ("[[0,10,0,0],[0,11,0,1]]", "levels[1], node 0: expected a node of the level above"),
            ("[[0,10,0,0],[10,1,0,1]]", "of the level above"),
            ("[[0,10,6,0],[0,5,0,1]]", "of the level above"),
            ("[[0,5,0,0,0,5,0,0],[3,4,0,1]]", "of the level above"),
            ("[[],[0,5,0,0]]", "of the level above"),
            ("[[0,10,0,9223372036854775808]]", "as JSON"),
            ("[[0,10,0,0.5]]", "as JSON"),
            ("[0]", "as JSON"),
        ];
        for (levels, expected) in cases {
            let error = read(&render(levels)).expect_err(levels).to_string();
            assert!(error.contains(expected), "{levels}: {error}");
        }
        for body in ["", "[]", "{}", r#"{"code":"unknown"}"#, r#"{"flamebearer":{"levels":{}}}"#] {
            read(body).expect_err(body);
        }
        let double = r#"{"flamebearer":{"names":["a"],"levels":[]},"metadata":{"format":"double"}}"#;
        assert!(read(double).unwrap_err().to_string().contains("difference"));
    }

    #[test]
    fn size_costs_no_more_than_itself() {
        let started = Instant::now();
        let wide = |count: usize| format!("[[0,{count},0,0],[{}]]", vec!["0,1,1,1"; count].join(","));
        let deep = |depth: usize| {
            let levels: Vec<_> = (0..depth).map(|level| format!("[0,{},1,1]", depth - level)).collect();
            format!("[{}]", levels.join(","))
        };
        assert_eq!(read(&render(&wide(NODES_MAX - 1))).unwrap().stacks.len(), NODES_MAX - 1);
        assert!(read(&render(&wide(2 * NODES_MAX))).is_err());
        assert!(read(&render(&deep(2000))).unwrap().stacks.iter().all(|(stack, own)| stack.len() < 2001 && *own == 1));
        let error = read(&render(&deep(4000))).unwrap_err().to_string();
        assert!(error.contains("frames"), "{error}");
        assert!(read(&render(&deep(50_000))).is_err());
        assert!(read(&"[".repeat(1 << 20)).is_err());
        // Several hundred times what it takes; were it quadratic, it would be hours.
        assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    }
}
