//! Each rule turns `tidy` red where it is broken, and only there.

use super::*;

const LAYERS: &str = r#"
[[crate]]
name = "house"
layers = [
    { modules = ["attic"], what = "the top" },
    { modules = ["hall", "stairs"], what = "the middle", must_not_know = "the attic" },
    { modules = ["cellar"], what = "the bottom" },
]
"#;

const MANIFEST: &str = "[package]\nname = \"house\"\n";

const EMPTY_PAGE: &str = "# A house\n\n<!-- `cargo xtask docs` writes these tables from layers.toml -->\n<!-- end of the layers -->\n";

/// A house in order, with these files over it.
fn house(other: &[(&str, &str)]) -> Vec<(PathBuf, String)> {
    let layers = other.iter().find(|(path, _)| *path == "layers.toml");
    let layers = Layers::read(layers.map_or(LAYERS, |(_, text)| text)).expect("layers");
    let page = layers.written_into(EMPTY_PAGE).expect("a place for them");
    let mut files = vec![
        ("ARCHITECTURE.md", page.as_str()),
        ("layers.toml", LAYERS),
        ("house/Cargo.toml", MANIFEST),
        (
            "house/src/lib.rs",
            "//! A house.\nmod attic;\nmod cellar;\nmod hall;\nmod stairs;\n",
        ),
        (
            "house/src/attic.rs",
            "//! A.\nuse crate::{cellar::Coal, hall};\n",
        ),
        (
            "house/src/hall.rs",
            "//! H.\nmod door;\npub(crate) use self::door::Door;\n",
        ),
        (
            "house/src/hall/door.rs",
            "//! D.\nuse super::Hall;\npub(crate) struct Door;\n",
        ),
        ("house/src/stairs.rs", "//! S.\nuse crate::hall::Door;\n"),
        (
            "house/src/cellar.rs",
            "//! C.\nmod coal;\nmod wine;\npub(crate) use coal::Coal;\n",
        ),
        (
            "house/src/cellar/coal.rs",
            "//! C.\nuse super::wine::Wine;\npub(crate) struct Coal;\n",
        ),
        (
            "house/src/cellar/wine.rs",
            "//! W.\npub(crate) struct Wine;\n",
        ),
    ];
    files.retain(|(path, _)| other.iter().all(|(another, _)| another != path));
    files.extend(other);
    files
        .into_iter()
        .map(|(path, text)| (path.into(), text.to_owned()))
        .collect()
}

/// The breaches of the house, a line each.
fn breaches(other: &[(&str, &str)]) -> Vec<String> {
    let words =
        Words::from_list("[[word]]\nnot = [\"old word\", \"old words\"]\nsay = \"new word\"\n");
    let words = words.expect("a list of words");
    let found =
        check(&house(other), &words, &mut Budget::default()).expect("files that can be read");
    found
        .into_iter()
        .map(|breach| format!("{}: {}", breach.path.display(), breach.what))
        .collect()
}

#[track_caller]
fn one_breach(other: &[(&str, &str)], says: &[&str]) {
    let found = breaches(other);
    assert_eq!(found.len(), 1, "{found:#?}");
    for part in says {
        assert!(found[0].contains(part), "{found:#?}");
    }
}

#[test]
fn a_house_in_order_has_no_breach() {
    assert_eq!(breaches(&[]), Vec::<String>::new());
}

#[test]
fn an_import_upwards_is_a_breach_however_it_is_written() {
    for import in [
        "use crate::attic::Trunk;",
        "use crate::{attic, hall};",
        "use super::attic as a;",
        "fn f() { crate::attic::open() }",
        "fn f() -> super::attic::Trunk { loop {} }",
        "fn f() { vec![1, crate::attic::SIZE]; }",
        "mod inner { use super::super::attic::Trunk; }",
    ] {
        let text = format!("//! S.\n{import}\n");
        one_breach(
            &[("house/src/stairs.rs", &text)],
            &["house/src/stairs.rs: line 2", "stairs imports attic"],
        );
    }
}

#[test]
fn a_name_that_is_handed_on_counts_where_it_comes_from() {
    one_breach(
        &[
            (
                "house/src/hall.rs",
                "//! H.\nmod door;\npub(crate) use crate::cellar::Coal;\n",
            ),
            (
                "house/src/cellar.rs",
                "//! C.\nmod coal;\nmod wine;\nuse coal::Coal;\nuse wine::Wine;\n",
            ),
            ("house/src/cellar/wine.rs", "//! W.\nuse super::Coal;\n"),
        ],
        &[
            "circle",
            "coal imports wine (house/src/cellar/coal.rs, line 2)",
            "wine imports coal",
        ],
    );
}

