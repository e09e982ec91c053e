//! JSON objects as Go's decoder takes them, since containerd and registries read manifests by it: names of
//! members in any case, the last of several with one name, `null` for nothing.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

/// What is read member by member.
pub(super) trait Members: Default {
    /// Takes the value of a member, or [ignores it](ignore). The name is in lower case.
    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// An object of these members.
pub(super) struct Object<T>(pub(super) T);

struct Read<T>(PhantomData<T>);

/// Takes a value, unless it is `null`.
pub(super) fn set<'de, A, T>(place: &mut T, map: &mut A) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
    T: Deserialize<'de>,
{
    if let Some(value) = map.next_value::<Option<T>>()? {
        *place = value;
    }
    Ok(())
}

/// Passes over a value.
pub(super) fn ignore<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<serde::de::IgnoredAny>().map(|_| ())
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

impl<'de, T: Members> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Read(PhantomData))
    }
}

impl<'de, T: Members> Visitor<'de> for Read<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<T>, A::Error> {
        let mut members = T::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            members.take(&fold(&name), &mut map)?;
        }
        Ok(Object(members))
    }
}
