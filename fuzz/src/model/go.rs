//! What Go's `encoding/json` makes of bytes: first a value, then what it decodes into (`Unmarshal`).

use std::iter::Peekable;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool,
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// The decoder returns an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// A slice: its members, and what stands behind them in its memory, over which later ones are decoded.
#[derive(Debug, Default)]
pub(crate) struct Slice<T> {
    memory: Vec<T>,
    length: Option<usize>,
}

/// Deeper values are not looked at here; Go's bound is 10,000.
const DEPTH: usize = 200;

impl Json {
    /// The value of a whole text.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let mut reader = Reader {
            bytes: bytes.iter().copied().peekable(),
        };
        let value = reader.value(0)?;
        reader.space();
        if reader.bytes.next().is_some() {
            return Err(Refused);
        }
        Ok(value)
    }

    /// Decodes into a struct: `member` is given each value with its name in lower case.
    pub(crate) fn decode_struct(
        &self,
        mut member: impl FnMut(&str, &Json) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        match self {
            Self::Null => Ok(()),
            Self::Object(members) => members
                .iter()
                .try_for_each(|(name, value)| member(&folded(name), value)),
            _ => Err(Refused),
        }
    }

    pub(crate) fn decode_string(&self, place: &mut String) -> Result<(), Refused> {
        match self {
            Self::Null => {}
            Self::Text(text) => place.clone_from(text),
            _ => return Err(Refused),
        }
        Ok(())
    }

    pub(crate) fn decode_int64(&self, place: &mut i64) -> Result<(), Refused> {
        match self {
            Self::Null => {}
            Self::Number(number) => *place = number.parse().map_err(|_other| Refused)?,
            _ => return Err(Refused),
        }
        Ok(())
    }

    pub(crate) fn decode_slice<T: Default>(
        &self,
        slice: &mut Slice<T>,
        mut element: impl FnMut(&mut T, &Json) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        match self {
            Self::Null => {
                *slice = Slice {
                    memory: Vec::new(),
                    length: None,
                }
            }
            Self::List(members) => {
                if members.is_empty() {
                    slice.memory.clear();
                }
                slice.length = Some(members.len());
                if slice.memory.len() < members.len() {
                    slice.memory.resize_with(members.len(), T::default);
                }
                for (place, member) in slice.memory.iter_mut().zip(members) {
                    element(place, member)?;
                }
            }
            _ => return Err(Refused),
        }
        Ok(())
    }
}

impl<T> Slice<T> {
    pub(crate) fn is_nil(&self) -> bool {
        self.length.is_none()
    }

    pub(crate) fn members(&self) -> &[T] {
        &self.memory[..self.length.unwrap_or(0)]
    }
}

/// Names are compared by the smallest letter of those that differ in case only. Beyond ASCII, two letters
/// have one within it.
fn folded(name: &str) -> String {
    name.replace('\u{17f}', "s")
        .replace('\u{212a}', "k")
        .to_ascii_lowercase()
}

struct Reader<I: Iterator<Item = u8>> {
    bytes: Peekable<I>,
}

impl<I: Iterator<Item = u8>> Reader<I> {
    fn space(&mut self) {
        while self
            .bytes
            .next_if(|byte| b" \t\r\n".contains(byte))
            .is_some()
        {}
    }

    fn want(&mut self, wanted: u8) -> Result<(), Refused> {
        self.bytes.next_if_eq(&wanted).map(|_| ()).ok_or(Refused)
    }

