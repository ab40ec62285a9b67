//! Exact percentiles of many groups of cells, by their histograms and as few further readings of the values as it takes.

use std::collections::HashMap;
use std::io;

use crate::stats::histogram::{Located, Range, Selection};
use crate::stats::quantile::{interpolate, position};

use super::aggregate::Cell;
use super::spill::Spill;

/// Values kept in memory during one reading, over all groups: 8 MiB.
const KEPT_VALUES_MAX: u64 = 1 << 20;

/// The quantiles (0 to 1) that are wanted of the samples of some cells together.
#[derive(Debug, Clone)]
pub struct Group {
    pub cells: Vec<u32>,
    pub quantiles: Vec<f64>,
}

/// An order statistic that is still to be found.
struct Pending {
    group: usize,
    rank: u64,
    range: Range,
    rank_in_range: u64,
}

/// Returns for each group its quantiles, in the order in which they were asked; none for a group without values.
///
/// Equal to sorting all values of the group and interpolating as k6 does, to the last bit.
pub fn quantiles(groups: &[Group], cells: &[Cell], spill: &mut Spill) -> io::Result<Vec<Option<Vec<f64>>>> {
    let mut counts = Vec::with_capacity(groups.len());
    let mut found: HashMap<(usize, u64), f64> = HashMap::new();
    let mut pending = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let mut histogram = crate::stats::histogram::Histogram::default();
        group.cells.iter().for_each(|cell| histogram.merge(&cells[*cell as usize].histogram));
        counts.push(histogram.count());
        for rank in wanted_ranks(&group.quantiles, histogram.count()) {
            settle(index, rank, histogram.locate(rank), &mut found, &mut pending);
        }
    }
    while !pending.is_empty() {
        let (now, later) = split_by_memory(pending);
        pending = later;
        read_once(now, groups, spill, &mut found, &mut pending)?;
    }
    let answers = groups.iter().enumerate().map(|(index, group)| {
        let value = |rank| found[&(index, rank)];
        let quantile = |p: &f64| {
            let position = position(*p, counts[index])?;
            Some(interpolate(value(position.lower_rank), value(position.upper_rank), position.fraction))
        };
        group.quantiles.iter().map(quantile).collect()
    });
    Ok(answers.collect())
}

/// Returns the ranks between which the quantiles lie, ascending, each once.
fn wanted_ranks(quantiles: &[f64], count: u64) -> Vec<u64> {
    let positions = quantiles.iter().filter_map(|p| position(*p, count));
    let mut ranks: Vec<u64> = positions.flat_map(|position| [position.lower_rank, position.upper_rank]).collect();
    ranks.sort_unstable();
    ranks.dedup();
    ranks
}

fn settle(
    group: usize,
    rank: u64,
    located: Located,
    found: &mut HashMap<(usize, u64), f64>,
    pending: &mut Vec<Pending>,
) {
    match located {
        Located::Exact(value) => {
            found.insert((group, rank), value);
        }
        Located::Within(range, rank_in_range) => pending.push(Pending { group, rank, range, rank_in_range }),
    }
}

/// Takes the smallest ranges first, as many as may be kept at once, and at least one.
fn split_by_memory(mut pending: Vec<Pending>) -> (Vec<Pending>, Vec<Pending>) {
    pending.sort_by_key(|wanted| (wanted.range.count, wanted.group, wanted.rank));
    let mut kept = 0;
    let fits = |wanted: &&Pending| {
        kept += wanted.range.count;
        kept <= KEPT_VALUES_MAX
    };
    let fitting = pending.iter().take_while(fits).count();
    let later = pending.split_off(fitting.max(1));
    (pending, later)
}

/// Reads all values once and settles the order statistics `now`; what needs a finer look goes to `pending`.
fn read_once(
    now: Vec<Pending>,
    groups: &[Group],
    spill: &mut Spill,
    found: &mut HashMap<(usize, u64), f64>,
    pending: &mut Vec<Pending>,
) -> io::Result<()> {
    let mut selections: Vec<Selection> = Vec::new();
    let mut selection_of: HashMap<(usize, Range), usize> = HashMap::new();
    let mut selections_of_cell: HashMap<u32, Vec<usize>> = HashMap::new();
    for wanted in &now {
        selection_of.entry((wanted.group, wanted.range)).or_insert_with(|| {
            let index = selections.len();
            selections.push(Selection::new(wanted.range, KEPT_VALUES_MAX));
            for cell in &groups[wanted.group].cells {
                selections_of_cell.entry(*cell).or_default().push(index);
            }
            index
        });
    }
    let cells_end = selections_of_cell.keys().max().map_or(0, |last| *last as usize + 1);
    let by_cell: Vec<Vec<usize>> =
        (0..cells_end).map(|cell| selections_of_cell.remove(&(cell as u32)).unwrap_or_default()).collect();
    spill.read(|cell, values| {
        for index in by_cell.get(cell as usize).into_iter().flatten() {
            selections[*index].offer(values);
        }
    })?;
    for wanted in now {
        let located = selections[selection_of[&(wanted.group, wanted.range)]].locate(wanted.rank_in_range);
        settle(wanted.group, wanted.rank, located, found, pending);
    }
    Ok(())
}
