//! The house rules, held by reading the tree as text.
//!
//! Each rule is a pure function from a file to its violations. Two tests hold each: the tree keeps
//! it; and it finds what is planted to break it, but nothing in what only looks alike.
//!
//! Long because a rule is read beside the faults that prove it, and all share one reader of Rust.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// The rooms, lowest floor first. A room imports from the floors below its own only.
const FLOORS: [&[&str]; 7] = [
    &["model", "stats"],
    &["tables"],
    &["ingest", "store", "detect", "diagnose", "llm", "workspace"],
    &["report", "knowledge", "runner"],
    &["engine", "notify"],
    &["agents", "service"],
    &["cli", "mcp", "web"],
];

/// The rooms that judge, or say what was judged: the same values in, the same values out.
const PURE_ROOMS: [&str; 5] = ["model", "stats", "detect", "diagnose", "report"];

/// What a pure room may not name outside its tests.
const IMPURE: &str = "std::fs std::net std::process tokio \
                      SystemTime::now Instant::now Utc::now Local::now";

/// What the top level holds beside dot-names and `LICENSE-*`.
const TOP_LEVEL: &str = "Cargo.toml Cargo.lock README.md ARCHITECTURE.md GLOSSARY.md CHANGELOG.md \
                         src queries baselines benches tests data";

/// Above this many lines a file in `src/` says at its top why it is long.
const LINES_MAX: usize = 600;

/// A line, from 1, and what is wrong there.
type Violations = Vec<(usize, String)>;

/// A rule about one file: its path inside the package, with forward slashes, and its text.
type Rule = fn(path: &str, text: &str) -> Violations;

// The rules.

/// A room may name itself and what is below it: no floor above, no neighbour, nothing unknown.
fn imports_not_below(path: &str, text: &str) -> Violations {
    let own = room_of(path).unwrap_or_default();
    let Some(floor) = floor_of(own) else {
        return Vec::new();
    };
    let fault = |room: &str| match floor_of(room) {
        None => Some(format!("`{room}` is no room")),
        Some(above) if above > floor => Some(format!("{own} imports {room} from a floor above")),
        Some(same) if same == floor && room != own => Some(format!("{own} imports its neighbour {room}")),
        Some(_) => None,
    };
    let rooms = rooms_named(path, text).into_iter();
    rooms.filter_map(|(line, room)| Some((line, fault(&room)?))).collect()
}

/// `src/lib.rs` only declares modules: what it exported again would hide the room it is from.
fn crate_root_beyond_modules(path: &str, text: &str) -> Violations {
    let tokens = tokens(text);
    let lines = tokens.chunk_by(|one, next| one.line == next.line);
    let is_more = |line: &&[Token]| match texts(line)[..] {
        ["#", ..] | ["mod", _, ";"] | ["pub", "mod", _, ";"] => false,
        ["pub", "(", "crate", ")", "mod", _, ";"] => false,
        _ => path == "src/lib.rs",
    };
    let others = lines.filter(is_more);
    others.map(|line| (line[0].line, "is more than `mod name;`".to_string())).collect()
}

/// A folder or file in `src/` is a room that the floors know.
fn room_without_floor(path: &str, _text: &str) -> Violations {
    let unknown = room_of(path).filter(|room| floor_of(room).is_none());
    unknown.map(|room| (1, format!("the room {room} has no floor"))).into_iter().collect()
}

/// No failure is silenced outside tests: neither by `unwrap`, nor by `let _` without a comment.
fn silenced_failures(path: &str, text: &str) -> Violations {
    if !path.starts_with("src/") {
        return Vec::new();
    }
    let comments = comment_lines(text);
    let is_explained = |line: usize| comments.contains(&line) || comments.contains(&(line - 1));
    let mut violations = Vec::new();
    for three in outside_tests(&tokens(text)).windows(3) {
        match texts(three)[..] {
            ["." | "::", "unwrap", _] => violations.push((three[1].line, "unwrap".to_string())),
            ["let", "_", "=" | ":"] if !is_explained(three[0].line) => {
                violations.push((three[0].line, "`let _` without a comment".to_string()));
            }
            _ => {}
        }
    }
    violations
}

