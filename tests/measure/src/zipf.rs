//! Popularity: the n-th most popular of some things is wanted 1/n as often as the first.

use crate::{numbers::wide, random::Random};

/// Draws ranks, 0 for the most popular.
#[derive(Debug, Clone)]
pub(crate) struct Zipf {
    /// Probability of a rank or a more popular one.
    upto: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(ranks: u32) -> Self {
        let weight = |rank: u32| 1.0 / (f64::from(rank) + 1.0);
        let total: f64 = (0..ranks).map(weight).sum();
        let mut sum = 0.0;
        let upto = (0..ranks).map(|rank| {
            sum += weight(rank) / total;
            sum
        });
        Self {
            upto: upto.collect(),
        }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        let place = random.unit();
        let rank = self.upto.partition_point(|upto| *upto <= place);
        let last = self.upto.len().saturating_sub(1);
        u32::try_from(wide(rank.min(last))).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_drawn_half_as_often_as_the_first() {
        let (zipf, mut random) = (Zipf::new(1000), Random::new(1));
        let mut drawn = [0_u32; 2];
        for _ in 0..100_000 {
            let rank = usize::try_from(zipf.draw(&mut random)).expect("small");
            assert!(rank < 1000);
            if let Some(count) = drawn.get_mut(rank) {
                *count += 1;
            }
        }
        let ratio = f64::from(drawn[0]) / f64::from(drawn[1]);
        assert!((1.9..2.1).contains(&ratio), "{drawn:?}");
    }
}