#[test]
fn tests_may_look_at_everything() {
    let found = breaches(&[
        (
            "house/src/stairs.rs",
            "//! S.\n#[cfg(test)]\nmod tests { use crate::attic::Trunk; }\n#[cfg(test)]\nmod bed;\n",
        ),
        (
            "house/src/stairs/bed.rs",
            "//! B.\nuse crate::attic::Trunk;\n",
        ),
    ]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_crate_without_layers_is_a_breach() {
    let manifest = ("shed/Cargo.toml", "[package]\nname = \"shed\"\n");
    one_breach(
        &[manifest, ("shed/src/lib.rs", "//! A shed.\n")],
        &["shed/Cargo.toml", "layers.toml has no layers", "shed"],
    );
    // Fuzz targets, for instance, are programs of one file each.
    let found = breaches(&[manifest, ("shed/targets/one.rs", "//! A target.\n")]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_circle_is_a_breach_also_within_a_layer() {
    one_breach(
        &[(
            "house/src/hall/door.rs",
            "//! D.\nuse crate::stairs::Step;\n",
        )],
        &[
            "modules of house import each other in a circle",
            "hall imports stairs (house/src/hall/door.rs, line 2)",
            "stairs imports hall (house/src/stairs.rs, line 2)",
        ],
    );
}

#[test]
fn modules_that_must_not_know_each_other_are_held_to_it() {
    let strict = LAYERS.replace("\"the attic\"", "\"each other, the attic\"");
    let says = [
        "house/src/stairs.rs: line 2: stairs imports hall",
        "must not know each other",
    ];
    one_breach(&[("layers.toml", &strict)], &says);
    let beside = LAYERS.replace(
        "{ modules = [\"hall\", \"stairs\"], what = \"the middle\", must_not_know = \"the attic\" },",
        "{ modules = [\"hall\"], what = \"the middle\" },
         { modules = [\"stairs\"], what = \"the way up\", must_not_know = \"each other\", beside = true },",
    );
    one_breach(&[("layers.toml", &beside)], &says);
    // Below each other they may look down.
    let below = beside.replace(", beside = true", "");
    let below = below.replace("\"hall\"]", "\"stairs\"]").replacen(
        "modules = [\"stairs\"], what = \"the way up\"",
        "modules = [\"hall\"], what = \"the way up\"",
        1,
    );
    assert_eq!(breaches(&[("layers.toml", &below)]), Vec::<String>::new());
}

#[test]
fn a_circle_in_a_program_is_a_breach() {
    let door = (
        "house/src/bin/bell/door.rs",
        "//! D.\nuse crate::rope::Rope;\n",
    );
    let main = (
        "house/src/bin/bell/main.rs",
        "//! B.\nmod door;\nmod rope;\n",
    );
    let free = ("house/src/bin/bell/rope.rs", "//! R.\npub struct Rope;\n");
    assert_eq!(breaches(&[main, door, free]), Vec::<String>::new());
    let bound = (
        "house/src/bin/bell/rope.rs",
        "//! R.\nuse crate::door::Door;\n",
    );
    one_breach(
        &[main, door, bound],
        &[
            "modules of bell import each other in a circle",
            "door imports rope",
        ],
    );
}

#[test]
fn a_circle_of_siblings_is_a_breach() {
    one_breach(
        &[(
            "house/src/cellar/wine.rs",
            "//! W.\nuse crate::cellar::coal::Coal;\n",
        )],
        &[
            "modules of house::cellar import each other in a circle",
            "coal imports wine",
        ],
    );
}

#[test]
fn each_module_stands_in_one_layer() {
    one_breach(
        &[("house/src/roof.rs", "//! R.\n")],
        &["the module roof stands in no layer"],
    );
    let twice = LAYERS.replace("[\"cellar\"]", "[\"cellar\", \"hall\"]");
    one_breach(&[("layers.toml", &twice)], &["hall stands in two layers"]);
    let gone = LAYERS.replace("[\"cellar\"]", "[\"cellar\", \"well\"]");
    one_breach(&[("layers.toml", &gone)], &["there is no module well"]);
    let another = format!("{LAYERS}[[crate]]\nname = \"hut\"\nlayers = []\n");
    one_breach(
        &[("layers.toml", &another)],
        &["the crate hut, which is not there"],
    );
}

#[test]
fn the_page_shows_the_layers() {
    one_breach(
        &[("ARCHITECTURE.md", EMPTY_PAGE)],
        &["run `cargo xtask docs`"],
    );
}

#[test]
fn a_word_that_is_not_used_is_a_breach_wherever_it_stands() {
    for (path, text) in [
        ("docs/a.md", "One.\nThe Old word.\n"),
        (
            "house/src/stairs.rs",
            "//! S.\n/// Has an old\n/// words' list.\nfn f() {}\n",
        ),
        ("deploy/values.yaml", "a: 1\n# an old-word, or old word\n"),
    ] {
        one_breach(&[(path, text)], &[path, "line 2", "new word"]);
    }
    assert_eq!(
        breaches(&[("docs/a.md", "Some cold words, an old wordsmith.\n")]),
        Vec::<String>::new()
    );
}

#[test]
fn a_file_over_the_budget_is_a_breach() {
    let long = format!("//! S.\n{}", "const _: () = ();\n".repeat(500));
    one_breach(
        &[("house/src/stairs.rs", &long)],
        &["501 production lines", "the most is 500"],
    );
    // A test bed or a bench has the budget of production code; a test has none.
    one_breach(
        &[("tests/bench/src/load.rs", &long)],
        &["501 production lines"],
    );
    let found = breaches(&[("tests/bench/tests/load.rs", long.as_str())]);
    assert_eq!(found, Vec::<String>::new());
    let tests = format!(
        "//! S.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
        "    // T.\n".repeat(100)
    );
    one_breach(
        &[("house/src/stairs.rs", &tests)],
        &["lines of tests in the file"],
    );
}