/// A file's first line is its reason.
fn missing_reason(_path: &str, text: &str) -> Violations {
    let reason = text.lines().next().and_then(|line| line.strip_prefix("//! "));
    match reason {
        Some(_) => Vec::new(),
        None => vec![(1, "does not start with its reason".to_string())],
    }
}

/// No macro that marks unfinished work.
fn unfinished_work(_path: &str, text: &str) -> Violations {
    let tokens = tokens(text);
    let is_call = |three: &&[Token]| {
        let [name, sign, bracket] = texts(three)[..] else {
            return false;
        };
        matches!(name, "todo" | "unimplemented" | "dbg") && sign == "!" && "([{".contains(bracket)
    };
    let calls = tokens.windows(3).filter(is_call);
    calls.map(|three| (three[0].line, format!("{}!", three[0].text))).collect()
}

/// A file of more than [`LINES_MAX`] lines in `src/` has `//! Long because` in its first ten.
fn unexplained_length(path: &str, text: &str) -> Violations {
    let lines_count = text.lines().count();
    let is_explained = text.lines().take(10).any(|line| line.starts_with("//! Long because "));
    if !path.starts_with("src/") || lines_count <= LINES_MAX || is_explained {
        return Vec::new();
    }
    vec![(1, format!("{lines_count} lines are more than {LINES_MAX}"))]
}

/// A pure room does no I/O, holds no async and reads no clock outside its tests.
fn impure_judgement(path: &str, text: &str) -> Violations {
    if !room_of(path).is_some_and(|room| PURE_ROOMS.contains(&room)) {
        return Vec::new();
    }
    let tokens = outside_tests(&tokens(text));
    let mut found = paths(&tokens);
    found.retain(|(_, path)| {
        let mut impure = IMPURE.split_whitespace();
        impure.any(|impure| format!("::{path}::").contains(&format!("::{impure}::")))
    });
    let asyncs = tokens.iter().filter(|token| token.text == "async");
    found.extend(asyncs.map(|token| (token.line, "async".to_string())));
    found
}

/// A path in backticks exists, unless it has a placeholder (`queries/<name>.sql`).
fn dead_paths(text: &str, exists: fn(&str) -> bool) -> Violations {
    let mut violations = Vec::new();
    for (line, span) in code_spans(text) {
        for word in span.split_whitespace() {
            let path = word.split([':', '#']).next().unwrap_or(word);
            let folder = path.split_once('/').map_or("", |(folder, _)| folder);
            let is_ours = matches!(folder, "src" | "queries" | "tests" | "benches");
            let is_pattern = word.contains(['<', '*', '{', '…']) || word.contains("...");
            if is_ours && !is_pattern && !exists(path) {
                violations.push((line, format!("`{path}` does not exist")));
            }
        }
    }
    violations
}

/// Returns the rooms, and the folders with a `mod.rs`, that the map does not name in backticks.
fn unmapped_rooms<'a>(map: &str, source_paths: &'a [String]) -> BTreeSet<&'a str> {
    let spans = code_spans(map);
    let is_mapped = |room: &str| {
        spans.iter().any(|(_, span)| {
            let rest = span.strip_prefix("src/").unwrap_or(span).strip_prefix(room);
            rest.is_some_and(|rest| matches!(rest, "" | ".rs") || rest.starts_with('/'))
        })
    };
    let mut unmapped = BTreeSet::new();
    for path in source_paths {
        let folder = path.trim_start_matches("src/").strip_suffix("/mod.rs");
        let names = room_of(path).into_iter().chain(folder);
        unmapped.extend(names.filter(|name| !is_mapped(name)));
    }
    unmapped
}

/// Returns the names at the top level that have no place there.
fn strays(top_level: BTreeSet<String>) -> Vec<String> {
    let is_free = |name: &str| name.starts_with('.') || name.starts_with("LICENSE-");
    let is_known = |name: &str| TOP_LEVEL.split_whitespace().any(|known| known == name);
    top_level.into_iter().filter(|name| !is_free(name) && !is_known(name)).collect()
}

