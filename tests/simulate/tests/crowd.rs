//! What the product's rules promise of large crowds, in the model.

use std::time::Duration;

use simulate::{Cut, Faults, Outcome, Plan, Policy, Restart, Run, Slow, simulate};
use swarm::Rules;

fn plan(nodes: usize) -> Plan {
    Plan {
        nodes,
        racks: nodes.div_ceil(40),
        zones: 1,
        size: "1GiB".parse().expect("a size"),
        layers: 1,
        at_once: 3,
        nic: "10Gbit".parse().expect("a rate"),
        uplink: "80Gbit".parse().expect("a rate"),
        registry: "40Gbit".parse().expect("a rate"),
        containerd: "5Gbit".parse().expect("a rate"),
        hop: Duration::from_millis(1),
        answer: Duration::from_millis(3),
        arrivals: Duration::from_millis(500),
        holders: 0,
        faults: Faults::default(),
        rules: Rules::default(),
        seed: 1,
    }
}

fn with(faults: Faults) -> Plan {
    Plan {
        faults,
        ..plan(1_000)
    }
}

fn outcome(plan: &Plan, policy: Policy) -> Outcome {
    simulate(plan, policy).expect("the plan is sound")
}

/// The figures; all pulls end, and nobody was sent against the order.
fn swarm(plan: &Plan) -> Run {
    let run = outcome(plan, Policy::Swarm).run();
    assert_eq!((run.unfinished, run.violations), (0, 0), "{run:?}");
    run
}

#[test]
fn ten_thousand_nodes_take_one_copy_at_line_rate() {
    let run = swarm(&plan(10_000));
    assert!(
        run.registry_copies <= 1.01 && run.copies_into_rack <= 1.05,
        "{run:?}"
    );
    assert!(run.copies_out_of_rack <= 4.05, "{run:?}");
    assert!(
        run.p50_of_solo >= 0.95 && run.p99_over_p50 <= 1.1,
        "{run:?}"
    );
    assert!(run.bytes_of_memory < 2 << 20, "{run:?}");
}

#[test]
fn stripes_help_where_the_nic_binds() {
    let nic_binds = Plan {
        containerd: "100Gbit".parse().expect("a rate"),
        ..plan(1_000)
    };
    let run = swarm(&nic_binds);
    assert!(
        run.p50_of_solo >= 0.75 && run.p99_over_p50 <= 1.35,
        "{run:?}"
    );
    assert!(
        run.registry_copies <= 1.01 && run.copies_into_rack <= 1.05,
        "{run:?}"
    );
    let rules = Rules {
        stripes: 1,
        ..Rules::default()
    };
    let single = swarm(&Plan { rules, ..nic_binds });
    assert!(single.p50_of_solo < 0.6, "{single:?}");
}

#[test]
fn ten_layers_come_at_once() {
    let run = swarm(&Plan {
        layers: 10,
        ..plan(1_000)
    });
    assert!(
        run.registry_copies <= 1.01 && run.copies_into_rack <= 1.05,
        "{run:?}"
    );
    assert!(
        run.p50_of_solo >= 0.65 && run.p99_over_p50 <= 1.35,
        "{run:?}"
    );
}

#[test]
fn the_others_are_worse() {
    let [registry, tree, sample] = [Policy::Registry, Policy::BinaryTree, Policy::Sample]
        .map(|policy| outcome(&plan(400), policy).run());
    assert!(
        (registry.registry_copies - 400.0).abs() < 0.01,
        "{registry:?}"
    );
    for run in [registry, tree, sample] {
        assert!(run.unfinished == 0 && run.p50_of_solo < 0.6, "{run:?}");
        assert!(run.copies_into_rack > 20.0, "{run:?}");
    }
}

#[test]
fn silent_deaths_cost_those_behind_them_little() {
    let run = swarm(&with(Faults {
        silent: 0.01,
        ..Faults::default()
    }));
    assert!(
        run.p99_over_p50 <= 1.4 && run.registry_copies <= 1.01,
        "{run:?}"
    );
}

#[test]
fn the_first_fetchers_death_costs_no_second_copy() {
    let run = swarm(&with(Faults {
        first_dies: true,
        ..Faults::default()
    }));
    assert!(run.registry_copies <= 1.06, "{run:?}");
}

