//! Names from outside within queries: as texts in quotes, and as regular expressions that match just them.

/// Returns the inside of a text in double quotes, for PromQL, LogQL, TraceQL and Pyroscope's selectors.
pub fn quoted(text: &str) -> String {
    let mut inside = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\\' => inside.extend(['\\', letter]),
            '\n' => inside.push_str("\\n"),
            '\r' => inside.push_str("\\r"),
            '\t' => inside.push_str("\\t"),
            letter => inside.push(letter),
        }
    }
    inside
}

/// Returns `label="a"`, or `label=~"a|b"` for several.
pub fn is_any(label: &str, values: &[String]) -> String {
    match values {
        [one] => format!("{label}=\"{}\"", quoted(one)),
        several => {
            let any: Vec<String> = several.iter().map(|value| quoted(&literal(value))).collect();
            format!("{label}=~\"{}\"", any.join("|"))
        }
    }
}

/// Returns a regular expression of RE2 that matches just `text`.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\.+*?()|[]{}^$".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_only_themselves() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(is_any("job", &names(&["a.b\"c"])), r#"job="a.b\"c""#);
        assert_eq!(is_any("job", &names(&["a.b", "c|d\n"])), r#"job=~"a\\.b|c\\|d\n""#);
        assert_eq!(quoted("a\\b\t"), r"a\\b\t");
    }
}
