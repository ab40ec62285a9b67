//! Where a curve bends upwards: two straight lines that meet at a knee, with an interval for it and a test against one line.
//!
//! Of every place on a grid the least squares of the two lines are taken; the place with the least is the knee (Hinkley 1971,
//! "Inference in two-phase regression", JASA 66, describes the estimate and its likelihood). Its interval holds the places whose
//! squares are not larger than an F test with one degree would let pass. Against one line the knee and its slope are two numbers
//! more, so that F with two degrees is asked; since the place is searched for, that test is a little too easy, and its limit has
//! to be strict.

/// Points without which nothing can be said.
pub const POINTS_MIN: usize = 10;
/// Places at which a knee is tried, between the outer points.
const PLACES: usize = 200;
/// So many points lie on either side of a knee.
const SIDE_POINTS_MIN: usize = 3;
/// Student's t that 95 % lie within, squared, with many degrees of freedom; of fewer it is corrected below.
const T_95_SQUARED: f64 = 3.8415;

/// Two lines that meet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BrokenLine {
    /// Where they meet, with its 95 % interval; an interval that ends at the first or the last place is open there.
    pub knee: f64,
    pub low: f64,
    pub high: f64,
    /// Of the fitted curve, at the knee.
    pub value: f64,
    pub slope_before: f64,
    pub slope_after: f64,
    /// ln of the chance that one straight line shows as much of a bend.
    pub log_chance: f64,
}

/// Fits two lines to `y` over `x`; none of fewer than `POINTS_MIN` points, of values that are not finite, or where `x` hardly
/// varies.
pub fn broken_line(x: &[f64], y: &[f64]) -> Option<BrokenLine> {
    let count = x.len();
    if count < POINTS_MIN || y.len() != count || x.iter().chain(y).any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (sorted[SIDE_POINTS_MIN - 1], sorted[count - SIDE_POINTS_MIN]);
    // Written so that a difference that overflows is none, too.
    if !((last - first).is_finite() && last > first) {
        return None;
    }
    let line = least_squares(x, y, None)?;
    let place = |index: usize| first + (last - first) * index as f64 / (PLACES - 1) as f64;
    let fits: Vec<(f64, Fit)> =
        (0..PLACES).filter_map(|index| Some((place(index), least_squares(x, y, Some(place(index)))?))).collect();
    let (knee, best) = fits.iter().min_by(|left, right| left.1.squares.total_cmp(&right.1.squares))?;
    let degrees = count as f64 - 4.0;
    let noise = (best.squares / degrees).max(1e-12 * line.squares / count as f64).max(f64::MIN_POSITIVE);
    // t^2 of few degrees is larger, about as much as the second term of its expansion says.
    let allowed = best.squares + noise * T_95_SQUARED * (1.0 + (T_95_SQUARED + 1.0) / (2.0 * degrees));
    let near: Vec<f64> = fits.iter().filter(|(_, fit)| fit.squares <= allowed).map(|(place, _)| *place).collect();
    let ratio = (line.squares - best.squares).max(0.0) / 2.0 / noise;
    Some(BrokenLine {
        knee: *knee,
        low: near.first().copied().unwrap_or(*knee),
        high: near.last().copied().unwrap_or(*knee),
        value: best.at_knee,
        slope_before: best.slope,
        slope_after: best.slope + best.bend,
        // The tail of F with 2 and `degrees` degrees of freedom is closed.
        log_chance: -0.5 * degrees * (2.0 * ratio / degrees).ln_1p(),
    })
}

struct Fit {
    squares: f64,
    at_knee: f64,
    slope: f64,
    bend: f64,
}

