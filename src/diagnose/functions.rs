//! What profiles say: which function a service spends more time in, or waits more in, or allocates more in, than when it was healthy.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::telemetry::{Profile, Spent};

use super::contrast::{Contrast, Window};

/// A function that has at least this part of what was added in all is where it was added.
const SHARE_OF_ADDED_MIN: f64 = 0.7;
/// Functions of which each has at most so many times what the other has are callers of each other.
const ALIKE: f64 = 1.05;
/// Of what was added in all, the part that the program's own functions need for one of them to be named.
const OWN_SHARE_MIN: f64 = 0.05;
/// Go's name for the package of the program itself.
const OWN: &str = "main.";
/// Functions of languages' own libraries: they are where time goes, not why.
const LIBRARIES: [&str; 28] = [
    "runtime.",
    "runtime/",
    "sync.",
    "syscall.",
    "internal/",
    "net.",
    "net/",
    "time.",
    "database/",
    "context.",
    "bufio.",
    "io.",
    "os.",
    "crypto/",
    "encoding/",
    "fmt.",
    "reflect.",
    "sort.",
    "strings.",
    "bytes.",
    "java.",
    "javax.",
    "jdk.",
    "sun.",
    "node:",
    "libc",
    "[",
    "gcWriteBarrier",
];

/// One function on both sides, per second of the profile's window, in the profile's unit.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionChange {
    pub name: String,
    pub self_healthy: f64,
    pub self_faulty: f64,
    pub total_healthy: f64,
    pub total_faulty: f64,
    /// Frames above it, at most.
    pub depth: usize,
}

impl FunctionChange {
    pub fn added(&self) -> f64 {
        self.total_faulty - self.total_healthy
    }
}

/// The difference of two profiles of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileDifference {
    pub profile_type: String,
    /// The profiles' own windows, which need not be those that were asked about.
    pub healthy: Window,
    pub faulty: Window,
    pub total_healthy: f64,
    pub total_faulty: f64,
    /// Most added first.
    pub functions: Vec<FunctionChange>,
}

impl ProfileDifference {
    pub fn added(&self) -> f64 {
        self.total_faulty - self.total_healthy
    }

    /// Returns the function in which it was added: of the program's own, the one that has nearly all of it and the least besides;
    /// of its callers and itself, which have as much, the last. Where the program cannot be told from what it uses, of all.
    pub fn function(&self) -> Option<&FunctionChange> {
        let known = || self.functions.iter().filter(|function| function.added() > 0.0 && !is_library(&function.name));
        let most = known().map(FunctionChange::added).fold(0.0, f64::max);
        let near = || known().filter(|function| function.added() >= SHARE_OF_ADDED_MIN * most);
        let all = |function: &FunctionChange| function.total_healthy + function.total_faulty;
        let special = |functions: &mut dyn Iterator<Item = &'_ FunctionChange>| -> Option<usize> {
            let functions: Vec<&FunctionChange> = functions.collect();
            let least = functions.iter().map(|function| all(function)).fold(f64::INFINITY, f64::min);
            let alike = functions.iter().filter(|function| all(function) <= ALIKE * least);
            let last = alike.max_by_key(|function| function.depth)?;
            self.functions.iter().position(|function| function.name == last.name)
        };
        // What waits in the background has more of a profile of waiting than the program's own functions.
        let own = || known().filter(|function| function.name.starts_with(OWN));
        let most_own = own().map(FunctionChange::added).fold(0.0, f64::max);
        let own =
            special(&mut own().filter(|function| {
                most_own >= OWN_SHARE_MIN * most && function.added() >= SHARE_OF_ADDED_MIN * most_own
            }));
        own.or_else(|| special(&mut near())).map(|index| &self.functions[index])
    }
}

pub fn is_library(name: &str) -> bool {
    LIBRARIES.iter().any(|library| name.starts_with(library))
}

/// Compares the profiles of a service that are nearest to the two sides; `kind`: a part of their type, such as `mutex`.
///
/// None where there are not two, or one of them is mostly of the other side.
pub fn difference(profiles: &[Profile], service: &str, kind: &str, contrast: &Contrast) -> Option<ProfileDifference> {
    let of_kind = || of_kind(profiles, service, kind);
    let faulty_share = |profile: &Profile| {
        let own = window(profile);
        own.shared_seconds(contrast.faulty) / own.seconds().max(1.0)
    };
    let healthy_share = |profile: &Profile| {
        let own = window(profile);
        contrast.healthy.iter().map(|part| own.shared_seconds(*part)).sum::<f64>() / own.seconds().max(1.0)
    };
    let faulty = of_kind().max_by(|left, right| faulty_share(left).total_cmp(&faulty_share(right)))?;
    let healthy = of_kind().max_by(|left, right| {
        // Of windows that are as healthy, the longer one.
        healthy_share(left)
            .total_cmp(&healthy_share(right))
            .then(window(left).seconds().total_cmp(&window(right).seconds()))
    })?;
    (faulty_share(faulty) >= 0.5 && healthy_share(healthy) >= 0.5).then(|| between(healthy, faulty))
}

