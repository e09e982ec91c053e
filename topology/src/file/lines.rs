//! The lines of a file, as YAML breaks them: at a carriage return without a line feed, too.

/// The lines without their ends.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take().filter(|text| !text.is_empty())?;
        let Some((line, after)) = text.split_once(['\n', '\r']) else {
            return Some(text);
        };
        let is_pair = text.as_bytes().get(line.len()) == Some(&b'\r');
        let after = match after.strip_prefix('\n') {
            Some(next) if is_pair => next,
            _ => after,
        };
        rest = Some(after);
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn a_line_ends_in_one_of_three_ways() {
        let all = |text| lines(text).collect::<Vec<_>>();
        assert_eq!(
            all("a\nb\r\nc\rd\n\r\n\re"),
            ["a", "b", "c", "d", "", "", "e"]
        );
        assert_eq!(all("a\n"), ["a"]);
        assert_eq!(all(""), [""; 0]);
    }
}
