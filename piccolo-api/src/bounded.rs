//! Lists of calls, which are refused as soon as they are longer than any call has to be: a few bytes of
//! text are many of memory.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};

/// Members of a list of keys. Servers take fewer, and say how many.
pub(crate) const KEYS: usize = 65_536;
/// Members of a report of progress.
pub(crate) const FETCHES: usize = 4096;

/// Reads a list of at most `MOST` members.
pub(crate) fn list<'de, const MOST: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(Members::<MOST, T>(PhantomData))
}

/// Reads a list of at most `MOST` texts, in which `null` is an empty one, as Go's decoder takes it.
pub(crate) fn texts<'de, const MOST: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    let texts = list::<MOST, Option<String>, D>(deserializer)?;
    Ok(texts.into_iter().map(Option::unwrap_or_default).collect())
}

struct Members<const MOST: usize, T>(PhantomData<T>);

impl<'de, const MOST: usize, T: Deserialize<'de>> Visitor<'de> for Members<MOST, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(member) = members.next_element()? {
            if all.len() == MOST {
                return Err(A::Error::custom(format_args!(
                    "a list has more than {MOST} members, the most of one call"
                )));
            }
            all.push(member);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{AdvertiseRequest, FindRequest};

    #[test]
    fn a_list_ends_at_its_bound() {
        let call = |keys: usize| {
            let call = json!({"holder": "10.0.0.1:1", "group": "g", "keys": vec![""; keys]});
            serde_json::from_value::<AdvertiseRequest>(call)
        };
        assert_eq!(call(KEYS).expect("a call").keys.len(), KEYS);
        let refused = call(KEYS + 1).expect_err("too long").to_string();
        assert!(refused.contains("more than 65536 members"), "{refused}");
        let find = json!({"group": "g", "keys": vec!["k"; KEYS + 1]});
        assert!(serde_json::from_value::<FindRequest>(find).is_err());
    }
}