/// Returns what a query lacks: header, parameters, its place in `src/tables/queries.rs`, its test.
fn query_faults(name: &str, sql: &str, listing: &str, test_paths: &[String]) -> Vec<String> {
    // Comments and literals written as Rust writes them let one reader serve both languages.
    let as_rust = sql.replace("--", "//").replace('\'', "\"");
    let (literals, body): (Vec<_>, Vec<_>) = tokens(&as_rust).into_iter().partition(Token::is_literal);
    let header: Vec<&str> = sql.lines().map_while(|line| line.strip_prefix("-- ")).collect();
    let (header_text, body_text) = (header.join(" "), texts(&body).join(" "));
    let (named, used) = (parameters(&header_text), parameters(&body_text));

    let mut faults = Vec::new();
    let is_key = |line: &str| line.starts_with("Parameters:") || line.starts_with("Returns:");
    if header.first().is_none_or(|line| is_key(line)) {
        faults.push("its first line does not say what it answers".to_string());
    }
    for key in ["Parameters:", "Returns:"] {
        if !header.iter().any(|line| line.starts_with(key)) {
            faults.push(format!("its header has no `-- {key}`"));
        }
    }
    for name in used.difference(&named) {
        faults.push(format!("its header does not name {name}"));
    }
    for name in named.difference(&used) {
        faults.push(format!("its header names {name}, which it does not use"));
    }
    let built = body.iter().filter(|token| is_placeholder(token.text));
    let built = built.chain(literals.iter().filter(|literal| is_template(literal.text)));
    faults.extend(built.map(|token| format!("{} is no `$name`", token.text)));
    if !is_included(listing, name) {
        faults.push("src/tables/queries.rs has no include_str! of it".to_string());
    }
    if !test_paths.contains(&format!("tests/queries/{name}.slt")) {
        faults.push(format!("tests/queries/{name}.slt does not exist"));
    }
    faults
}

/// Returns each `$name` in a text.
fn parameters(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter| !is_name_char(letter));
    words.filter(|word| is_parameter(word)).collect()
}

fn is_parameter(word: &str) -> bool {
    word.strip_prefix('$').is_some_and(|name| name.starts_with(char::is_alphabetic))
}

/// Whether a token of a query stands for a value, but not by name: `?`, `$1`, `:name`, `{name}`.
fn is_placeholder(token: &str) -> bool {
    matches!(token, "?" | ":" | "{") || token.starts_with('$') && !is_parameter(token)
}

/// Whether a literal waits to be filled in: `'$name'`, `'{name}'`; a sub-metric `'m{a:b}'` not.
fn is_template(literal: &str) -> bool {
    let mut braces = literal.split('{').skip(1).filter_map(|behind| behind.split_once('}'));
    braces.any(|(inside, _)| inside.chars().all(is_name_char)) || !parameters(literal).is_empty()
}

/// Whether the code of `listing` has an `include_str!` of the query.
fn is_included(listing: &str, name: &str) -> bool {
    let file_name = format!("{name}.sql");
    tokens(listing).windows(4).any(|four| {
        let is_include = texts(&four[..3]) == ["include_str", "!", "("];
        is_include && four[3].text.trim_matches('"').rsplit('/').next() == Some(&file_name)
    })
}

// Rooms, and the paths that name them.

/// Returns the room of a path in `src/`; none for `lib.rs`, `main.rs` and what lies elsewhere.
fn room_of(path: &str) -> Option<&str> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    Some(first.trim_end_matches(".rs")).filter(|room| !matches!(*room, "lib" | "main"))
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Returns what a file names at the crate's root, with its line: `room` in `crate::room`, in
/// `tidemark::room`, and in `super::room` where the supers lead out of the room.
fn rooms_named(path: &str, text: &str) -> Vec<(usize, String)> {
    let tokens = tokens(text);
    let mut rooms = paths(&tokens);
    rooms.retain(|(_, path)| path.starts_with("crate::") || path.starts_with("tidemark::"));
    // In a test module the first super is the file itself, so supers count outside of it only.
    let depth = path.trim_end_matches("/mod.rs").matches('/').count();
    let supers = "super::".repeat(depth);
    let outside = paths(&outside_tests(&tokens)).into_iter();
    let from_root = |path: &str| Some(format!("crate::{}", path.strip_prefix(&supers)?));
    rooms.extend(outside.filter_map(|(line, path)| Some((line, from_root(&path)?))));
    for (_, path) in &mut rooms {
        *path = path.split("::").nth(1).unwrap_or_default().to_string();
    }
    rooms
}

