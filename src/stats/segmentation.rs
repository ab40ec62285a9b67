//! The partition of a series into segments that minimises squared residuals plus a price for each boundary.
//!
//! Exact, by dynamic programming over the place of the last boundary (optimal partitioning). Places that can never be the
//! last boundary again are dropped, so that a series with many changes takes little time; one without takes the square of
//! its length.

/// What the values of a segment are expected to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Level,
    Line,
}

/// Running sums, from which the residuals of any segment follow in constant time.
#[derive(Debug)]
pub struct Sums {
    /// Of the values, of value times place, and of squares, before each place.
    rows: Vec<[f64; 3]>,
    /// One over the length of a segment and over its sum of squared places, by length: divisions would take most of the
    /// search's time. 0 where there is nothing to divide by.
    inverses: Vec<[f64; 2]>,
}

/// A mean and a slope by least squares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    pub mean: f64,
    /// By place; 0 for a level.
    pub slope: f64,
    /// Sum of squares, 0 or more.
    pub residuals: f64,
}

impl Sums {
    /// `values`: about their own centre and of a size near 1, since differences of squares lose what is far from that.
    pub fn of(values: &[f64]) -> Sums {
        let mut rows = Vec::with_capacity(values.len() + 1);
        let mut sums = [0.0; 3];
        rows.push(sums);
        for (place, value) in values.iter().enumerate() {
            sums = [sums[0] + value, sums[1] + value * place as f64, sums[2] + value * value];
            rows.push(sums);
        }
        let inverse = |value: f64| if value > 0.0 { value.recip() } else { 0.0 };
        let lengths = (0..rows.len()).map(|length| length as f64);
        let inverses = lengths.map(|length| [inverse(length), inverse(squared_places(length))]).collect();
        Sums { rows, inverses }
    }

    fn len(&self) -> usize {
        self.rows.len() - 1
    }

    /// Fits the values from `from` to before `until`, of which there is at least one.
    #[inline]
    pub fn fit(&self, shape: Shape, from: usize, until: usize) -> Fit {
        let (first, last) = (&self.rows[from], &self.rows[until]);
        let [per_run, per_spread] = self.inverses[until - from];
        let sum = last[0] - first[0];
        let mean = sum * per_run;
        let about_mean = last[2] - first[2] - sum * mean;
        if shape == Shape::Level {
            return Fit { mean, slope: 0.0, residuals: about_mean.max(0.0) };
        }
        // Places are 0, 1, 2 ..., so their own sums have closed forms.
        let together = last[1] - first[1] - middle_place(from, until) * sum;
        let slope = together * per_spread;
        Fit { mean, slope, residuals: (about_mean - slope * together).max(0.0) }
    }
}

/// Returns the mean of the places from `from` to before `until`.
pub fn middle_place(from: usize, until: usize) -> f64 {
    0.5 * (from as f64 + until as f64 - 1.0)
}

/// Returns the sum of the squared distances of `count` places from their mean.
pub fn squared_places(count: f64) -> f64 {
    count * (count * count - 1.0) / 12.0
}

/// The partition of least cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// First place of each segment but the first, ascending.
    pub boundaries: Vec<usize>,
    /// Residuals plus the price of each boundary.
    pub cost: f64,
}

/// A place where the last segment may begin.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    from: usize,
    /// Cost of all until where the search is, with the last segment from here.
    through: f64,
    /// From this end of the last segment on, another one is surely better.
    gone_at: usize,
}

