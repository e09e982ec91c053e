//! Reading objects whose member names match in any case, as Go's decoder does.
//!
//! Deployed agents send `group` in one call and `Group` in another. The adapter lowers the names
//! of the outermost object while they stream past, so that no intermediate tree is built.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IntoDeserializer, MapAccess, Visitor},
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
    T::deserialize(AnyCase(deserializer))
}

struct AnyCase<D>(D);

struct AnyCaseVisitor<V>(V);

struct AnyCaseMap<M>(M);

struct LowerKey<K>(K);

macro_rules! forward_as_map {
    ($($method:ident($($arg:ident: $ty:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $ty,)* visitor: V) -> Result<V::Value, D::Error> {
            let _ = ($($arg,)*);
            self.0.deserialize_map(AnyCaseVisitor(visitor))
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
        self.0.visit_map(AnyCaseMap(map))
    }
}

impl<'de, M: MapAccess<'de>> MapAccess<'de> for AnyCaseMap<M> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, M::Error> {
        self.0.next_key_seed(LowerKey(seed))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, M::Error> {
        self.0.next_value_seed(seed)
    }
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for LowerKey<K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        let name = String::deserialize(deserializer)?.to_ascii_lowercase();
        self.0.deserialize(name.into_deserializer())
    }
}