/// Returns every path of two or more segments with its line; groups are opened out: of
/// `a::{b, c::d}` come `a::b` and `a::c::d`.
fn paths(tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest = tokens;
    while !rest.is_empty() {
        rest = read_path("", rest, &mut found);
    }
    found.retain(|(_, path)| path.contains("::"));
    found
}

/// Reads one path, or a sign that begins none, into `found`; returns what follows it.
fn read_path<'t, 'a>(prefix: &str, tokens: &'t [Token<'a>], found: &mut Vec<(usize, String)>) -> &'t [Token<'a>] {
    match tokens {
        [name, separator, rest @ ..] if name.is_segment() && separator.text == "::" => {
            // A brace opens a group; the brackets of a turbofish end the path.
            let path = format!("{prefix}{}::", name.text);
            match rest.first() {
                Some(next) if next.is_segment() => read_path(&path, rest, found),
                Some(next) if next.text == "{" => read_group(&path, &rest[1..], found),
                _ => {
                    found.push((name.line, path));
                    rest
                }
            }
        }
        [name, rest @ ..] if name.is_segment() => {
            found.push((name.line, format!("{prefix}{}", name.text)));
            rest
        }
        [_, rest @ ..] => rest,
        [] => tokens,
    }
}

/// Reads what stands between the braces of `prefix{..}`; returns what follows them.
fn read_group<'t, 'a>(prefix: &str, tokens: &'t [Token<'a>], found: &mut Vec<(usize, String)>) -> &'t [Token<'a>] {
    let mut rest = tokens;
    loop {
        rest = match rest {
            [] => return rest,
            [brace, behind @ ..] if brace.text == "}" => return behind,
            [renamed, _, behind @ ..] if renamed.text == "as" => behind,
            _ => read_path(prefix, rest, found),
        };
    }
}

// Reading Rust.

/// A name or number, a literal with its quotes, `::`, or one sign; and the line, from 1, it is on.
#[derive(Clone, Copy)]
struct Token<'a> {
    line: usize,
    text: &'a str,
}

impl Token<'_> {
    /// Whether it can be part of a path. A glob can, since `crate::*` is an import; `use` cannot,
    /// since a path that begins with `::` may follow it.
    fn is_segment(&self) -> bool {
        self.text == "*" || self.text != "use" && self.text.chars().all(is_name_char)
    }

    fn is_comment(&self) -> bool {
        self.text.starts_with("//") || self.text.starts_with("/*")
    }

    fn is_literal(&self) -> bool {
        self.text.starts_with('"')
    }
}

fn texts<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    tokens.iter().map(|token| token.text).collect()
}

/// Returns a text's tokens without comments.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let is_code = |piece: &Token| !piece.is_comment() && !piece.text.trim().is_empty();
    pieces(text).into_iter().filter(is_code).collect()
}

/// Returns the lines, from 1, that hold a comment.
fn comment_lines(text: &str) -> BTreeSet<usize> {
    let comments = pieces(text).into_iter().filter(Token::is_comment);
    comments.flat_map(|piece| piece.line..=piece.line + newlines_count(piece.text)).collect()
}

fn newlines_count(text: &str) -> usize {
    text.matches('\n').count()
}

/// Returns a text cut into tokens, comments and white space, with nothing left out.
fn pieces(text: &str) -> Vec<Token<'_>> {
    let mut pieces = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while !rest.is_empty() {
        let (text, behind) = rest.split_at(piece_length(rest));
        pieces.push(Token { line, text });
        line += newlines_count(text);
        rest = behind;
    }
    pieces
}

/// Returns the bytes of the piece at the start of a text that is not empty.
fn piece_length(text: &str) -> usize {
    let first = text.chars().next().expect("the caller stops at the end");
    if let Some(length) = raw_string_length(text) {
        return length;
    }
    match first {
        '/' if text.starts_with("//") => text.find('\n').unwrap_or(text.len()),
        '/' if text.starts_with("/*") => block_comment_length(text),
        '"' => quoted_length(text),
        '\'' if is_char_literal(text) => quoted_length(text),
        ':' if text.starts_with("::") => 2,
        _ if is_name_char(first) => text.find(|c| !is_name_char(c)).unwrap_or(text.len()),
        _ => first.len_utf8(),
    }
}

