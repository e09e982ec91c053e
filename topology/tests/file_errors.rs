//! What the parser says about files that are wrong: where, what, and how to mend it.

use topology::Topology;

/// The report on one file, with its mistakes marked.
fn check(file: &str) -> String {
    let file = file.trim_start_matches('\n');
    let errors = Topology::parse(file).expect_err("the file is wrong");
    errors.report("topology.yaml", file)
}

#[test]
fn keys_and_shapes() {
    insta::assert_snapshot!(check(
        r"
version: 2
defaults:
  hostlink: 25Gbit
  rack_prefix: 24
ranking:
  weights: {prefix: high, bandwith: 1}
  half_life: 10
  half_life: 5m
  tier_width:
  slowest: 100Gbit
  fastest: 10Mbit
  smallest_sample: 1Mbit
nonsense: true
tree:
  - kind: [rack]
    cidrs: 10.0.1.0/24
  - name: r/2
    cidrs: [10.0.2.0/24]
    uplink: {up: 10Gbit}
  - name: r3
    cidrs: []
  - rack
"
    ));
}

#[test]
fn rates() {
    insta::assert_snapshot!(check(
        r"
tree:
  - {name: a, uplink: 25, cidrs: [10.0.1.0/24]}
  - {name: b, uplink: 25GB, cidrs: [10.0.2.0/24]}
  - {name: c, uplink: 400Tbit, cidrs: [10.0.3.0/24]}
  - {name: d, uplink: 0Gbit, cidrs: [10.0.4.0/24]}
  - {name: e, uplink: fast, cidrs: [10.0.5.0/24]}
  - {name: f, uplink: 10m, cidrs: [10.0.6.0/24]}
"
    ));
}

#[test]
fn addresses() {
    insta::assert_snapshot!(check(
        r#"
tree:
  - name: a
    cidrs:
      - 10.0.1.7/24
      - 10.0.2.7
      - 10.0.3.0/33
      - 10.0.4.0/255.255.255.0
      - 0.0.0.0/0
      - "::ffff:10.0.5.0/120"
      - 2001:db8::1/64
      - somewhere
  - name: b
    cidrs: [10.1.0.0/16, 10.1.2.0/24]
  - name: c
    cidrs: [10.1.3.0/24, 10.1.0.0/16]
  - name: d
    cidrs: [10.4.0.0/16]
    children:
      - {name: d1, cidrs: [10.4.1.0/24, 10.4.0.0/15]}
  - name: e
    cidrs: [10.7.0.128/25]
    rack_prefix: {ipv4: 24}
"#
    ));
}

#[test]
fn the_tree() {
    insta::assert_snapshot!(check(
        r"
tree:
  - {name: a, parent: c, cidrs: [10.0.1.0/24]}
  - {name: b, parent: a, cidrs: [10.0.2.0/24]}
  - {name: c, parent: b, cidrs: [10.0.3.0/24]}
  - {name: d, parent: sonewhere, cidrs: [10.0.4.0/24]}
  - name: somewhere
    children:
      - {name: empty}
      - {name: twice, cidrs: [10.0.5.0/24]}
      - {name: twice, parent: a, cidrs: [10.0.6.0/24]}
"
    ));
}

#[test]
fn links() {
    insta::assert_snapshot!(check(
        r"
tree:
  - name: zone
    children:
      - {name: r1, cidrs: [10.0.1.0/24]}
      - {name: r2, cidrs: [10.0.2.0/24]}
links:
  - {between: [r1, r2], bandwidth: 1Gbit}
  - {from: r2, to: r1, cost: 2}
  - {between: [r1, r1], forbidden: true}
  - {between: [zone, r1], forbidden: true}
  - {between: [r1, r22], forbidden: yes}
  - {between: [r1], cost: 2}
  - {from: r1, cost: 2}
  - {between: [r1, r2], from: r1, to: r2, cost: 0}
  - {from: r1, to: r2}
"
    ));
}

#[test]
fn what_is_not_yaml() {
    for (name, file) in [
        ("quote", "tree:\n  - name: \"r1\n    cidrs: [10.0.1.0/24]\n"),
        (
            "bracket",
            "tree:\n  - name: r1\n    cidrs: [10.0.1.0/24\n  - name: r2\n",
        ),
        ("tab", "tree:\n\t- name: r1\n"),
        ("colon", "tree:\n  - name r1\n    cidrs: [10.0.1.0/24]\n"),
        ("two", "version: 1\n---\nversion: 1\n"),
        ("empty", "# nothing\n"),
        ("list", "- name: r1\n"),
        ("text", "topology\n"),
        ("tag", "version: !one 1\n"),
        ("unknown_alias", "version: *one\n"),
        (
            "alias_in_itself",
            "tree: &all\n  - {name: r1, children: *all}\n",
        ),
    ] {
        insta::assert_snapshot!(name, check(file));
    }
}

#[test]
fn an_alias_is_wrong_where_it_points_to() {
    let file = "
defaults: &wrong {host_lnk: 1Gbit}
ranking: *wrong
";
    insta::assert_snapshot!(check(file));
}

#[test]
fn a_flood_of_mistakes_and_of_aliases_is_bounded() {
    let flood = "x: 1\n".repeat(10_000);
    assert_eq!(
        Topology::parse(&flood).expect_err("wrong").iter().count(),
        200
    );
    let laughs = (1..12).map(|level| {
        let before = format!("*a{}, ", level - 1).repeat(9);
        format!("a{level}: &a{level} [{before}]")
    });
    let first = "a0: &a0 [x, x, x, x, x, x, x, x, x]".to_owned();
    let laughs = std::iter::once(first)
        .chain(laughs)
        .collect::<Vec<_>>()
        .join("\n");
    let errors = Topology::parse(&laughs).expect_err("too much");
    assert!(
        errors.to_string().contains("more than 200000 values"),
        "{errors}"
    );
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    assert!(Topology::parse(&deep).is_err());
    let deep = (0..500)
        .map(|level| format!("{}a:", " ".repeat(level)))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(Topology::parse(&deep).is_err());
    let errors = Topology::parse(&" ".repeat(5 << 20)).expect_err("too long");
    assert!(
        errors.to_string().contains("more than 4194304 bytes"),
        "{errors}"
    );
}

/// A line that ends with a carriage return alone is one to YAML, and so it is shown.
#[test]
fn lines_are_counted_as_yaml_counts_them() {
    let report = check("version: 1\rtree:\r\n  - name: a\r    nonsense: b\n");
    assert!(report.contains("topology.yaml:4:"), "{report}");
    assert!(report.contains("4 |     nonsense: b"), "{report}");
}
