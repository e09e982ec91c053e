//! What the estimate of a path makes of what is declared and of what is observed.

use std::time::Duration;

use topology::{Bound, Estimate, Estimates, RackId, Rate, Row, Sample, Topology, Verdict};

const SITE: &str = "
defaults: {host_link: 10Gbit}
ranking: {half_life: 10m, load_half_life: 15s}
tree:
  - {name: a, cidrs: [10.0.1.0/24], uplink: 10Gbit}
  - {name: b, cidrs: [10.0.2.0/24], uplink: 10Gbit}
  - {name: c, cidrs: [10.0.3.0/24], uplink: 10Gbit}
  - {name: d, cidrs: [10.0.4.0/24], uplink: 10Gbit}
";
const SECOND: Duration = Duration::from_secs(1);
const HALF_LIFE: Duration = Duration::from_mins(10);

/// A site, what is known of it, and the time.
struct Lab {
    topology: Topology,
    estimates: Estimates,
    now: Duration,
}

impl Lab {
    fn new() -> Self {
        let topology = Topology::parse(SITE).expect("sound");
        Self {
            topology,
            estimates: Estimates::default(),
            now: Duration::from_hours(1),
        }
    }

    /// A transfer at that many Gbit/s for a second, told right afterwards.
    fn observe(&mut self, from: &str, to: &str, gbit: f64) -> Verdict {
        self.observe_sample(from, to, &sample(gbit))
    }

    fn observe_sample(&mut self, from: &str, to: &str, sample: &Sample) -> Verdict {
        let (from, to) = (rack(from), rack(to));
        self.estimates
            .observe(self.now, &self.topology, from, to, sample)
    }

    fn estimate(&self, from: &str, to: &str) -> Estimate {
        self.estimates
            .estimate(self.now, &self.topology, rack(from), rack(to))
    }

    fn gbit(&self, from: &str, to: &str) -> f64 {
        gbit(self.estimate(from, to).value)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }
}

fn rack(name: &str) -> RackId {
    RackId::from_name(name)
}

fn gbit(rate: Rate) -> f64 {
    rate.bits_per_second() / 1e9
}

fn sample(gbit: f64) -> Sample {
    let mut rated_bytes = 0;
    while f64::from(rated_bytes) < gbit * 125e6 {
        rated_bytes += 100_000_u32;
    }
    Sample {
        rated_bytes: u64::from(rated_bytes),
        busy: SECOND,
        span: SECOND,
        bound: Bound::Network,
    }
}

#[test]
fn nothing_observed_is_what_is_declared() {
    let lab = Lab::new();
    let estimate = lab.estimate("a", "b");
    assert!((gbit(estimate.value) - 10.0).abs() < 1e-9);
    assert_eq!((estimate.observed, estimate.age), (None, None));
    assert!(estimate.confidence.abs() < 1e-9 && estimate.samples.abs() < 1e-9);
}

#[test]
fn observations_outweigh_the_declaration_and_are_forgotten() {
    let mut lab = Lab::new();
    for _ in 0..10 {
        lab.wait(15 * SECOND);
        assert_eq!(lab.observe("a", "b", 1.0), Verdict::Counted);
    }
    let fresh = lab.estimate("a", "b");
    assert!(gbit(fresh.value) < 1.7, "{fresh:?}");
    assert!(fresh.confidence > 0.8, "{fresh:?}");
    assert!(
        (gbit(lab.estimate("b", "a").value) - 10.0).abs() < 1e-9,
        "the other way is not known"
    );
    let mut before = fresh;
    for _ in 0..12 {
        lab.wait(HALF_LIFE);
        let later = lab.estimate("a", "b");
        assert!(later.value > before.value && later.samples < before.samples * 0.51);
        before = later;
    }
    assert!(gbit(before.value) > 9.9, "{before:?}");
}