/// A dollar is part of a name, for the parameters of SQL.
fn is_name_char(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

/// Block comments nest.
fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Returns the length of a literal that ends with the quote it begins with.
fn quoted_length(text: &str) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' {
            bytes.next();
        } else if byte == text.as_bytes()[0] {
            return at + 1;
        }
    }
    text.len()
}

/// Whether a quote begins a char and not a lifetime: `'a'`, `'\''`, but not `<'a, 'b>`.
fn is_char_literal(text: &str) -> bool {
    let mut letters = text.chars().skip(1);
    letters.next() == Some('\\') || letters.next() == Some('\'')
}

/// Returns none where no raw string begins: `r#type` is a name.
fn raw_string_length(text: &str) -> Option<usize> {
    let behind_prefix = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let inside = behind_prefix.trim_start_matches('#').strip_prefix('"')?;
    let hashes_count = behind_prefix.len() - inside.len() - 1;
    let closing = format!("\"{}", "#".repeat(hashes_count));
    let length = inside.find(&closing).map_or(inside.len(), |at| at + closing.len());
    Some(text.len() - inside.len() + length)
}

/// Leaves out every `#[cfg(test)] mod name { .. }`.
fn outside_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let opening = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let Some(start) = tokens.windows(opening.len()).position(|some| texts(some) == opening) else {
        return tokens.to_vec();
    };
    let mut depth = 0;
    let is_end = |token: &Token| {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && matches!(token.text, "}" | ";")
    };
    let length = tokens[start..].iter().position(is_end).map_or(tokens.len() - start, |at| at + 1);
    [tokens[..start].to_vec(), outside_tests(&tokens[start + length..])].concat()
}

// Reading Markdown.

/// Returns what stands in backticks, with its line. Fenced blocks are left out.
fn code_spans(markdown: &str) -> Vec<(usize, &str)> {
    let mut is_fenced = false;
    let mut spans = Vec::new();
    for (index, line) in markdown.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            let inside = line.split('`').skip(1).step_by(2);
            spans.extend(inside.map(|span| (index + 1, span)));
        }
    }
    spans
}

// Reading the tree.

