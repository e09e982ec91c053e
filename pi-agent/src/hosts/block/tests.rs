//! The agent's block in a hosts.toml.

use proptest::prelude::*;

use super::{Added, Before, BlockError, Capabilities, Mirror, add, hosts, remove};

const URL: &str = "http://127.0.0.1:7788";

fn mirror() -> Mirror {
    Mirror {
        url: URL.to_owned(),
        capabilities: Capabilities::Pull,
    }
}

fn added(text: &str) -> String {
    match add(text, &mirror(), None).unwrap() {
        Added::Text(text) => text,
        Added::ThereAlready => panic!("there already"),
    }
}

/// The block comes first, a second time changes nothing, and removal restores every byte.
fn check(text: &str) {
    let once = added(text);
    assert_eq!(hosts(&once.parse().unwrap())[0], URL, "{once}");
    assert_eq!(added(&once), once, "idempotent");
    assert_eq!(remove(&once).unwrap().text, text, "restored");
}

#[test]
fn comes_first_and_goes_without_a_trace() {
    for text in [
        "",
        "\n\n",
        "server = \"https://registry.example\"",
        "server = \"https://registry.example\"\n",
        "# ours\nserver = \"https://r\"\n\n# the cache\n[host.\"https://cache\"]\n  ca = \"/x.crt\"\n",
        "[host]\n[host.\"https://a\"]\n[host.\"https://b\".header]\n x = [\"y\"]\n",
        "[host.\"https://a\"]\ncapabilities = [\"pull\"]",
        "server = \"https://r\"\r\n[host.\"https://a\"]\r\n",
        "ca = [\"/a\",\n\"/b\"]\n[host.\"https://a\"]\n",
    ] {
        check(text);
    }
}

#[test]
fn stands_before_the_comment_of_the_first_host() {
    let text = added("server = \"https://r\"\n\n# the cache\n[host.\"https://cache\"]\n");
    assert_eq!(
        text,
        "server = \"https://r\"\n\n\
         # BEGIN pi-agent: `pi-agent configure --remove` takes this block out\n\
         [host.\"http://127.0.0.1:7788\"]\n  capabilities = [\"pull\"]\n# END pi-agent\n\
         # the cache\n[host.\"https://cache\"]\n"
    );
}

#[test]
fn follows_new_settings() {
    let text = added("[host.\"https://a\"]\n");
    let other = Mirror {
        url: "http://127.0.0.1:9".to_owned(),
        capabilities: Capabilities::PullAndResolve,
    };
    let Added::Text(text) = add(&text, &other, None).unwrap() else {
        panic!("not added")
    };
    assert_eq!(
        hosts(&text.parse().unwrap()),
        ["http://127.0.0.1:9", "https://a"]
    );
    assert!(text.contains(r#"["pull", "resolve"]"#));
    assert_eq!(remove(&text).unwrap().text, "[host.\"https://a\"]\n");
}

#[test]
fn remembers_what_was_there() {
    for before in [Before::Directory, Before::Nothing] {
        let Added::Text(text) = add("", &mirror(), Some(before)).unwrap() else {
            panic!("not added")
        };
        assert_eq!(remove(&text).unwrap().before, Some(before));
        // Renewing it does not make it forget.
        assert_eq!(remove(&added(&text)).unwrap().before, Some(before));
    }
}

#[test]
fn what_the_operator_adds_later_stays() {
    let text = added("") + "[host.\"https://later\"]\n";
    assert_eq!(remove(&text).unwrap().text, "[host.\"https://later\"]\n");
}

/// Somebody has copied the block, or a part of it.
#[test]
fn a_second_block_goes_too_and_a_torn_one_is_left_alone() {
    let block = added("");
    let text = format!("{block}# ours\n{block}[host.\"https://a\"]\n");
    let own = "# ours\n[host.\"https://a\"]\n";
    assert_eq!(remove(&text).unwrap().text, own);
    let with = added(&text);
    assert_eq!(with.matches("# BEGIN pi-agent").count(), 1, "{with}");
    assert_eq!(remove(&with).unwrap().text, own);
    for torn in ["# BEGIN pi-agent", "# END pi-agent"] {
        let text = format!("{block}{torn}\n[host.\"https://a\"]\n");
        assert!(matches!(remove(&text), Err(BlockError::Torn(_))), "{torn}");
        let added = add(&text, &mirror(), None);
        assert!(matches!(added, Err(BlockError::Torn(_))), "{torn}");
    }
    let before = format!("# BEGIN pi-agent\n[host.\"https://a\"]\n{block}");
    assert!(matches!(remove(&before), Err(BlockError::Torn(_))));
}

/// What stood before the block when it came has changed meanwhile.
#[test]
fn a_line_end_that_is_not_the_blocks_stays() {
    let once = added("server = \"https://r\"");
    assert!(once.contains("(and the line end before it)"), "{once}");
    let (head, block) = once.split_once('\n').unwrap();
    let text = format!("{head}\n\n{block}[host.\"https://a\"]\n");
    let own = remove(&text).unwrap().text;
    assert_eq!(own, "server = \"https://r\"\n[host.\"https://a\"]\n");
    assert_eq!(remove(&added(&text)).unwrap().text, own);
}

#[test]
fn leaves_alone_what_it_does_not_understand() {
    let error = |text: &str| add(text, &mirror(), None).unwrap_err();
    assert!(matches!(error("[host"), BlockError::Syntax(_)));
    assert!(matches!(error("# BEGIN pi-agent\n"), BlockError::Torn(_)));
    assert!(matches!(error("# END pi-agent\n"), BlockError::Torn(_)));
    assert!(matches!(
        error("host = { \"https://a\" = {} }\n"),
        BlockError::Inline
    ));
    let second = format!("[host.\"https://a\"]\n[host.\"{URL}\"]\n");
    assert!(matches!(error(&second), BlockError::NotFirst(_)));
    let first = format!("[host.\"{URL}\"]\n[host.\"https://a\"]\n");
    assert_eq!(add(&first, &mirror(), None).unwrap(), Added::ThereAlready);
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC{0,200}") {
        let _ = add(&text, &mirror(), None);
        let _ = remove(&text);
    }

    #[test]
    fn restores_any_toml(lines in proptest::collection::vec(
        prop_oneof![
            Just("# a comment".to_owned()),
            Just(String::new()),
            "[a-c]{3} = \"[a-z]{0,5}\"",
            "\\[host\\.\"https://[a-z]{6}\"\\]",
        ],
        0..12,
    ), end in prop_oneof![Just(""), Just("\n")]) {
        let text = lines.join("\n") + end;
        if let Ok(Added::Text(with)) = add(&text, &mirror(), None) {
            prop_assert_eq!(remove(&with).unwrap().text, text);
        }
    }
}