/// Returns the profile of a service that is nearest to a time that somebody asks about, and the one to hold it against: first the
/// latter. Of profiles that lie mostly within that time, the one in which most was spent; what is held against it is the longest
/// other one, rather one outside of that time.
pub fn nearest<'p>(profiles: &'p [Profile], service: &str, kind: &str, asked: Window) -> Option<[&'p Profile; 2]> {
    let of_kind = || of_kind(profiles, service, kind);
    let share = |profile: &Profile, of: Window| window(profile).shared_seconds(of) / window(profile).seconds().max(1.0);
    let is_within = |profile: &Profile| share(profile, asked) >= 0.5;
    let per_second = |profile: &Profile| total(profile) / window(profile).seconds().max(1.0);
    let distance = |profile: &Profile| {
        let apart = Window { from: profile.until.min(asked.until), until: profile.from.max(asked.from) };
        apart.seconds() - window(profile).shared_seconds(asked)
    };
    let within = of_kind().filter(|profile| is_within(profile));
    let observed = within
        .max_by(|left, right| per_second(left).total_cmp(&per_second(right)))
        .or_else(|| of_kind().min_by(|left, right| distance(left).total_cmp(&distance(right))))?;
    let others =
        of_kind().filter(|other| other.profile_type == observed.profile_type && share(other, window(observed)) < 0.5);
    let other = others.max_by(|left, right| {
        let order = is_within(right).cmp(&is_within(left));
        order.then(window(left).seconds().total_cmp(&window(right).seconds()))
    })?;
    Some([other, observed])
}

fn of_kind<'p>(profiles: &'p [Profile], service: &str, kind: &str) -> impl Iterator<Item = &'p Profile> {
    profiles.iter().filter(move |profile| profile.service == service && profile.profile_type.contains(kind))
}

fn window(profile: &Profile) -> Window {
    Window { from: profile.from, until: profile.until }
}

fn total(profile: &Profile) -> f64 {
    profile.stacks.iter().map(|(_, value)| *value as f64).sum()
}

/// Compares two profiles of one type, function by function.
pub fn between(healthy: &Profile, faulty: &Profile) -> ProfileDifference {
    let (before, after) = (healthy.spent(), faulty.spent());
    let [seconds_before, seconds_after] = [healthy, faulty].map(|profile| window(profile).seconds().max(1.0));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let mut functions: Vec<FunctionChange> = names
        .into_iter()
        .map(|name| {
            let of = |side: &BTreeMap<&str, Spent>| side.get(name).copied().unwrap_or_default();
            let (healthy, faulty) = (of(&before), of(&after));
            FunctionChange {
                name: name.to_owned(),
                self_healthy: healthy.by_itself as f64 / seconds_before,
                self_faulty: faulty.by_itself as f64 / seconds_after,
                total_healthy: healthy.total as f64 / seconds_before,
                total_faulty: faulty.total as f64 / seconds_after,
                depth: healthy.depth.max(faulty.depth),
            }
        })
        .collect();
    functions.sort_by(|left, right| right.added().total_cmp(&left.added()));
    ProfileDifference {
        profile_type: faulty.profile_type.clone(),
        healthy: window(healthy),
        faulty: window(faulty),
        total_healthy: total(healthy) / seconds_before,
        total_faulty: total(faulty) / seconds_after,
        functions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

    fn profile(from: i64, until: i64, stacks: &[(&[u32], i64)]) -> Profile {
        Profile {
            service: "auth".to_owned(),
            profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned(),
            from: Timestamp(from * NANOSECONDS_PER_SECOND),
            until: Timestamp(until * NANOSECONDS_PER_SECOND),
            spans_count: 0,
            functions: ["main.serve", "main.login", "main.hash", "runtime.memmove", "main.list"]
                .map(str::to_owned)
                .to_vec(),
            stacks: stacks.iter().map(|(stack, value)| (stack.to_vec(), *value)).collect(),
        }
    }

    #[test]
    fn the_function_is_the_most_special_one_that_is_no_librarys() {
        let second = |second: i64| Timestamp(second * NANOSECONDS_PER_SECOND);
        let contrast = Contrast::of(
            Window { from: second(50), until: second(70) },
            Window { from: second(0), until: second(100) },
            &[],
        );
        let profiles = [
            profile(0, 40, &[(&[0, 1, 2, 3], 400), (&[0, 4], 4000), (&[0, 1, 2, 2], 40)]),
            profile(50, 70, &[(&[0, 1, 2, 3], 2000), (&[0, 4], 2000), (&[0, 1, 2, 2], 20)]),
        ];
        let found = difference(&profiles, "auth", "cpu", &contrast).unwrap();
        let function = found.function().unwrap();
        assert_eq!((function.name.as_str(), function.total_healthy, function.total_faulty), ("main.hash", 11.0, 101.0));
        assert_eq!((function.self_healthy, found.added()), (1.0, 90.0));
        assert_eq!(difference(&profiles, "auth", "mutex", &contrast), None);
        assert_eq!(difference(&profiles[..1], "auth", "cpu", &contrast), None);
    }

    /// As a recording has them: before a fault, during it, and after it.
    #[test]
    fn of_any_time_that_is_asked_about_the_nearest_profile_is_shown() {
        let profiles =
            [profile(0, 45, &[(&[0], 450)]), profile(45, 75, &[(&[0], 3000)]), profile(75, 90, &[(&[0], 150)])];
        let found = |from: i64, until: i64| {
            let [other, observed] = nearest(&profiles, "auth", "cpu", second(from, until)).unwrap();
            [other, observed].map(|profile| profile.from.0 / NANOSECONDS_PER_SECOND)
        };
        assert_eq!([found(45, 75), found(44, 59), found(30, 90), found(-60, 120)], [[0, 45]; 4]);
        assert_eq!([found(5, 20), found(80, 200), found(300, 400)], [[45, 0], [0, 75], [0, 75]]);
        assert_eq!(nearest(&profiles[..1], "auth", "cpu", second(0, 45)), None);
        assert_eq!(nearest(&profiles, "auth", "mutex", second(0, 45)), None);
    }

    fn second(from: i64, until: i64) -> Window {
        let time = |second: i64| Timestamp(second * NANOSECONDS_PER_SECOND);
        Window { from: time(from), until: time(until) }
    }
}
