//! The known word that a mistyped one is nearest to.

/// Letters of a word that are compared.
const LETTERS: usize = 64;

/// The nearest of the known words, if it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = folded(word);
    let limit = (word.chars().count() / 3).max(1) + 1;
    let near = known
        .into_iter()
        .map(|other| (strsim::osa_distance(&word, &folded(other)), other));
    near.filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, other)| other)
}

/// The first letters of a word, in lower case.
fn folded(word: &str) -> String {
    let letters = word.chars().take(LETTERS);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["uplink", "children", "cidrs", "host_link", "name"];
        for (word, meant) in [
            ("upink", Some("uplink")),
            ("Uplink", Some("uplink")),
            ("uplinks", Some("uplink")),
            ("cidr", Some("cidrs")),
            ("nmae", Some("name")),
            ("childs", Some("children")),
            ("hostlink", Some("host_link")),
            ("bandwidth", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