#[test]
fn slow_nodes_that_say_so_hold_nobody_up() {
    let slow = Slow {
        share: 0.02,
        rate: "2Gbit".parse().expect("a rate"),
        says_so: true,
    };
    let says_so = swarm(&with(Faults {
        slow: Some(slow),
        ..Faults::default()
    }));
    assert!(says_so.p99_over_p50 <= 1.4, "{says_so:?}");
    let slow = Slow {
        says_so: false,
        ..slow
    };
    let silent = swarm(&with(Faults {
        slow: Some(slow),
        ..Faults::default()
    }));
    assert!(silent.p99_over_p50 > says_so.p99_over_p50, "{silent:?}");
}

#[test]
fn without_a_server_a_rack_takes_one_copy() {
    let run = swarm(&with(Faults {
        server_away: true,
        ..Faults::default()
    }));
    assert!(
        run.registry_copies <= 25.01 && run.copies_into_rack <= 1.05,
        "{run:?}"
    );
}

#[test]
fn a_server_that_starts_again_costs_no_second_copy() {
    let restart = Restart {
        at: Duration::from_millis(250),
        away: Duration::from_millis(300),
    };
    // Also where the first is done before the silence after the start is over.
    let long = Restart {
        away: Duration::from_secs(1),
        ..restart
    };
    for restart in [restart, long] {
        let run = swarm(&with(Faults {
            restart: Some(restart),
            ..Faults::default()
        }));
        assert!(run.registry_copies <= 1.05, "{run:?}");
    }
}

#[test]
fn a_rack_that_is_cut_off_holds_up_no_other() {
    let cut = Cut {
        rack: 3,
        at: Duration::from_millis(700),
        lasts: Duration::from_secs(2),
    };
    let run = swarm(&with(Faults {
        cut: Some(cut),
        ..Faults::default()
    }));
    assert!(
        run.registry_copies <= 1.06 && run.p99_over_p50 < 3.0,
        "{run:?}"
    );
}

#[test]
fn a_herd_on_one_holder_leaves_the_registry_alone() {
    let run = swarm(&Plan {
        holders: 1,
        ..plan(1_000)
    });
    assert!(
        run.registry_copies < 1e-9 && run.copies_into_rack <= 1.05,
        "{run:?}"
    );
    assert!(run.p50_of_solo >= 0.95, "{run:?}");
}

#[test]
fn the_same_seed_gives_the_same_to_the_last_bit() {
    let faults = Faults {
        silent: 0.02,
        ..Faults::default()
    };
    let plan = Plan {
        faults,
        ..plan(400)
    };
    let all = |plan: &Plan| {
        let outcome = outcome(plan, Policy::Swarm);
        (
            outcome.times.clone(),
            outcome.into_racks.clone(),
            outcome.run(),
        )
    };
    assert_eq!(all(&plan), all(&plan));
    assert_ne!(all(&plan).0, all(&Plan { seed: 2, ..plan }).0);
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let sound = plan(80);
    let cut = Cut {
        rack: 2,
        at: Duration::ZERO,
        lasts: Duration::ZERO,
    };
    for (plan, says) in [
        (
            Plan {
                nodes: 0,
                ..sound.clone()
            },
            "the number of nodes is 0",
        ),
        (
            Plan {
                racks: 81,
                ..sound.clone()
            },
            "has to be 1 to 80",
        ),
        (
            Plan {
                holders: 80,
                ..sound.clone()
            },
            "has to be 0 to 79",
        ),
        (
            Plan {
                layers: 0,
                ..sound.clone()
            },
            "layers is 0",
        ),
        (
            Plan {
                hop: Duration::ZERO,
                ..sound.clone()
            },
            "a hop takes no time",
        ),
        (
            Plan {
                faults: Faults {
                    silent: 1.5,
                    ..Faults::default()
                },
                ..sound.clone()
            },
            "silent deaths is 1.5",
        ),
        (
            Plan {
                faults: Faults {
                    cut: Some(cut),
                    ..Faults::default()
                },
                ..sound
            },
            "there are 2",
        ),
    ] {
        let error = simulate(&plan, Policy::Swarm)
            .expect_err("it makes no sense")
            .to_string();
        assert!(error.contains(says), "{error}");
    }
}
