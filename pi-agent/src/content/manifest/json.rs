//! JSON as Go's decoder takes it, since containerd and registries read manifests by it: names of members in
//! any case, `null` for nothing, and a second value of one name read over the first, so that what it does
//! not say stays.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor},
};

/// A place for a value. There may be one already, over which another is read.
pub(super) trait Place: Default {
    /// Reads a value.
    fn read<'de, D: Deserializer<'de>>(&mut self, value: D) -> Result<(), D::Error>;
}

/// What is read member by member.
pub(super) trait Members: Default {
    /// Takes the value of a member, or [ignores it](ignore). The name is in lower case.
    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// An object of these members; `null` leaves it as it is.
#[derive(Default)]
pub(super) struct Object<T> {
    pub(super) members: T,
    /// Whether there was an object.
    pub(super) is_there: bool,
}

/// A list; `null` is none.
#[derive(Default)]
pub(super) struct List<T> {
    /// The members, then what a longer list left, over which a further one is read.
    all: Vec<T>,
    /// How many are members; `None` where there is no list.
    count: Option<usize>,
}

/// A text; `null` leaves it as it is.
#[derive(Default)]
pub(super) struct Text(pub(super) String);

/// A whole number; `null` leaves it as it is.
#[derive(Default)]
pub(super) struct Whole(pub(super) i64);

/// Reads the next value over the one in a place.
struct Over<'a, P>(&'a mut P);

/// The name of a member, in lower case.
struct Name(String);

struct NameVisitor;

/// Reads the value of a member.
pub(super) fn set<'de, A, P>(place: &mut P, map: &mut A) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
    P: Place,
{
    map.next_value_seed(Over(place))
}

/// Passes over a value.
pub(super) fn ignore<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// In lower case as Go folds names: two letters beyond ASCII are others of these.
fn fold(name: &str) -> String {
    let letter = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => c.to_ascii_lowercase(),
    };
    name.chars().map(letter).collect()
}

impl<T> List<T> {
    pub(super) fn is_there(&self) -> bool {
        self.count.is_some()
    }

    pub(super) fn into_members(self) -> impl Iterator<Item = T> {
        self.all.into_iter().take(self.count.unwrap_or(0))
    }
}

impl<'de, P: Place> DeserializeSeed<'de> for Over<'_, P> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        self.0.read(value)
    }
}

impl<T: Members> Place for Object<T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, value: D) -> Result<(), D::Error> {
        value.deserialize_option(Over(self))
    }
}

impl<'de, T: Members> Visitor<'de> for Over<'_, Object<T>> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.is_there = true;
        while let Some(Name(name)) = map.next_key()? {
            self.0.members.take(&name, &mut map)?;
        }
        Ok(())
    }
}

impl<T: Place> Place for List<T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, value: D) -> Result<(), D::Error> {
        value.deserialize_option(Over(self))
    }
}

impl<'de, T: Place> Visitor<'de> for Over<'_, List<T>> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        self.0.all.clear();
        self.0.count = None;
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let List { all, count } = self.0;
        let mut read = 0;
        loop {
            if read == all.len() {
                all.push(T::default());
            }
            let place = all.get_mut(read).expect("it was pushed, if it was missing");
            if members.next_element_seed(Over(place))?.is_none() {
                break;
            }
            read += 1;
        }
        if read == 0 {
            all.clear();
        }
        *count = Some(read);
        Ok(())
    }
}

impl Place for Text {
    fn read<'de, D: Deserializer<'de>>(&mut self, value: D) -> Result<(), D::Error> {
        value.deserialize_option(Over(self))
    }
}

impl<'de> Visitor<'de> for Over<'_, Text> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_bytes(self)
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<(), E> {
        self.0.0 = text(bytes);
        Ok(())
    }
}

impl Place for Whole {
    fn read<'de, D: Deserializer<'de>>(&mut self, value: D) -> Result<(), D::Error> {
        value.deserialize_option(Over(self))
    }
}

impl<'de> Visitor<'de> for Over<'_, Whole> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_i64(self)
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.0.0 = number;
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        let signed = i64::try_from(number);
        self.0.0 =
            signed.map_err(|_large| E::invalid_value(Unexpected::Unsigned(number), &self))?;
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        // `-0`, which has no other type here.
        if number.to_bits() == (-0.0_f64).to_bits() {
            self.0.0 = 0;
            return Ok(());
        }
        Err(E::invalid_type(Unexpected::Float(number), &self))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(name: D) -> Result<Self, D::Error> {
        name.deserialize_bytes(NameVisitor)
    }
}

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Name, E> {
        Ok(Name(fold(&text(bytes))))
    }
}

/// The text of a string. It is read as bytes, since half of a surrogate pair (`\ud800`) is an error in a text
/// here, and to Go a character that stands for what cannot be read.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