/// Returns the files below a folder of the package, sorted, without dot-names and build folders.
/// A folder that does not exist holds none.
fn paths_under(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is_ours = |name: &String| !name.starts_with('.') && name != "target";
    for name in names_in(folder).into_iter().filter(is_ours) {
        let path = format!("{folder}/{name}");
        if root().join(&path).is_dir() {
            found.extend(paths_under(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn names_in(folder: &str) -> BTreeSet<String> {
    let entries = match fs::read_dir(root().join(folder)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return BTreeSet::new(),
        entries => entries.expect("a folder of the package can be listed"),
    };
    let names = entries.map(|entry| entry.expect("the folder was opened").file_name());
    names.map(|name| name.into_string().expect("names in the package are UTF-8")).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn exists(path: &str) -> bool {
    root().join(path).exists()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("failed to read {path}: {error}"))
}

/// Returns what git keeps at the top level; where git knows nothing, what lies there.
fn top_level() -> BTreeSet<String> {
    let answer = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let answer = answer.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_string();
    let kept: BTreeSet<String> = answer.split_terminator('\0').map(first).collect();
    if kept.is_empty() {
        return names_in("").into_iter().filter(|name| name != "target").collect();
    }
    kept
}

// The tests.

/// Checks the tree's Rust files, and says of every violation where it is and how to mend it.
fn assert_tree_keeps(rule: Rule, mend: &str) {
    let paths = ["src", "tests", "benches"].into_iter().flat_map(paths_under);
    let paths: Vec<String> = paths.filter(|path| path.ends_with(".rs")).collect();
    assert!(paths.contains(&"src/lib.rs".to_string()), "nothing to check: no src/lib.rs");
    let violations = paths.iter().flat_map(|path| located(path, rule(path, &read(path))));
    assert_none(&violations.collect::<Vec<_>>(), mend);
}

fn located(path: &str, violations: Violations) -> Vec<String> {
    violations.into_iter().map(|(line, what)| format!("{path}:{line}: {what}")).collect()
}

fn assert_none(violations: &[String], mend: &str) {
    assert!(violations.is_empty(), "\n{}\n{mend}\n", violations.join("\n"));
}

/// Checks a rule against planted files. "= path" begins a file; its lines are indented by two, and
/// "!" stands before each line that has to be found.
fn check(rule: Rule, planted: &str) {
    for file in planted.split("\n= ").skip(1) {
        let (path, marked) = file.split_once('\n').expect("a planted file has lines");
        let lines = marked.lines().map(|line| line.get(2..).unwrap_or_default());
        let found = rule(path, &lines.collect::<Vec<_>>().join("\n"));
        let found_lines: BTreeSet<usize> = found.iter().map(|(line, _)| *line).collect();
        let marks = marked.lines().zip(1..).filter(|(line, _)| line.starts_with('!'));
        let expected_lines: BTreeSet<usize> = marks.map(|(_, line)| line).collect();
        assert_eq!(found_lines, expected_lines, "{found:?} in {path}\n{marked}");
    }
}

#[test]
fn imports_point_down() {
    let mend = "Move what both need to a lower floor, or join the rooms in src/engine.rs.";
    assert_tree_keeps(imports_not_below, mend);
}

#[test]
fn imports_that_do_not_point_down_are_found() {
    let planted = r###"
= src/model/a.rs
! use crate::tables::x;
! use ::tidemark::agents;
  fn f() -> u8 {
!     crate::store::open(1)
  }
= src/detect/a.rs
  use crate::{
      model::{a, b::{c}, self},
      stats::d as e,
!     cli,
!     store::{f, g},
  };
  use crate::detect::b;
! use crate::*;
! use crate::elsewhere;
= src/engine.rs
! use super::web;
  use crate::report;
  #[cfg(test)]
  mod tests { use super::web; }
= src/stats/mod.rs
! fn f(x: Vec<crate::cli::X>) { g::<u8>() }
! use super::model::Finding;
= src/store/a.rs
! use super::super::{tables, engine};
  use super::engine;
= src/model/lookalikes.rs
  // crate::cli
  /* /* */ crate::cli */
! /* a /* b */ c */ use crate::cli; // use crate::web
  f("\"crate::cli", r#""crate::cli"#, b"crate::cli", '"', r#type, "
    crate::cli \\");
! fn f<'a>(x: &'a str, c: char) { c == '"'; c == '\''; crate::web::y('/') }
  pub(crate) fn g(crate_store: u8, the: tidemark_store::A) {}
! fn h<'a>() { crate::mcp::z(); 'outer: loop {} }
= src/main.rs
  use tidemark::cli;
= tests/all/a.rs
  use tidemark::cli;
"###;
    check(imports_not_below, planted);
}

#[test]
fn the_crate_root_declares_modules() {
    let mend = "src/lib.rs declares the rooms; everything else lives in one.";
    assert_tree_keeps(crate_root_beyond_modules, mend);
}

#[test]
fn more_than_modules_in_the_crate_root_is_found() {
    let planted = "
= src/lib.rs
  //! pub use model::Run;
  #![warn(missing_docs)]
  pub mod model;
  mod cli; // pub use
  pub(crate) mod stats;
! pub use model::Run;
! fn f() {}
= src/cli/mod.rs
  pub use show::show;";
    check(crate_root_beyond_modules, planted);
}

#[test]
fn every_room_has_a_floor() {
    let mend = "Add the room to FLOORS in tests/all/tidy.rs and to ARCHITECTURE.md.";
    assert_tree_keeps(room_without_floor, mend);
}

#[test]
fn rooms_without_floor_are_found() {
    let planted = "
= src/utils.rs
! //! A drawer.
= src/helpers/mod.rs
! //! A drawer.
= src/engine.rs
  //! The data path.
= tests/all/utils.rs
  //! Elsewhere.";
    check(room_without_floor, planted);
}

#[test]
fn failures_are_not_silenced() {
    let mend = "Return the error, or expect(\"why it holds\"); say why a result may be dropped.";
    assert_tree_keeps(silenced_failures, mend);
}

#[test]
fn silenced_failures_are_found() {
    let planted = r#"
= src/cli/a.rs
  let a = g()
!     .unwrap();
! let b = c.map(Result::unwrap);
  // The reader may be gone.
  let _ = f();
  let _ = g(); /* why */
  let d = ".unwrap()"; // .unwrap()
  let e = 1;
! let _ = h();
! let _: u8 = h();
  let _unused = d.unwrap_or(1);
= src/cli/b.rs
  #[cfg(test)]
! fn helper() { x.unwrap() }
  #[cfg(test)]
  mod tests {
      fn f() { x.unwrap(); '}' }
      fn g() { let _ = y; }
  }
! fn h() { y.unwrap() }
= benches/a.rs
  fn main() { x.unwrap(); }"#;
    check(silenced_failures, planted);
}

#[test]
fn every_file_starts_with_its_reason() {
    assert_tree_keeps(missing_reason, "Begin with `//!` and one sentence: what the file is for.");
}

#[test]
fn missing_reasons_are_found() {
    let planted = "
= src/model/a.rs
! use std::fmt;
  //! Late.
= tests/all/a.rs
!
= benches/a.rs
! // Not this kind.
= src/model/b.rs
  //! Runs.";
    check(missing_reason, planted);
}

#[test]
fn work_is_finished() {
    assert_tree_keeps(unfinished_work, "Write it, or leave it out until it has content.");
}

#[test]
fn unfinished_work_is_found() {
    let planted = r#"
= tests/all/a.rs
! fn f() { todo!() }
! fn g() { dbg![1]; }
! fn h() { unimplemented! {} }
  if todo != 1 {} // todo!()
  let dbg = (1);
  let x = "dbg!(1)";"#;
    check(unfinished_work, planted);
}

#[test]
fn long_files_say_why() {
    let mend = "Split it by what it is about, or say `//! Long because ..` in its first ten lines.";
    assert_tree_keeps(unexplained_length, mend);
}

#[test]
fn unexplained_length_is_found() {
    let long = "\n  //! Line.".repeat(LINES_MAX - 1);
    let late = format!("\n= src/model/a.rs\n! //! Runs.{long}\n  //! Long because late.");
    let early = format!("\n= src/model/b.rs\n  //! Long because it is a table.{long}\n  more");
    let at_the_limit = format!("\n= src/model/c.rs\n  //! Runs.{long}");
    let elsewhere = format!("\n= tests/all/a.rs\n  //! Runs.{long}\n  more");
    check(unexplained_length, &[late, early, at_the_limit, elsewhere].concat());
}

#[test]
fn judgement_is_pure() {
    let mend = "Let engine read, wait and ask the time, and pass the values in.";
    assert_tree_keeps(impure_judgement, mend);
}

#[test]
fn impure_judgement_is_found() {
    let planted = r#"
= src/report/a.rs
! use std::{fmt, fs::File};
  use std::{
!     net,
!     process::Command,
  };
! let a = std::time::Instant::now();
! let b = Utc::now();
! use tokio::sync::mpsc;
! pub async fn f() {}
= src/detect/lookalikes.rs
  use std::fmt; // std::fs
  let fs = "std::fs"; x.now(); a::now(); tokio(std::time::Instant)
  #[cfg(test)]
  mod tests { fn f() { std::fs::read("data") } }
= src/store/a.rs
  use std::fs; async fn f() { tokio::spawn(g()) }"#;
    check(impure_judgement, planted);
}

#[test]
fn the_top_level_is_tidy() {
    let mend = "Take it out of git, move it into a folder that is there, or add it to TOP_LEVEL in tests/all/tidy.rs.";
    let strays = strays(top_level()).into_iter();
    let violations = strays.map(|name| format!("{name}: has no place at the top level"));
    assert_none(&violations.collect::<Vec<_>>(), mend);
}

#[test]
fn strays_are_found() {
    let names = ["Cargo.toml", "LICENSE-MIT", ".ci", "src", "notes.md", "scripts"];
    assert_eq!(strays(names.map(str::to_string).into()), ["notes.md", "scripts"]);
}

#[test]
fn queries_are_described_listed_and_tested() {
    let mut faults = Vec::new();
    for path in paths_under("queries").iter().filter(|path| path.ends_with(".sql")) {
        let (listing, test_paths) = (read("src/tables/queries.rs"), paths_under("tests/queries"));
        let name = path.trim_start_matches("queries/").trim_end_matches(".sql");
        let found = query_faults(name, &read(path), &listing, &test_paths);
        faults.extend(found.iter().map(|fault| format!("{path}:1: {fault}")));
    }
    let mend = "ARCHITECTURE.md says under \"How to add\", at \"a named query\", what belongs to one.";
    assert_none(&faults, mend);
}

#[test]
fn query_faults_are_found() {
    let check = |sql: &str, listing: &str, expected: &[&str]| {
        let faults = query_faults("a", sql, listing, &["tests/queries/a.slt".to_string()]);
        let is_as_expected =
            faults.len() == expected.len() && faults.iter().zip(expected).all(|(fault, part)| fault.contains(part));
        assert!(is_as_expected, "{faults:?}, not {expected:?}, in\n{sql}");
    };
    let listing = "const A: &str = include_str!(\"../../queries/a.sql\");";
    let header = "-- k6's latency.\n-- Parameters: $window (interval).\n-- Returns: a text.\n";
    let with = |body: &str| format!("{header}SELECT a::text -- {{b}} ? $c\nFROM t WHERE w > $window AND {body}");
    check(&with("m = 'd{expected_response:true}' AND n = 'it''s ?'"), listing, &[]);
    check(&with("a = $b"), listing, &["does not name $b"]);
    check(&format!("{header}SELECT 1 -- $window"), listing, &["names $window"]);
    for built in ["?", "$1", ":a", "{a}", "'{a}'", "'{}'"] {
        check(&with(&format!("a = {built}")), listing, &["is no `$name`"]);
    }
    check(&with("a = '$window'"), listing, &["is no `$name`"]);
    check("SELECT 1", listing, &["first line", "`-- Parameters:`", "`-- Returns:`"]);
    check("-- Parameters: none.\n-- Returns: a.\nSELECT 1", listing, &["first line"]);
    for unlisted in ["// include_str!(\"a.sql\")", "\"a.sql\"", "include_str!(\"q/aa.sql\")"] {
        check(&with("a = 1"), unlisted, &["no include_str!"]);
    }
    let untested = query_faults("b", &with("a = 1"), "include_str!(\"b.sql\")", &[]);
    assert_eq!(untested, ["tests/queries/b.slt does not exist"]);
}

#[test]
fn the_map_names_every_room() {
    let source_paths = paths_under("src");
    let unmapped = unmapped_rooms(&read("ARCHITECTURE.md"), &source_paths).into_iter();
    let violations = unmapped.map(|name| format!("ARCHITECTURE.md:1: does not name `{name}`"));
    let mend = "Say there, with the name in backticks, what the room owns.";
    assert_none(&violations.collect::<Vec<_>>(), mend);
}

#[test]
fn unmapped_rooms_are_found() {
    let paths = ["src/lib.rs", "src/engine.rs", "src/model/run.rs", "src/cli/mod.rs", "src/cli/show/mod.rs"];
    let paths = paths.map(str::to_string);
    assert!(unmapped_rooms("`engine.rs` `src/model/run.rs` `cli/show`", &paths).is_empty());
    let map = "`engines` model `cli`\n```\n`model/`\n```";
    let expected = BTreeSet::from(["cli/show", "engine", "model"]);
    assert_eq!(unmapped_rooms(map, &paths), expected);
}

#[test]
fn pages_name_paths_that_exist() {
    let pages = ["README.md", "ARCHITECTURE.md"];
    let dead = pages.iter().flat_map(|page| located(page, dead_paths(&read(page), exists)));
    let mend = "Name what is there, or write <name> for what the reader chooses.";
    assert_none(&dead.collect::<Vec<_>>(), mend);
}

#[test]
fn dead_paths_are_found() {
    let planted = "
= README.md
! `src/a.rs` and `src/b.rs`
! `vi queries/c.sql` `src/a.rs:12`, `benches/`
  `queries/<name>.sql` `tests/*.rs` src/d.rs `data/e`
  ```
  `src/f.rs`
  ```
! `tests/g`";
    check(|_, text| dead_paths(text, |path| matches!(path, "src/a.rs" | "benches/")), planted);
}
