//! Text from outside, set into Markdown so that it stays text.
//!
//! Within a code span neither GitHub nor GitLab sees HTML, links, images, mentions, references or formulas. A
//! backslash or an entity would not do: mentions are looked for after both are resolved.

use url::Url;

use super::words;

/// Returns a name as a code span.
pub fn code(name: &str) -> String {
    span(&words::name(name))
}

/// As `code`, for what is longer than a name.
pub fn long_code(text: &str) -> String {
    span(&words::sentence(text))
}

/// Returns a sentence whose plain words stay as they are; each other word becomes a code span.
pub fn prose(sentence: &str) -> String {
    let sentence = words::sentence(sentence);
    let words = sentence.split(' ').filter(|word| !word.is_empty()).enumerate();
    words.map(|(index, word)| prose_word(word, index == 0)).collect::<Vec<_>>().join(" ")
}

/// Returns a name as it is where it is only letters, digits and what files are named with, else as a code span.
pub fn plain_name(name: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    if !name.is_empty() && name.len() <= 255 && name.chars().all(is_plain) { name.to_owned() } else { code(name) }
}

/// Returns a link to a web page; none where `url` is not one.
pub fn link(label: &str, url: &str) -> Option<String> {
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let address = url.as_str();
    let is_safe = |letter: char| letter.is_ascii_alphanumeric() || "-._~:/?#@&=+,;%".contains(letter);
    let fits = address.len() <= URL_BYTES_MAX && address.chars().all(is_safe);
    // A user's name in a URL makes it look like another host's.
    let has_user = !url.username().is_empty() || url.password().is_some();
    (fits && !has_user).then(|| format!("[{label}](<{}>)", address.replace('&', "&amp;")))
}

const URL_BYTES_MAX: usize = 2_000;

fn prose_word(word: &str, is_first: bool) -> String {
    let end = word.trim_end_matches([',', ';', '.', ':', '?']);
    let begins = !is_first || end.starts_with(char::is_alphabetic);
    let plain = |letter: char| letter.is_alphanumeric() || "'\"()/+-=%,".contains(letter);
    // A point is plain within a number, and nowhere else: `www.` makes a link.
    let is_number = end.chars().all(|letter| letter.is_ascii_digit() || ".,+-%".contains(letter));
    let is_reference = end.len() > 1 && end.starts_with('%');
    if begins && !is_reference && (is_number || end.chars().all(plain)) && word.len() - end.len() <= 1 {
        return word.to_owned();
    }
    let tail = if end.is_empty() { "" } else { &word[end.len()..] };
    let body = if end.is_empty() { word } else { end };
    if tail.len() <= 1 { format!("{}{tail}", span(body)) } else { span(word) }
}

/// Parsers take no fence of more than 80 backticks (cmark's `MAXBACKTICKS`); a name with so many wants no such care.
const BACKTICKS_MAX: usize = 8;

/// A fence that is longer than every run of backticks within.
fn span(text: &str) -> String {
    let (mut longest, mut run) = (0, 0);
    for letter in text.chars() {
        run = if letter == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    if longest > BACKTICKS_MAX {
        return span(&text.replace('`', "\u{fffd}"));
    }
    let fence = "`".repeat(longest + 1);
    // One space at each end is taken off again where both are there.
    let is_padded = text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']);
    let pad = if is_padded { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_code() {
        for (name, expected) in [
            ("GET /pay", "`GET /pay`"),
            ("a`b", "``a`b``"),
            ("``", "``` `` ```"),
            ("</script>", "`</script>`"),
            ("@everyone #1", "`@everyone #1`"),
            ("a`````````b", "`a\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}b`"),
            ("", "`(no name)`"),
        ] {
            assert_eq!(code(name), expected);
        }
    }

    #[test]
    fn sentences_keep_their_plain_words() {
        for (sentence, expected) in [
            ("all 13 thresholds held", "all 13 thresholds held"),
            ("p95 is +30 % (was 12.5 ms), since 4.2.", "p95 is +30 % (was 12.5 ms), since 4.2."),
            (
                "threshold failed: a_b{c:d} p(95)<10, observed 12",
                "threshold failed: `a_b{c:d}` `p(95)<10`, observed 12",
            ),
            ("# heading", "`#` heading"),
            ("1. item", "`1`. item"),
            ("- item", "`-` item"),
            ("ask @root at www.example.org or http://x", "ask `@root` at `www.example.org` or `http://x`"),
            ("see %12, !3, $x$ and &lt;", "see `%12`, `!3`, `$x$` and `&lt`;"),
            ("a :::", "a `:::`"),
        ] {
            assert_eq!(prose(sentence), expected);
        }
    }

    #[test]
    fn only_web_pages_are_linked() {
        let linked = link("run", "https://ci.example/a/1?b=2&copy=3");
        assert_eq!(linked.as_deref(), Some("[run](<https://ci.example/a/1?b=2&amp;copy=3>)"));
        for url in ["javascript:alert(1)", "https://a@b.example/", "/x", "https://a.example/`x`)(", "data:text/html,x"]
        {
            assert_eq!(link("run", url), None, "{url}");
        }
    }
}
