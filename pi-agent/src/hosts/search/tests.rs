//! The order in which containerd looks, and what holds of it whatever is there.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::{DEFAULT, PullPath, Release, Search, Taken, own, registry_of};

const LIST: &str = "/a:/b";

fn local(config_path: &str) -> Search {
    Search::new(config_path, PullPath::Local, None)
}

fn taken(search: &Search, registry: &str, there: &[&str]) -> Option<String> {
    let there: BTreeSet<_> = there.iter().map(PathBuf::from).collect();
    match search.take(registry, |path| Ok(there.contains(path))) {
        Taken::Directory { path, .. } => Some(path.display().to_string()),
        Taken::Nothing => None,
        Taken::Broken { path, error } => panic!("{}: {error}", path.display()),
    }
}

#[test]
fn a_default_of_the_first_root_hides_what_the_second_says_of_a_registry() {
    let search = local(LIST);
    let own = "/b/registry.corp";
    assert_eq!(taken(&search, "registry.corp", &[own]), Some(own.into()));
    let hidden = taken(&search, "registry.corp", &[own, "/a/_default"]);
    assert_eq!(hidden, Some("/a/_default".into()));
    let behind = taken(&search, "registry.corp", &[own, "/b/_default"]);
    assert_eq!(behind, Some(own.into()));
}

#[test]
fn a_port_has_two_spellings() {
    let search = local("/a");
    let both = ["/a/r.corp:5000", "/a/r.corp_5000_"];
    let first = taken(&search, "r.corp:5000", &both);
    assert_eq!(first, Some("/a/r.corp_5000_".into()));
    let second = taken(&search, "r.corp:5000", &both[..1]);
    assert_eq!(second, Some("/a/r.corp:5000".into()));
    assert_eq!(registry_of("r.corp_5000_"), "r.corp:5000");
    assert_eq!(registry_of("r_corp"), "r_corp");
    assert_eq!(registry_of("_default"), "_default");
}

#[test]
fn the_transfer_service_takes_a_list_for_one_name() {
    let transfer = |path| Search::new(path, PullPath::Transfer, None);
    let there = ["/a/_default", "/b/_default"];
    assert_eq!(taken(&transfer(LIST), "r.corp", &there), None);
    let odd = taken(&transfer(LIST), "r.corp", &["/a:/b/_default"]);
    assert_eq!(odd, Some("/a:/b/_default".into()));
    let one = taken(&transfer("/a"), "r.corp", &there);
    assert_eq!(one, Some("/a/_default".into()));
}

#[test]
fn old_releases_know_no_default() {
    for (release, expected) in [
        ("1.6.16", None),
        ("1.6.17", Some("/a/_default")),
        ("1.7.0", Some("/a/_default")),
    ] {
        let release: Release = release.parse().unwrap();
        let search = Search::new("/a", PullPath::Local, Some(release));
        for registry in ["r.corp", DEFAULT] {
            let taken = taken(&search, registry, &["/a/_default"]);
            assert_eq!(taken.as_deref(), expected, "{release:?} {registry}");
        }
    }
}

#[test]
fn what_cannot_be_looked_at_ends_the_search() {
    let fails = |path: &Path| match path.to_str() {
        Some("/a/r.corp") => Err(io::Error::from(io::ErrorKind::NotADirectory)),
        _ => Ok(true),
    };
    let taken = local(LIST).take("r.corp", fails);
    assert!(matches!(taken, Taken::Broken { .. }), "{taken:?}");
}

fn registry() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("r.corp".to_owned()),
        Just("r.corp:5000".to_owned()),
        Just("[::1]:5000".to_owned()),
        Just(DEFAULT.to_owned()),
    ]
}

/// Some of the directories that matter under three roots.
fn there() -> impl Strategy<Value = BTreeSet<PathBuf>> {
    let names = [
        "r.corp",
        "r.corp:5000",
        "r.corp_5000_",
        "[::1]:5000",
        "_default",
    ];
    let all: Vec<_> = ["/a", "/b", "/c"]
        .iter()
        .flat_map(|root| names.iter().map(move |name| Path::new(root).join(name)))
        .collect();
    proptest::sample::subsequence(all.clone(), 0..=all.len())
        .prop_map(|some| some.into_iter().collect())
}

fn roots() -> impl Strategy<Value = String> {
    proptest::sample::subsequence(vec!["/a", "/b", "/c"], 0..=3)
        .prop_shuffle()
        .prop_map(|roots| roots.join(":"))
}

proptest! {
    /// What is taken is there, and nothing that is there comes before it.
    #[test]
    fn the_first_that_exists_is_taken(registry in registry(), there in there(), roots in roots()) {
        let search = local(&roots);
        let order: Vec<_> = search
            .roots()
            .iter()
            .flat_map(|root| search.under(root, &registry))
            .collect();
        let first = order.iter().find(|path| there.contains(*path));
        let taken = search.take(&registry, |path| Ok(there.contains(path)));
        match taken {
            Taken::Directory { path, root } => {
                prop_assert_eq!(Some(&path), first);
                prop_assert!(path.starts_with(&search.roots()[root]));
            }
            Taken::Nothing => prop_assert_eq!(first, None),
            Taken::Broken { .. } => prop_assert!(false),
        }
    }

    /// A directory in the last root changes nothing for a registry that had one before.
    #[test]
    fn the_last_root_hides_nothing(registry in registry(), there in there(), roots in roots()) {
        let search = local(&roots);
        let Some(last) = search.roots().last() else { return Ok(()) };
        let before = search.take(&registry, |path| Ok(there.contains(path)));
        let mut more = there.clone();
        more.insert(last.join(DEFAULT));
        let after = search.take(&registry, |path| Ok(more.contains(path)));
        if let (Taken::Directory { path: a, .. }, Taken::Directory { path: b, .. }) = (before, after) {
            prop_assert_eq!(a, b);
        }
    }

    /// With one root, both ways to pull are the same.
    #[test]
    fn one_root_is_one_root(registry in registry(), there in there()) {
        let take = |pull| {
            let search = Search::new("/b", pull, None);
            format!("{:?}", search.take(&registry, |path| Ok(there.contains(path))))
        };
        prop_assert_eq!(take(PullPath::Local), take(PullPath::Transfer));
    }

    /// A directory's name leads back to the registry that it is looked for by.
    #[test]
    fn names_lead_back(registry in registry()) {
        for path in own(Path::new("/a"), &registry) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            prop_assert_eq!(registry_of(name), registry.clone());
        }
    }
}
