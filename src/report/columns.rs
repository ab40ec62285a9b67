//! Words set into columns of a terminal: their width, shortened, padded, wrapped; counts that can be read.

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
fn harmless(letter: char) -> char {
    match letter {
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ if letter.is_control() => '\u{fffd}',
        _ => letter,
    }
}

/// Zero for what joins the letter before it, two for what East Asian scripts and emoji take, else one.
///
/// The blocks that names are written in, from Unicode's EastAsianWidth.txt (W and F) and its categories Mn, Me and Cf; a
/// letter of a rare script may be one column off.
fn letter_width(letter: char) -> usize {
    match letter as u32 {
        0..=0x2ff => 1,
        0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x610..=0x61a | 0x64b..=0x65f => 0,
        0x93c | 0x941..=0x948 | 0x94d | 0xe31 | 0xe34..=0xe3a | 0xe47..=0xe4e => 0,
        0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x200b..=0x200f | 0x2060..=0x2064 | 0x20d0..=0x20ff => 0,
        0xfe00..=0xfe0f | 0xfe20..=0xfe2f | 0xfeff | 0xe0100..=0xe01ef => 0,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0x3247 | 0x3250..=0x4dbf | 0x4e00..=0xa4cf => 2,
        0xa960..=0xa97c | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 => 2,
        0x231a..=0x231b | 0x23e9..=0x23ec | 0x23f0 | 0x23f3 | 0x25fd..=0x25fe | 0x2614..=0x2615 => 2,
        0x2648..=0x2653 | 0x267f | 0x2693 | 0x26a1 | 0x26aa..=0x26ab | 0x26bd..=0x26be | 0x26c4..=0x26c5 => 2,
        0x26ce | 0x26d4 | 0x26ea | 0x26f2..=0x26f3 | 0x26f5 | 0x26fa | 0x26fd | 0x2705 | 0x270a..=0x270b => 2,
        0x2728 | 0x274c | 0x274e | 0x2753..=0x2755 | 0x2757 | 0x2795..=0x2797 | 0x27b0 | 0x27bf => 2,
        0x2b1b..=0x2b1c | 0x2b50 | 0x2b55 | 0x1f004 | 0x1f0cf | 0x1f18e | 0x1f191..=0x1f19a => 2,
        0x1f200..=0x1f320 | 0x1f32d..=0x1f335 | 0x1f337..=0x1f37c | 0x1f37e..=0x1f393 | 0x1f3a0..=0x1f3ca => 2,
        0x1f3cf..=0x1f3d3 | 0x1f3e0..=0x1f3f0 | 0x1f3f4 | 0x1f3f8..=0x1f43e | 0x1f440 | 0x1f442..=0x1f4fc => 2,
        0x1f4ff..=0x1f53d | 0x1f54b..=0x1f54e | 0x1f550..=0x1f567 | 0x1f57a | 0x1f595..=0x1f596 | 0x1f5a4 => 2,
        0x1f5fb..=0x1f64f | 0x1f680..=0x1f6c5 | 0x1f6cc | 0x1f6d0..=0x1f6d2 | 0x1f6d5..=0x1f6df => 2,
        0x1f6eb..=0x1f6ef | 0x1f6f4..=0x1f6ff | 0x1f7e0..=0x1f7f0 | 0x1f90c..=0x1f93a | 0x1f93c..=0x1f945 => 2,
        0x1f947..=0x1f9ff | 0x1fa70..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
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
