//! The tags of a sample: names and values, sorted by name.

use serde::{Deserialize, Serialize};

/// Names and values, sorted by name, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TagSet(Vec<(String, String)>);

impl TagSet {
    /// Sorts; of a name that comes twice the last value stays, as in k6 and in `serde_json`.
    pub fn from_pairs(mut pairs: Vec<(String, String)>) -> TagSet {
        pairs.reverse();
        pairs.sort_by(|left, right| left.0.cmp(&right.0));
        pairs.dedup_by(|later, kept| later.0 == kept.0);
        TagSet(pairs)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok()?;
        Some(&self.0[index].1)
    }

    /// Returns the value of a tag that is present and not empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Says whether every tag of `filter` is here with the same value: k6's rule for a sub-metric.
    pub fn contains_all(&self, filter: &TagSet) -> bool {
        filter.iter().all(|(name, value)| self.get(name) == Some(value))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> TagSet {
        TagSet::from_pairs(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn the_last_value_of_a_repeated_name_stays() {
        let set = tags(&[("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
    }

    #[test]
    fn a_submetric_needs_every_tag() {
        let set = tags(&[("group", ""), ("status", "200")]);
        assert!(set.contains_all(&tags(&[("status", "200")])));
        assert!(set.contains_all(&tags(&[("group", "")])));
        assert!(!set.contains_all(&tags(&[("check", "")])), "an absent tag is not an empty one");
        assert!(!set.contains_all(&tags(&[("status", "200"), ("name", "x")])));
    }
}
