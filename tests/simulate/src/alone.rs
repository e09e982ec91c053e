//! For comparison: everybody takes from the registry, which shares itself evenly. No steps: who
//! began first is done first, and what one gets in a time all get, so arithmetic does.

use crate::crowd::arrivals;
use crate::network::Network;
use crate::numbers::float;
use crate::outcome::Outcome;
use crate::plan::{Plan, Policy};

pub(crate) fn run(plan: &Plan) -> Outcome {
    let mut begin = arrivals(plan);
    begin.drain(..plan.holders);
    begin.sort_by(f64::total_cmp);
    let size = plan.size.bytes();
    let at_once = float(plan.at_once.min(plan.layers));
    let containerd = plan.containerd.bytes_per_second() * at_once;
    let most = plan.nic.bytes_per_second().min(containerd);
    // Everyone in a rack takes over its uplink.
    let per_rack = float(plan.nodes.div_ceil(plan.racks));
    let uplink = plan.uplink.bytes_per_second() / per_rack;
    let times = share(plan, &begin, size, most.min(uplink));
    let mut outcome = Outcome::new(plan, Policy::Registry, times);
    outcome.registry_copies = float(begin.len());
    outcome.into_racks = vec![per_rack; plan.racks];
    outcome.out_of_racks = vec![0.0; plan.racks];
    let first = Network::registry_share(plan, 1).min(most);
    outcome.measure_against(size / first);
    outcome
}

/// When each is done, from its own beginning.
fn share(plan: &Plan, begin: &[f64], size: f64, most: f64) -> Vec<f64> {
    let mut times = Vec::with_capacity(begin.len());
    // What somebody has had who was there from the start, and what each had missed of that.
    let (mut now, mut served) = (0.0, 0.0);
    let mut missed = Vec::with_capacity(begin.len());
    while times.len() < begin.len() {
        let active = missed.len() - times.len();
        let rate = Network::registry_share(plan, active).min(most);
        let next_begin = begin.get(missed.len()).copied();
        let next_end = missed
            .get(times.len())
            .map(|missed: &f64| now + (missed + size - served) / rate);
        match (next_begin, next_end) {
            (Some(at), end) if end.is_none_or(|end| at <= end) => {
                served += if active > 0 { (at - now) * rate } else { 0.0 };
                now = at;
                missed.push(served);
            }
            (_, Some(end)) => {
                served += (end - now) * rate;
                now = end;
                times.push(now - begin[times.len()]);
            }
            (_, None) => break,
        }
    }
    times
}