    fn value(&mut self, depth: usize) -> Result<Json, Refused> {
        if depth > DEPTH {
            return Err(Refused);
        }
        self.space();
        match self.bytes.peek().ok_or(Refused)? {
            b'"' => self.text().map(Json::Text),
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'n' => self.word("null").map(|()| Json::Null),
            b't' => self.word("true").map(|()| Json::Bool),
            b'f' => self.word("false").map(|()| Json::Bool),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Refused> {
        word.bytes().try_for_each(|byte| self.want(byte))
    }

    fn object(&mut self, depth: usize) -> Result<Json, Refused> {
        self.want(b'{')?;
        self.space();
        let mut members = Vec::new();
        if self.bytes.next_if_eq(&b'}').is_some() {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            let name = self.text()?;
            self.space();
            self.want(b':')?;
            members.push((name, self.value(depth + 1)?));
            self.space();
            match self.bytes.next() {
                Some(b',') => {}
                Some(b'}') => return Ok(Json::Object(members)),
                _ => return Err(Refused),
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, Refused> {
        self.want(b'[')?;
        self.space();
        let mut members = Vec::new();
        if self.bytes.next_if_eq(&b']').is_some() {
            return Ok(Json::List(members));
        }
        loop {
            members.push(self.value(depth + 1)?);
            self.space();
            match self.bytes.next() {
                Some(b',') => {}
                Some(b']') => return Ok(Json::List(members)),
                _ => return Err(Refused),
            }
        }
    }

    fn number(&mut self) -> Result<Json, Refused> {
        let mut number = String::new();
        number.extend(self.bytes.next_if_eq(&b'-').map(char::from));
        if let Some(zero) = self.bytes.next_if_eq(&b'0') {
            number.push(char::from(zero));
        } else {
            self.digits(&mut number)?;
        }
        if let Some(point) = self.bytes.next_if_eq(&b'.') {
            number.push(char::from(point));
            self.digits(&mut number)?;
        }
        if let Some(letter) = self.bytes.next_if(|byte| b"eE".contains(byte)) {
            number.push(char::from(letter));
            number.extend(
                self.bytes
                    .next_if(|byte| b"+-".contains(byte))
                    .map(char::from),
            );
            self.digits(&mut number)?;
        }
        Ok(Json::Number(number))
    }

    fn digits(&mut self, number: &mut String) -> Result<(), Refused> {
        let before = number.len();
        while let Some(digit) = self.bytes.next_if(u8::is_ascii_digit) {
            number.push(char::from(digit));
        }
        if number.len() == before {
            Err(Refused)
        } else {
            Ok(())
        }
    }

    /// A string. What cannot be read in it stands there as U+FFFD: bytes that are not UTF-8, and halves of
    /// surrogate pairs.
    fn text(&mut self) -> Result<String, Refused> {
        self.want(b'"')?;
        let mut bytes = Vec::new();
        let mut high = None;
        loop {
            let byte = self.bytes.next().ok_or(Refused)?;
            let escaped = match byte {
                b'\\' => Some(self.bytes.next().ok_or(Refused)?),
                _ => None,
            };
            let unit = match escaped {
                Some(b'u') => Some(self.unit()?),
                _ => None,
            };
            if let Some(first) = high.take() {
                let pair = [first, unit.unwrap_or(0)];
                if let Some(Ok(letter)) = char::decode_utf16(pair).next() {
                    push(&mut bytes, letter);
                    continue;
                }
                push(&mut bytes, char::REPLACEMENT_CHARACTER);
            }
            match (byte, escaped, unit) {
                (_, _, Some(unit @ 0xd800..0xdc00)) => high = Some(unit),
                (_, _, Some(unit)) => {
                    let letter = char::from_u32(u32::from(unit));
                    push(&mut bytes, letter.unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                (_, Some(letter), _) => bytes.push(match letter {
                    b'"' | b'\\' | b'/' => letter,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return Err(Refused),
                }),
                (b'"', None, _) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                (..0x20, None, _) => return Err(Refused),
                (byte, None, _) => bytes.push(byte),
            }
        }
    }

    fn unit(&mut self) -> Result<u16, Refused> {
        (0..4).try_fold(0, |unit, _| {
            let digit = self
                .bytes
                .next()
                .and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit
                .and_then(|digit| u16::try_from(digit).ok())
                .ok_or(Refused)?;
            Ok(unit << 4 | digit)
        })
    }
}

fn push(bytes: &mut Vec<u8>, letter: char) {
    bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_as_go_reads_them() {
        let text = |json: &[u8]| match Json::parse(json) {
            Ok(Json::Text(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(br#""\ud83e\udd80""#), "\u{1f980}");
        assert_eq!(text(br#""\ud83ex""#), "\u{fffd}x");
        assert_eq!(text(br#""\ud83e\ud83e\udd80""#), "\u{fffd}\u{1f980}");
        assert_eq!(text(br#""\udd80\n""#), "\u{fffd}\n");
        assert_eq!(text(b"\"\xff\""), "\u{fffd}");
        assert_eq!(Json::parse(b"\"\n\""), Err(Refused));
        assert_eq!(Json::parse(b"01"), Err(Refused));
    }

    #[test]
    fn a_second_list_is_decoded_over_the_first() {
        let json = Json::parse(br#"[["a", "b"], ["c"], [null, null], [], [null]]"#).unwrap();
        let Json::List(lists) = json else { panic!() };
        let mut slice = Slice::<String>::default();
        let mut seen = Vec::new();
        for list in lists {
            list.decode_slice(&mut slice, |place, one| one.decode_string(place))
                .unwrap();
            seen.push(slice.members().join("+"));
        }
        assert_eq!(seen, ["a+b", "c", "c+b", "", ""]);
    }
}
