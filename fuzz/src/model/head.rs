//! The head of a message, read line by line.

/// A head that a parser has taken.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) first: &'a [u8],
    /// Name and value of each field.
    pub(crate) fields: Vec<(String, &'a [u8])>,
}

impl<'a> Head<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        let mut lines = bytes
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .skip_while(|line| line.is_empty());
        let first = lines.next().unwrap_or_default();
        let fields = lines.take_while(|line| !line.is_empty()).map(|line| {
            let at = line.iter().position(|byte| *byte == b':');
            let at = at.expect("a field has a colon");
            let name = String::from_utf8_lossy(&line[..at]).to_ascii_lowercase();
            (name, trimmed(&line[at + 1..]))
        });
        Self {
            first,
            fields: fields.collect(),
        }
    }

    /// The values of a field.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.fields.iter().filter(move |(field, _)| field == name);
        named.map(|(_, value)| *value)
    }

    /// The last one that is text.
    pub(crate) fn last(&self, name: &str) -> Option<&'a str> {
        let texts = self
            .values(name)
            .filter_map(|value| std::str::from_utf8(value).ok());
        texts.last()
    }

    pub(crate) fn length(&self) -> Option<u64> {
        let mut values = self.values("content-length");
        let first = values.next()?;
        assert!(
            values.all(|other| number(other) == number(first)),
            "two lengths"
        );
        Some(number(first).expect("a length is a number"))
    }

    /// Whether another message may follow, by the version in the first line and the `Connection` fields.
    pub(crate) fn persists(&self, is_new: bool) -> bool {
        let values = self.values("connection");
        let values: Vec<_> = values
            .filter_map(|value| std::str::from_utf8(value).ok())
            .collect();
        let has = |token: &str| {
            let tokens = values.iter().flat_map(|value| value.split(','));
            tokens
                .map(|one| one.trim_matches([' ', '\t']))
                .any(|one| one.eq_ignore_ascii_case(token))
        };
        !has("close") && (is_new || has("keep-alive"))
    }
}

/// A number of nothing but digits.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