/// Returns the partition of least cost; each segment has at least `length_min` values, of which the series has as many.
pub fn best_partition(sums: &Sums, shape: Shape, length_min: usize, price: f64) -> Partition {
    let len = sums.len();
    let mut cost = vec![f64::INFINITY; len + 1];
    let mut last_boundary = vec![0; len + 1];
    cost[0] = -price;
    let mut candidates = vec![Candidate { from: 0, through: 0.0, gone_at: usize::MAX }];
    let mut next_gone_at = usize::MAX;
    for until in length_min..=len {
        if until >= next_gone_at {
            candidates.retain(|candidate| candidate.gone_at > until);
            next_gone_at = candidates.iter().map(|candidate| candidate.gone_at).min().unwrap_or(usize::MAX);
        }
        let (mut best, mut best_from, mut worst) = (f64::INFINITY, 0, f64::NEG_INFINITY);
        for candidate in &mut candidates {
            candidate.through = cost[candidate.from] + sums.fit(shape, candidate.from, until).residuals;
            if candidate.through < best {
                (best, best_from) = (candidate.through, candidate.from);
            }
            worst = worst.max(candidate.through);
        }
        (cost[until], last_boundary[until]) = (best + price, best_from);
        // Residuals only grow: what costs more than a boundary here never catches up, once the segment behind it has room.
        if worst >= best + price {
            let doomed = candidates.iter_mut().filter(|candidate| candidate.through >= best + price);
            doomed.for_each(|candidate| candidate.gone_at = candidate.gone_at.min(until + length_min));
            next_gone_at = next_gone_at.min(until + length_min);
        }
        if until + 1 >= 2 * length_min {
            candidates.push(Candidate { from: until + 1 - length_min, through: 0.0, gone_at: usize::MAX });
        }
    }
    let mut boundaries = Vec::new();
    let mut at = last_boundary[len];
    while at > 0 {
        boundaries.push(at);
        at = last_boundary[at];
    }
    boundaries.reverse();
    Partition { boundaries, cost: cost[len] }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between -0.5 and 0.5, the same in any language.
    fn spread(place: usize) -> f64 {
        (place * 37 % 101) as f64 / 101.0 - 0.5
    }

    fn check(shape: Shape, length_min: usize, values: &[f64], boundaries: &[usize], cost: f64) {
        let partition = best_partition(&Sums::of(values), shape, length_min, 1.5);
        assert_eq!(partition.boundaries, boundaries);
        assert!((partition.cost - cost).abs() < 1e-9, "{partition:?}");
    }

    /// Expected values: ruptures 1.1.10, with y and z of the test as NumPy arrays and i = 0..119,
    /// `b = Pelt(model="l2", min_size=3, jump=1).fit(y).predict(pen=1.5)`, `cost_factory("l2").fit(y).sum_of_costs(b) + 3`;
    /// the same with `model="linear"`, `min_size=5` and `column_stack([z, i, ones(120)])`.
    #[test]
    fn known_answers() {
        let step = |place: usize| [0.0, 2.0, 1.2][usize::from(place >= 40) + usize::from(place >= 75)];
        let y: Vec<f64> = (0..120).map(|place| spread(place) + step(place)).collect();
        check(Shape::Level, 3, &y, &[40, 75], 12.994975438137873);
        let line = |place: usize| match place {
            0..50 => 0.05 * place as f64,
            50..80 => 2.5 - 0.1 * (place - 50) as f64,
            _ => 0.5,
        };
        let z: Vec<f64> = (0..120).map(|place| spread(place) + line(place)).collect();
        check(Shape::Line, 5, &z, &[49, 79], 12.80861010639368);
    }

    /// What is left out as hopeless never belongs to the best partition: all of them are tried.
    #[test]
    fn as_good_as_trying_all() {
        for (shape, price) in [Shape::Level, Shape::Line].into_iter().flat_map(|shape| [(shape, 0.05), (shape, 0.3)]) {
            let values: Vec<f64> = (0..14).map(|place| spread(place) + f64::from(u8::from(place > 8))).collect();
            let sums = Sums::of(&values);
            let of_mask = |mask: u32| {
                let inner = (1..14).filter(|place| mask & (1 << place) != 0);
                let ends: Vec<usize> = [0].into_iter().chain(inner).chain([14]).collect();
                let cost = |ends: &[usize]| match ends[1] - ends[0] < 3 {
                    true => f64::INFINITY,
                    false => price + sums.fit(shape, ends[0], ends[1]).residuals,
                };
                ends.windows(2).map(cost).sum::<f64>() - price
            };
            let least = (0..1 << 13).map(|mask| of_mask(mask << 1)).fold(f64::INFINITY, f64::min);
            let found = best_partition(&sums, shape, 3, price);
            assert!((found.cost - least).abs() < 1e-12, "{shape:?} at {price}: {found:?}, not {least}");
        }
    }
}
