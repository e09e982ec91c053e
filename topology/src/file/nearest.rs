//! The known word that a mistyped one is nearest to.

/// The nearest of the known words, if it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters: Vec<char> = word
        .chars()
        .take(64)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let limit = (letters.len() / 3).max(1) + 1;
    let near = known
        .into_iter()
        .map(|other| (distance(&letters, other), other));
    near.filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, other)| other)
}

/// How many letters have to be put in, taken out, replaced, or swapped with their neighbour.
/// The "optimal string alignment" form of Damerau and Levenshtein's distance.
fn distance(word: &[char], other: &str) -> usize {
    let other: Vec<char> = other
        .chars()
        .take(64)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in word.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, wanted) in other.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&row, j) + usize::from(letter != wanted))
                .min(at(&row, j + 1) + 1)
                .min(at(&next, j) + 1);
            if let (Some(i), Some(j)) = (i.checked_sub(1), j.checked_sub(1))
                && word.get(i) == Some(wanted)
                && other.get(j) == Some(letter)
            {
                best = best.min(at(&before, j) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
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
