//! The topology file's parser under random edits of real files, on the stable toolchain.

mod check;

use proptest::prelude::*;
use proptest::sample::{Index, select};

const FILES: [&str; 4] = [
    include_str!("../../../deploy/topology/every-key.yaml"),
    include_str!("../../../deploy/topology/oversubscribed-spine.yaml"),
    include_str!("../../../deploy/topology/three-zone-site.yaml"),
    include_str!("../../../deploy/topology/two-rack-lab.yaml"),
];

/// What is most likely to lead the parser into a corner.
const SCRAPS: [&str; 24] = [
    "",
    "\n",
    "  ",
    "\t",
    ":",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "!!tag ",
    "\"",
    "'",
    "#",
    "|",
    "? ",
    "---\n",
    "0",
    "-1",
    "1e999",
    "\u{feff}",
    "\u{1F980}",
];

/// Where, how much is cut, and what comes there.
type Edit = (Index, u8, &'static str);

fn edited(file: &str, edits: &[Edit]) -> String {
    let mut text = file.to_owned();
    for (at, cut, scrap) in edits {
        let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
        let Some(place) = places.get(at.index(places.len().max(1))).copied() else {
            continue;
        };
        let end = text[place..]
            .char_indices()
            .nth(usize::from(*cut))
            .map_or(text.len(), |(more, _)| place + more);
        text.replace_range(place..end, scrap);
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_edit_of_a_file_is_taken_or_told_why(
        file in select(&FILES[..]),
        edits in prop::collection::vec((any::<Index>(), 0..12_u8, select(&SCRAPS[..])), 1..8),
    ) {
        check::check(&edited(file, &edits));
    }

    #[test]
    fn every_text_is_taken_or_told_why(text: String) {
        check::check(&text);
    }
}

#[test]
fn the_files_themselves_are_fine() {
    FILES.into_iter().for_each(check::check);
}
