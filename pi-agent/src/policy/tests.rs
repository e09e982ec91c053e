//! Names and patterns: what the lists cover, however it is written.

use super::Policy;

fn check(allow: &[&str], deny: &[&str], name: &str) -> bool {
    let list = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
    let (registry, repository) = name.split_once('/').unwrap();
    Policy::new(list(allow), list(deny)).shares(registry, repository)
}

#[test]
fn no_other_way_to_write_a_name_is_around_a_list() {
    for (pattern, name) in [
        ("reg.test:5000/secret/*", "REG.test:5000/secret/y"),
        ("REG.test/secret/*", "reg.test/secret/y"),
        ("reg.test/secret/*", "reg.test:443/secret/y"),
        ("reg.test:443", "reg.test/a"),
        ("reg.test", "reg.test./a"),
        ("docker.io/library/*", "index.docker.io/library/redis"),
        ("registry-1.docker.io", "docker.io/a/b"),
        ("[2001:db8::1]:5000/*", "[2001:DB8:0::1]:5000/a"),
        ("*.corp/*", "R1.CORP/a"),
        ("*/secret/*", "reg.test/Secret/y"),
        ("reg.test/secret/*", "reg.test:0443/secret/y"),
        ("reg.test:5000", "reg.test:05000/secret/y"),
        ("*.corp:443/*", "r1.corp:443/x"),
        ("reg.test:*", "reg.test:443/x"),
        ("registry-*.docker.io/*", "registry-1.docker.io/a"),
        ("*.docker.io", "registry-1.docker.io/a"),
    ] {
        assert!(!check(&[], &[pattern], name), "{pattern} and {name}");
        assert!(check(&[pattern], &[], name), "{pattern} and {name}");
    }
}

#[test]
fn what_is_denied_at_one_port_is_denied_where_the_port_is_not_known() {
    let check = |deny: &str, name: &str| {
        let policy = Policy::new(vec![], vec![deny.parse().unwrap()]);
        let (host, repository) = name.split_once('/').unwrap();
        policy.shares_at_any_port(host, repository)
    };
    for (deny, name) in [
        ("reg.test:5000/secret/*", "reg.test/secret/y"),
        ("reg.test:5000", "reg.test/a"),
        ("reg.test/a", "reg.test/a"),
        ("*:5000/secret/*", "reg.test/secret/y"),
        ("[2001:db8::1]:5000/a", "2001:db8::1/a"),
    ] {
        assert!(!check(deny, name), "{deny} and {name}");
    }
    assert!(check("reg.test:5000/secret/*", "reg.test/public/y"));
    assert!(check("reg.test:5000/secret/*", "other.test/secret/y"));
}

#[test]
fn what_is_private_is_so_under_each_of_its_names() {
    let policy = |private: &str| Policy::default().with_private(vec![private.parse().unwrap()]);
    for (private, name) in [
        ("reg.test:5000/secret/*", "REG.test:05000/secret/y"),
        ("reg.test", "reg.test.:443/a"),
        ("docker.io/corp/*", "registry-1.docker.io/corp/app"),
        ("index.docker.io/corp", "docker.io/corp"),
        ("[2001:db8::1]:5000/*", "[2001:DB8:0::1]:5000/a"),
        ("*/secret/*", "any.test/Secret/y"),
    ] {
        let (registry, repository) = name.split_once('/').unwrap();
        let policy = policy(private);
        let is_private = policy.is_private(Some(registry), repository);
        assert!(is_private, "{private} and {name}");
        assert!(policy.shares(registry, repository), "its layers are");
        assert!(policy.is_private(None, repository), "{private}");
    }
    for (private, name) in [
        ("reg.test:5000/secret/*", "reg.test:5001/secret/y"),
        ("reg.test/secret/*", "reg.test/public/y"),
        ("docker.io/corp/app", "docker.io/corp/app2"),
    ] {
        let (registry, repository) = name.split_once('/').unwrap();
        let is_private = policy(private).is_private(Some(registry), repository);
        assert!(!is_private, "{private} and {name}");
    }
    // As containerd records it.
    let policy = policy("reg.test:5000/secret/*");
    assert!(policy.is_private_at_any_port("reg.test", "secret/y"));
    assert!(!policy.is_private_at_any_port("reg.test", "public/y"));
    assert!(!policy.is_private(Some("reg.test"), "secret/y"));
    let none = Policy::default();
    assert!(!none.has_private() && !none.is_private(None, "a"));
}

#[test]
fn allowed_and_not_denied() {
    assert!(check(&[], &[], "docker.io/library/redis"));
    assert!(check(&["docker.io"], &[], "docker.io/library/redis"));
    assert!(!check(&["docker.io"], &[], "quay.io/a/b"));
    assert!(check(&["*.corp.example"], &[], "r1.corp.example/a"));
    assert!(!check(
        &["*.corp.example"],
        &["*/secret/*"],
        "r1.corp.example/secret/x"
    ));
    assert!(check(
        &["docker.io/library/*"],
        &[],
        "docker.io/library/redis"
    ));
    assert!(!check(
        &["docker.io/library/*"],
        &[],
        "docker.io/other/redis"
    ));
    assert!(!check(
        &[],
        &["docker.io/library/redis"],
        "docker.io/library/redis"
    ));
    assert!(check(
        &[],
        &["docker.io/library/redis"],
        "docker.io/library/redis7"
    ));
    assert!(check(&["*a*a*b"], &[], "xaxaxaxb/c"));
}
