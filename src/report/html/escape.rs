//! What makes foreign words inert in HTML and in a script's data: nothing that an input holds is a tag, a script or a turn of
//! the line.

use crate::report::columns::{cut_middle, harmless};

/// Of free words; what is longer loses its middle.
const WORDS_COLUMNS: usize = 600;
/// Of a name that was shortened, in the title that shows it whole.
const TITLE_COLUMNS: usize = 1000;

/// Returns words for text and for attributes in double quotes.
pub fn text(words: &str) -> String {
    escaped(&cut_middle(words, WORDS_COLUMNS))
}

/// Returns a name set apart from the direction of what stands around it, shortened to `columns`.
pub fn name(words: &str, columns: usize) -> String {
    let shown = cut_middle(words, columns);
    if shown.ends_with(words.trim_end()) || !shown.contains('…') {
        return format!("<bdi>{}</bdi>", escaped(&shown));
    }
    format!("<bdi title=\"{}\">{}</bdi>", escaped(&cut_middle(words, TITLE_COLUMNS)), escaped(&shown))
}

/// Returns text of several lines, which keep their ends.
pub fn lines(words: &str) -> String {
    escaped(&words.lines().map(|line| line.chars().map(keep_tab).collect()).collect::<Vec<String>>().join("\n"))
}

fn keep_tab(letter: char) -> char {
    if letter == '\t' { letter } else { harmless(letter) }
}

fn escaped(words: &str) -> String {
    let mut html = String::with_capacity(words.len() + words.len() / 8);
    for letter in words.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(letter),
        }
    }
    html
}

/// Returns a link that a page may follow: `http` or `https` only.
pub fn link(url: &str) -> Option<String> {
    let has_scheme = ["https://", "http://"]
        .iter()
        .any(|scheme| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let is_plain = url.chars().all(|letter| !letter.is_whitespace() && harmless(letter) == letter);
    (has_scheme && is_plain && url.len() <= 2000).then(|| escaped(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_foreign_is_markup() {
        for (words, expected) in [
            ("</script><b>", "&lt;/script&gt;&lt;b&gt;"),
            ("a & 'b' \"c\"", "a &amp; &#39;b&#39; &quot;c&quot;"),
            ("&lt;", "&amp;lt;"),
            ("one\ntwo", "one\u{fffd}two"),
            ("\u{202e}gnp.exe", "\u{fffd}gnp.exe"),
            ("\0\u{1b}[31m", "\u{fffd}\u{fffd}[31m"),
        ] {
            assert_eq!(text(words), expected);
        }
        assert_eq!(lines("a\n\tb\u{7}<"), "a\n\tb\u{fffd}&lt;");
    }

    #[test]
    fn long_names_are_shortened_and_shown_whole_in_a_title() {
        assert_eq!(name("cart", 10), "<bdi>cart</bdi>");
        assert_eq!(name("abcdefgh", 5), "<bdi title=\"abcdefgh\">ab…gh</bdi>");
        assert!(name(&"x".repeat(10_240), 60).len() < 1200);
        assert!(text(&"x".repeat(10_240)).len() < 700);
    }

    #[test]
    fn links_are_of_the_web_only() {
        assert_eq!(link("https://ci/1?a=1&b=2").as_deref(), Some("https://ci/1?a=1&amp;b=2"));
        assert_eq!(link("HTTP://ci").as_deref(), Some("HTTP://ci"));
        for url in ["javascript:alert(1)", "data:text/html,x", "//ci/1", "", "https://a b", "https://a\u{202e}b", "é"]
        {
            assert_eq!(link(url), None, "{url:?}");
        }
    }
}
