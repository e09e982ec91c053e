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
        let rounds = self.0.iter().zip(&base.0);
        let ratios = rounds
            .filter(|(_, base)| **base != 0.0)
            .map(|(own, base)| own / base);
        Self(ratios.collect()).median()
    }
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
}