#[test]
fn what_says_nothing_about_the_path_is_left_out() {
    let mut lab = Lab::new();
    let slow = sample(0.1);
    for (verdict, sample) in [
        (
            Verdict::ApplicationLimited,
            Sample {
                bound: Bound::Application,
                ..slow
            },
        ),
        (
            Verdict::Failed,
            Sample {
                bound: Bound::Failed,
                ..slow
            },
        ),
        (
            Verdict::Tiny,
            Sample {
                rated_bytes: 100_000,
                ..slow
            },
        ),
        (
            Verdict::Tiny,
            Sample {
                busy: Duration::ZERO,
                ..slow
            },
        ),
        (
            Verdict::Impossible,
            Sample {
                rated_bytes: u64::MAX,
                ..slow
            },
        ),
    ] {
        assert_eq!(lab.observe_sample("a", "b", &sample), verdict);
    }
    assert_eq!(lab.estimates.pairs(), []);
    assert!((lab.gbit("a", "b") - 10.0).abs() < 1e-9);
}

/// Eight transfers that share 10 Gbit/s get 1.25 each, but the link is none of 1.25 Gbit/s.
#[test]
fn many_transfers_over_one_link_are_no_slow_link() {
    let mut shared = Lab::new();
    let mut slow = Lab::new();
    let busy = Sample {
        busy: 10 * SECOND,
        span: 10 * SECOND,
        ..sample(1.25)
    };
    let busy = Sample {
        rated_bytes: busy.rated_bytes * 10,
        ..busy
    };
    for _ in 0..6 {
        shared.wait(10 * SECOND);
        slow.wait(10 * SECOND);
        for _ in 0..8 {
            shared.observe_sample("a", "b", &busy);
        }
        slow.observe_sample("a", "b", &busy);
    }
    let (shared_link, slow_link) = (shared.estimate("a", "b"), slow.estimate("a", "b"));
    assert!(gbit(shared_link.value) > 8.0, "{shared_link:?}");
    assert!(gbit(slow_link.value) < 2.5, "{slow_link:?}");
    // One more transfer would get little of either now, and all of the fast one once it is idle.
    assert!((6.0..11.0).contains(&shared_link.load), "{shared_link:?}");
    assert!(gbit(shared_link.available) < 2.0, "{shared_link:?}");
    shared.wait(Duration::from_mins(3));
    slow.wait(Duration::from_mins(3));
    assert!(gbit(shared.estimate("a", "b").available) > 7.0);
    assert!(gbit(slow.estimate("a", "b").available) < 3.5);
}

/// Four racks that are served over one uplink get a quarter each; the uplink is the same for all.
#[test]
fn many_racks_over_one_uplink_are_no_slow_links() {
    let mut lab = Lab::new();
    let quarter = sample(3.3);
    let quarter = Sample {
        rated_bytes: quarter.rated_bytes * 10,
        busy: 10 * SECOND,
        span: 10 * SECOND,
        ..quarter
    };
    for _ in 0..6 {
        lab.wait(10 * SECOND);
        for to in ["b", "c", "d"] {
            lab.observe_sample("a", to, &quarter);
        }
    }
    for to in ["b", "c", "d"] {
        assert!(lab.gbit("a", to) > 6.0, "{:?}", lab.estimate("a", to));
    }
}

/// A link that is slow by itself is not excused by fast ones from the same rack.
#[test]
fn a_slow_link_beside_busy_ones_stays_slow() {
    let mut lab = Lab::new();
    let at = |gbit: f64| {
        let sample = sample(gbit);
        let rated_bytes = sample.rated_bytes * 10;
        Sample {
            rated_bytes,
            busy: 10 * SECOND,
            span: 10 * SECOND,
            ..sample
        }
    };
    for _ in 0..6 {
        lab.wait(10 * SECOND);
        lab.observe_sample("a", "b", &at(4.0));
        lab.observe_sample("a", "c", &at(4.0));
        lab.observe_sample("a", "d", &at(0.5));
    }
    assert!(lab.gbit("a", "d") < 1.5, "{:?}", lab.estimate("a", "d"));
}

/// A link that was slow for long and is fast again is believed after two surprises.
#[test]
fn a_path_that_has_changed_is_believed_soon() {
    let mut lab = Lab::new();
    for _ in 0..40 {
        lab.wait(15 * SECOND);
        lab.observe("a", "b", 0.1);
    }
    assert!(lab.gbit("a", "b") < 0.2);
    lab.wait(15 * SECOND);
    lab.observe("a", "b", 9.0);
    lab.wait(15 * SECOND);
    assert!(lab.gbit("a", "b") < 0.5, "once may be chance");
    lab.observe("a", "b", 9.0);
    lab.wait(15 * SECOND);
    assert!(lab.gbit("a", "b") > 3.0, "{:?}", lab.estimate("a", "b"));
}

