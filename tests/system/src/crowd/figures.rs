//! What a crowd's pulls say of it: ratios and quantiles.

use super::Pulled;

impl Pulled {
    /// The most copies that came into one rack.
    pub fn into_rack(&self) -> f64 {
        self.into_racks.values().copied().fold(0.0, f64::max)
    }

    /// The median of the nodes' seconds; 0 for none.
    pub fn median(&self) -> f64 {
        self.at(1, 2)
    }

    /// The longest of the nodes' seconds: with few nodes it stands for the 99th percentile.
    pub fn longest(&self) -> f64 {
        self.at(1, 1)
    }

    /// The seconds that `part` of `whole` nodes took at most.
    fn at(&self, part: usize, whole: usize) -> f64 {
        let mut seconds: Vec<f64> = self.seconds.values().copied().collect();
        seconds.sort_by(f64::total_cmp);
        let place = (seconds.len() * part).div_ceil(whole);
        seconds.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
    }
}
