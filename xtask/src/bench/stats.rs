//! The figures of several rounds in one.

/// One figure, measured several times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle one; of an even number the mean of the two in the middle.
    pub(crate) fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
        Some(f64::midpoint(lower, upper))
    }

    /// How far the farthest round is from the median, as a part of the median.
    pub(crate) fn spread(&self) -> Option<f64> {
        let median = self.median()?;
        let farthest = self
            .0
            .iter()
            .map(|figure| (figure - median).abs())
            .fold(0.0, f64::max);
        (median != 0.0).then_some(farthest / median)
    }

    /// The median of the ratios within each round.
    pub(crate) fn ratio(&self, base: &Self) -> Option<f64> {
        self.ratios(base).median()
    }

    /// Between which of the ratios within each round their true median lies, 95 times of a hundred:
    /// by the sign test, which supposes nothing of their distribution. `None` for less than six rounds.
    pub(crate) fn ratio_bounds(&self, base: &Self) -> Option<(f64, f64)> {
        let mut sorted = self.ratios(base).0;
        sorted.sort_by(f64::total_cmp);
        let outside = outside(sorted.len())?;
        let high = sorted.len().checked_sub(outside)?;
        Some((*sorted.get(outside - 1)?, *sorted.get(high)?))
    }

    fn ratios(&self, base: &Self) -> Self {
        let rounds = self.0.iter().zip(&base.0);
        rounds
            .filter(|(_, base)| **base != 0.0)
            .map(|(own, base)| own / base)
            .collect()
    }
}

/// The place, from one, of the lower bound among `n` figures in order: the greatest for which fewer
/// than `place` of `n` tosses of a coin show heads in at most a fortieth of all cases.
fn outside(n: usize) -> Option<usize> {
    let total = i32::try_from(n).ok()?;
    let mut chance = 0.5_f64.powi(total);
    let (mut below, mut place) = (chance, 0);
    while below <= 0.025 && place < n {
        place += 1;
        // Of n over k to n over k + 1.
        chance *= count(n - place + 1)? / count(place)?;
        below += chance;
    }
    (place > 0).then_some(place)
}

fn count(n: usize) -> Option<f64> {
    u32::try_from(n).ok().map(f64::from)
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_spreads_and_ratios() {
        let odd: Series = [3.0, 1.0, 2.0].into_iter().collect();
        let even: Series = [4.0, 1.0, 2.0, 3.0].into_iter().collect();
        assert_eq!((odd.median(), even.median()), (Some(2.0), Some(2.5)));
        assert_eq!((odd.spread(), Series::new().median()), (Some(0.5), None));
        // Round by round, and not median by median.
        let base: Series = [1.0, 1.0, 4.0].into_iter().collect();
        assert_eq!(odd.ratio(&base), Some(1.0));
    }

    #[test]
    fn bounds_of_a_median_are_those_of_the_sign_test() {
        // From the tables of the binomial distribution.
        let places = [5, 6, 10, 20, 41, 100].map(outside);
        assert_eq!(
            places,
            [None, Some(1), Some(2), Some(6), Some(14), Some(40)]
        );
        let own: Series = (1..=10).map(f64::from).collect();
        let base: Series = (1..=10).map(|_| 1.0).collect();
        assert_eq!(own.ratio_bounds(&base), Some((2.0, 9.0)));
    }
}
