//! Lists that take turns: what is cut off at a bound is then missing from all of them alike.

/// Returns the first of each list, then the second of each, and so on.
pub fn in_turn<T>(lists: &[Vec<T>]) -> impl Iterator<Item = &T> {
    let longest = lists.iter().map(Vec::len).max().unwrap_or_default();
    (0..longest).flat_map(move |index| lists.iter().filter_map(move |list| list.get(index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lists_run_out_and_long_ones_go_on() {
        let lists = [vec![1, 2, 3], vec![], vec![4], vec![5, 6]];
        assert_eq!(in_turn(&lists).copied().collect::<Vec<i32>>(), [1, 4, 5, 2, 6, 3]);
        assert_eq!(in_turn::<i32>(&[]).count(), 0);
    }
}
