//! One function over many items, on all cores: the results are in the order of the items, whatever core did which.

use std::sync::{Mutex, PoisonError};

/// Returns `work` of each item, in order. Each core takes the next item, since some take longer than others.
///
/// # Panics
/// Where `work` does.
pub fn on_cores<Item: Send, Result: Send>(items: Vec<Item>, work: impl Fn(Item) -> Result + Sync) -> Vec<Result> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let next = Mutex::new(items.into_iter().enumerate());
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worked = || std::iter::from_fn(take).map(|(place, item)| (place, work(item))).collect::<Vec<_>>();
    let mut results = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..cores).map(|_| scope.spawn(worked)).collect();
        let mut results = worked();
        for thread in threads {
            results.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let slow_first = |item: u64| {
            std::thread::sleep(std::time::Duration::from_millis(20 / (item + 1)));
            item * 2
        };
        assert_eq!(on_cores((0..50).collect(), slow_first), (0..50).map(|item| item * 2).collect::<Vec<u64>>());
        assert_eq!(on_cores(Vec::new(), slow_first), Vec::<u64>::new());
    }
}
