//! Words set into columns of a terminal: their width, shortened, padded, wrapped; counts that can be read.

use unicode_width::UnicodeWidthChar;

/// Returns how many columns `words` take.
pub fn width(words: &str) -> usize {
    words.chars().map(letter_width).sum()
}

/// Takes out what would move the cursor or turn the line around, and shortens to `columns`, the middle left out.
pub fn cut_middle(words: &str, columns: usize) -> String {
    let clean: Vec<char> = words.trim_end().chars().map(harmless).collect();
    let total: usize = clean.iter().copied().map(letter_width).sum();
    if total <= columns {
        return clean.into_iter().collect();
    }
    // The beginning says what it is, the end which one: both stay, and the beginning gets the odd column.
    let room = columns.saturating_sub(1);
    let head = fitting(clean.iter().copied(), room.div_ceil(2));
    let tail = fitting(clean.iter().rev().copied(), room / 2);
    let head = clean[..head].iter();
    head.chain(['…'].iter()).chain(&clean[clean.len() - tail..]).collect()
}

/// Fills up with spaces to `columns`.
pub fn pad(words: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(words));
    format!("{words}{:missing$}", "")
}

/// Breaks at spaces into lines of at most `columns`; a word that is longer is broken where it must be.
pub fn wrapped(words: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        let mut word: Vec<char> = word.chars().map(harmless).collect();
        let is_first = lines.last().is_none_or(String::is_empty);
        let used = lines.last().map_or(0, |line| width(line)) + usize::from(!is_first);
        let word_width: usize = word.iter().copied().map(letter_width).sum();
        if used + word_width > columns && !is_first {
            lines.push(String::new());
        } else if !is_first {
            lines.last_mut().expect("it starts with one").push(' ');
        }
        while width_of(&word) > columns {
            let fits = fitting(word.iter().copied(), columns).max(1);
            lines.last_mut().expect("it starts with one").extend(word.drain(..fits));
            lines.push(String::new());
        }
        lines.last_mut().expect("it starts with one").extend(word);
    }
    lines
}

/// Groups the digits by three: 1234567 is 1,234,567.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Words a count of things: `no run`, `1 run`, `2,000 runs`.
pub fn counted(count: u64, thing: &str) -> String {
    match count {
        0 => format!("no {thing}"),
        1 => format!("1 {thing}"),
        _ => format!("{} {thing}s", thousands(count)),
    }
}

fn width_of(letters: &[char]) -> usize {
    letters.iter().copied().map(letter_width).sum()
}

/// Returns how many of `letters` fit.
fn fitting(letters: impl Iterator<Item = char>, columns: usize) -> usize {
    let mut used = 0;
    letters
        .take_while(|letter| {
            used += letter_width(*letter);
            used <= columns
        })
        .count()
}

/// A control character, or one that turns the direction of the line, becomes a replacement character.
pub(super) fn harmless(letter: char) -> char {
    match letter {
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ if letter.is_control() => '\u{fffd}',
        _ => letter,
    }
}

/// Zero for what joins the letter before it, two for what East Asian scripts and emoji take; a control character is shown
/// as a replacement character.
fn letter_width(letter: char) -> usize {
    letter.width().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_a_terminal() {
        // By `wcwidth` of glibc 2.36: python3 -c 'import ctypes; ...wcswidth(...)'.
        for (words, expected) in
            [("", 0), ("abc", 3), ("Größe", 5), ("e\u{301}", 1), ("日本語", 6), ("📦 x", 4), ("שלום", 4), ("✅", 2)]
        {
            assert_eq!(width(words), expected, "{words:?}");
        }
    }

    #[test]
    fn long_words_lose_their_middle() {
        for (words, columns, expected) in [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abc…fg"),
            ("日本語日本語", 7, "日…語"),
            ("abc\u{1b}[31m", 20, "abc\u{fffd}[31m"),
            ("a\u{202e}b", 20, "a\u{fffd}b"),
        ] {
            assert_eq!(cut_middle(words, columns), expected);
            assert!(width(&cut_middle(words, columns)) <= columns);
        }
        assert_eq!(pad("日本", 6), "日本  ");
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_where_they_must() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("a abcdefgh", 4), ["a", "abcd", "efgh"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn counts_are_grouped() {
        for (count, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(count), expected);
        }
        assert_eq!([0, 1, 2].map(|count| counted(count, "run")), ["no run", "1 run", "2 runs"]);
    }
}
