//! containerd's `hosts.toml`: the agent's block comes first, a second time changes nothing, its removal
//! restores every byte, and all that the operator wrote means what it meant.

use std::path::Path;

use pi_agent::hosts::{
    Capabilities,
    block::{Added, Before, Mirror, add, hosts, remove},
    config::ContainerdConfig,
};
use toml_edit::DocumentMut;

use crate::input::Input;

const MIRRORS: [&str; 3] = [
    "http://127.0.0.1:7788",
    "http://[::1]:7788",
    "http://a\"\\b:1",
];

pub(crate) fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mirror = mirror(&mut input);
    let before = input.one(&[
        None,
        Some(Before::EmptyFile),
        Some(Before::Directory),
        Some(Before::Nothing),
        Some(Before::Copied(7)),
    ]);
    let other = self::mirror(&mut input);
    let text = input.text();
    let _ = ContainerdConfig::parse(Path::new("/config.toml"), &text);
    let own = remove(&text);
    let Ok(Added::Text(with)) = add(&text, &mirror, before) else {
        return;
    };
    let own = own.expect("a block that is whole").text;
    let document: DocumentMut = with.parse().expect("it is still TOML");
    assert_eq!(hosts(&document).first(), Some(&&*mirror.url), "{with:?}");
    assert_eq!(
        add(&with, &mirror, None).ok(),
        Some(Added::Text(with.clone())),
        "twice"
    );
    let removed = remove(&with).expect("the block is whole");
    assert_eq!(removed.text, own, "restored from {with:?}");
    assert!(removed.before.is_some());
    means_the_same(&own, &with, &mirror.url);
    // New settings are as good as the first ones.
    if let Ok(Added::Text(renewed)) = add(&with, &other, None) {
        assert_eq!(remove(&renewed).expect("the block is whole").text, own);
    }
}

fn mirror(input: &mut Input<'_>) -> Mirror {
    Mirror {
        url: input.one(&MIRRORS).to_owned(),
        capabilities: Capabilities::of(input.flag()),
    }
}

/// But for the mirror, the tables are the same, and hosts stand in the same order.
fn means_the_same(own: &str, with: &str, url: &str) {
    let mut tables: toml::Table = with.parse().expect("it is TOML");
    let all = tables
        .get_mut("host")
        .and_then(toml::Value::as_table_mut)
        .expect("hosts");
    all.remove(url).expect("the mirror");
    let is_alone = all.is_empty();
    let mut before: toml::Table = own.parse().expect("it was TOML");
    let had_none = before
        .get("host")
        .and_then(toml::Value::as_table)
        .is_none_or(toml::Table::is_empty);
    if is_alone && had_none {
        tables.remove("host");
        before.remove("host");
    }
    assert_eq!(tables, before, "{with:?}");
    let ordered = |text: &str| {
        let document: DocumentMut = text.parse().expect("it is TOML");
        let hosts = hosts(&document).into_iter().filter(|host| *host != url);
        hosts.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ordered(with), ordered(own));
}
