//! Reading objects as Go's decoder does: member names match in any case, of several members of one name the
//! last counts, and one that is `null` is as if it were not there.
//!
//! Deployed agents send `group` in one call and `Group` in another. The adapter lowers the names
//! of the outermost object while they stream past, so that no intermediate tree is built.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer, MapAccess,
        Visitor,
    },
};

/// Reads `T` from an object whose outermost member names match in any (ASCII) case.
///
/// `T` names its fields in lower case and ignores those that it does not know.
///
/// # Errors
/// Those of the deserializer: bad syntax, a missing field, a value of the wrong type.
pub fn from_any_case<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(AnyCase(deserializer, None))
}

/// Reads `T` from the beginning of `text` as [`from_any_case`] does; of several members of one name the last
/// counts that is not `null`, and what is `null` is as if it were not there.
///
/// A text has to be odd before it is read a second time, so that the usual ones cost nothing more.
///
/// # Errors
/// Bad syntax, a missing field, a value of the wrong type.
pub fn from_go<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    from_any_case(&mut reader).or_else(|error| {
        let counting = Counting::of(text).filter(Counting::leaves_some_out);
        let counting = counting.ok_or(error)?;
        let mut reader = serde_json::Deserializer::from_slice(text);
        T::deserialize(AnyCase(&mut reader, Some(counting)))
    })
}

/// Members of an object that is read a second time: each costs memory.
const MOST: usize = 256;
/// Bytes of a member's name that may mean anything.
const LONGEST: usize = 64;

/// Which members of an object count.
struct Counting {
    /// By name the place of the one that counts.
    last: HashMap<String, usize>,
    /// How many there are.
    members: usize,
}

struct AnyCase<D>(D, Option<Counting>);

struct AnyCaseVisitor<V>(V, Option<Counting>);

struct AnyCaseMap<M> {
    map: M,
    /// All where it is not known.
    counting: Option<Counting>,
    /// The place of the next member.
    next: usize,
}

struct LowerKey<K>(K);

macro_rules! forward_as_map {
    ($($method:ident($($arg:ident: $ty:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $ty,)* visitor: V) -> Result<V::Value, D::Error> {
            let _ = ($($arg,)*);
            self.0.deserialize_map(AnyCaseVisitor(visitor, self.1))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for AnyCase<D> {
    type Error = D::Error;

    forward_as_map! {
        deserialize_any();
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for AnyCaseVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<V::Value, M::Error> {
        self.0.visit_map(AnyCaseMap {
            map,
            counting: self.1,
            next: 0,
        })
    }
}

impl<'de, M: MapAccess<'de>> MapAccess<'de> for AnyCaseMap<M> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, M::Error> {
        let Some(counting) = &self.counting else {
            return self.map.next_key_seed(LowerKey(seed));
        };
        while let Some(name) = self.map.next_key::<String>()? {
            let name = name.to_ascii_lowercase();
            let place = self.next;
            self.next += 1;
            if counting.last.get(&name) == Some(&place) {
                return seed.deserialize(name.into_deserializer()).map(Some);
            }
            self.map.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, M::Error> {
        self.map.next_value_seed(seed)
    }
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for LowerKey<K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        let name = String::deserialize(deserializer)?.to_ascii_lowercase();
        self.0.deserialize(name.into_deserializer())
    }
}

impl Counting {
    /// Of an object; `None` of anything else.
    fn of(text: &[u8]) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        reader.deserialize_map(CountingVisitor).ok()
    }

    fn leaves_some_out(&self) -> bool {
        self.last.len() < self.members
    }
}

struct CountingVisitor;

impl<'de> Visitor<'de> for CountingVisitor {
    type Value = Counting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Counting, M::Error> {
        let mut counting = Counting {
            last: HashMap::new(),
            members: 0,
        };
        while let Some(name) = map.next_key::<String>()? {
            if counting.members == MOST {
                return Err(M::Error::custom("more members than any call has"));
            }
            let is_null = map.next_value::<Option<IgnoredAny>>()?.is_none();
            // Names that no call has need not be remembered.
            if !is_null && name.len() <= LONGEST {
                counting
                    .last
                    .insert(name.to_ascii_lowercase(), counting.members);
            }
            counting.members += 1;
        }
        Ok(counting)
    }
}