#[test]
fn instances_share_what_they_observed() {
    let (mut one, mut other, mut both) = (Lab::new(), Lab::new(), Lab::new());
    for round in 0..8 {
        for lab in [&mut one, &mut other, &mut both] {
            lab.wait(20 * SECOND);
        }
        let lab = if round % 2 == 0 { &mut one } else { &mut other };
        lab.observe("a", "b", 2.0);
        both.observe("a", "b", 2.0);
    }
    for lab in [&mut one, &mut other, &mut both] {
        lab.wait(20 * SECOND);
    }
    let written = one.estimates.rows(one.now, &one.topology);
    assert_eq!(written.len(), 1);
    other.wait(60 * SECOND);
    both.wait(60 * SECOND);
    // Twice, as the rows are read again and again.
    for _ in 0..2 {
        let rows = written.iter().map(|row| (*row, 60 * SECOND));
        assert_eq!(other.estimates.share(other.now, &other.topology, rows), 1);
    }
    let (shared, alone) = (other.estimate("a", "b"), both.estimate("a", "b"));
    assert!(
        (shared.samples - alone.samples).abs() < 1e-6,
        "{shared:?} {alone:?}"
    );
    assert!(
        (gbit(shared.value) - gbit(alone.value)).abs() < 1e-6,
        "{shared:?} {alone:?}"
    );
    // What others observed is theirs to write.
    assert!(
        other.estimates.rows(other.now, &other.topology)[0]
            .sums
            .weight
            < shared.samples
    );
    let mut restarted = Lab::new();
    let rows = written.iter().map(|row| (*row, SECOND));
    assert_eq!(
        restarted
            .estimates
            .share(restarted.now, &restarted.topology, rows),
        1
    );
    assert!(restarted.gbit("a", "b") < 6.0);
}

#[test]
fn broken_rows_are_passed_over() {
    let mut lab = Lab::new();
    for _ in 0..3 {
        lab.wait(20 * SECOND);
        lab.observe("a", "b", 1.0);
    }
    lab.wait(20 * SECOND);
    let good = lab.estimates.rows(lab.now, &lab.topology)[0];
    let mut rows = Vec::new();
    for broken in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        for field in 0..4 {
            let mut row = good;
            let sums = &mut row.sums;
            *[
                &mut sums.weight,
                &mut sums.log_rate,
                &mut sums.rated_bytes,
                &mut sums.busy_seconds,
            ][field] = broken;
            rows.push((
                Row {
                    from: rack("c"),
                    ..row
                },
                SECOND,
            ));
        }
    }
    assert_eq!(lab.estimates.share(lab.now, &lab.topology, rows), 0);
    assert!((lab.gbit("c", "b") - 10.0).abs() < 1e-9);
}

#[test]
fn the_number_of_pairs_is_bounded_and_forgotten_ones_make_room() {
    let mut lab = Lab::new();
    let rack =
        |number: usize| RackId::from_name(&format!("10.{}.{}.0/24", number / 256, number % 256));
    let observe = |lab: &mut Lab, number: usize, to: RackId| {
        lab.estimates
            .observe(lab.now, &lab.topology, rack(number), to, &sample(1.0))
    };
    for number in 0..Estimates::MOST_PAIRS {
        let to = rack(number / 512);
        assert_eq!(observe(&mut lab, number, to), Verdict::Counted);
    }
    assert_eq!(observe(&mut lab, 1, rack(9)), Verdict::Full);
    assert_eq!(
        observe(&mut lab, 0, rack(0)),
        Verdict::Counted,
        "known already"
    );
    lab.wait(20 * HALF_LIFE);
    assert_eq!(observe(&mut lab, 1, rack(9)), Verdict::Counted);
    assert_eq!(lab.estimates.pairs().len(), 1);
}