/// Solves the normal equations of a line, and of a bend at `knee` if there is one; none where they have no single solution.
fn least_squares(x: &[f64], y: &[f64], knee: Option<f64>) -> Option<Fit> {
    let count = x.len() as f64;
    // About the means, so that large loads lose no digits.
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count;
    let bent = |x: f64| knee.map_or(0.0, |knee| (x - knee).max(0.0));
    let (mean_x, mean_y) = (mean(&mut x.iter().copied()), mean(&mut y.iter().copied()));
    let mean_bent = mean(&mut x.iter().map(|x| bent(*x)));
    let (mut xx, mut xb, mut bb, mut xy, mut by) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (dx, db, dy) = (x - mean_x, bent(*x) - mean_bent, y - mean_y);
        xx += dx * dx;
        xb += dx * db;
        bb += db * db;
        xy += dx * dy;
        by += db * dy;
    }
    let (slope, bend) = if knee.is_some() {
        let determinant = xx * bb - xb * xb;
        if determinant.is_nan() || determinant <= 1e-12 * xx * bb {
            return None;
        }
        ((xy * bb - by * xb) / determinant, (by * xx - xy * xb) / determinant)
    } else {
        if xx.is_nan() || xx <= 0.0 {
            return None;
        }
        (xy / xx, 0.0)
    };
    let squares = x.iter().zip(y).map(|(x, y)| {
        let off = y - mean_y - slope * (x - mean_x) - bend * (bent(*x) - mean_bent);
        off * off
    });
    let squares = squares.sum::<f64>();
    let at_knee = knee.map_or(mean_y, |knee| mean_y + slope * (knee - mean_x) - bend * mean_bent);
    [squares, slope, bend, at_knee].iter().all(|value| value.is_finite()).then_some(Fit {
        squares,
        at_knee,
        slope,
        bend,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    /// Expected values: `python3 -c "import numpy as np; x=np.arange(20.)+1; e=np.where(np.arange(20)%2==0,.1,-.1);
    /// y=2+.5*x+1.5*np.maximum(x-12,0)+e; A=lambda k: np.c_[np.ones(20),x,np.maximum(x-k,0)];
    /// f=lambda k: np.linalg.lstsq(A(k),y,rcond=None); ks=np.linspace(3,18,200); s=[f(k)[1][0] for k in ks]; i=np.argmin(s);
    /// print(ks[i], s[i], f(ks[i])[0], np.linalg.lstsq(np.c_[np.ones(20),x],y,rcond=None)[1])"` (NumPy 2.4), which prints
    /// 11.9698 0.20335 [2.0284 0.49554 1.49894] [88.14587].
    #[test]
    fn two_lines_are_found_as_numpy_finds_them() {
        let x: Vec<f64> = (1..=20).map(f64::from).collect();
        let off = |index: usize| if index.is_multiple_of(2) { 0.1 } else { -0.1 };
        let y: Vec<f64> =
            x.iter().enumerate().map(|(index, x)| 2.0 + 0.5 * x + 1.5 * (x - 12.0).max(0.0) + off(index)).collect();
        let found = broken_line(&x, &y).unwrap();
        assert!((found.knee - EXPECTED[0]).abs() < 1e-3, "{found:?}");
        assert!((found.slope_before - EXPECTED[1]).abs() < 1e-3, "{found:?}");
        assert!((found.slope_after - EXPECTED[1] - EXPECTED[2]).abs() < 1e-3, "{found:?}");
        assert!(found.low < 12.0 && found.high > 12.0 && found.high - found.low < 1.0, "{found:?}");
        let log_chance = -8.0 * ((EXPECTED[4] - EXPECTED[3]) / EXPECTED[3]).ln_1p();
        assert!((found.log_chance - log_chance).abs() < 0.01, "{found:?}, {log_chance}");
    }

    const EXPECTED: [f64; 5] = [11.96985, 0.495543, 1.498941, 0.203353, 88.145865];

    #[test]
    fn a_straight_line_has_no_knee_and_intervals_hold_the_true_one() {
        let mut draws = Draws::seeded(7);
        let x: Vec<f64> = (0..40).map(f64::from).collect();
        let (mut alarms, mut held) = (0, 0);
        for _ in 0..400 {
            let straight: Vec<f64> = x.iter().map(|x| 1.0 + 0.02 * x + 0.1 * draws.normal()).collect();
            alarms += usize::from(broken_line(&x, &straight).unwrap().log_chance < 0.001f64.ln());
            let bent: Vec<f64> =
                x.iter().map(|x| 1.0 + 0.005 * x + 0.06 * (x - 28.0).max(0.0) + 0.1 * draws.normal()).collect();
            let found = broken_line(&x, &bent).unwrap();
            held += usize::from(found.low <= 28.0 && found.high >= 28.0);
        }
        assert!(alarms <= 4, "{alarms} of 400");
        assert!((360..=396).contains(&held), "{held} of 400");
    }

    #[test]
    fn edges_give_none_or_finite_figures() {
        let x: Vec<f64> = (0..12).map(f64::from).collect();
        assert_eq!(broken_line(&x[..9], &x[..9]), None);
        assert_eq!(broken_line(&[1.0; 12], &x), None);
        assert_eq!(broken_line(&x, &[f64::NAN; 12]), None);
        let huge: Vec<f64> = x.iter().map(|x| (x - 6.0) * 3e307).collect();
        assert_eq!(broken_line(&huge, &huge), None);
        let flat = broken_line(&x, &[5.0; 12]).unwrap();
        assert!(flat.log_chance > -1e-6 && flat.slope_after.abs() < 1e-9, "{flat:?}");
    }
}
