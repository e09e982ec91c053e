//! Lists whose unreadable members are left out.
//!
//! What a newer, older or broken agent measures must not make its advertisement unreadable.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize as _, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Members that a list keeps; no report has as many.
const MOST: usize = 4096;

/// Reads the members that can be read, at most [`MOST`]; no list at all is an empty one. One member
/// is in memory at a time beside those that are kept.
pub(crate) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Members(PhantomData))
}

/// Reads a value, or nothing where something else stands in its place.
pub(crate) fn option<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    Ok(readable(&Box::<RawValue>::deserialize(deserializer)?))
}

/// A value's text is kept first: a value that turns out to be another one cannot be read again.
fn readable<T: DeserializeOwned>(text: &RawValue) -> Option<T> {
    serde_json::from_str(text.get()).ok()
}

struct Members<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for Members<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Vec<T>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < MOST
            && let Some(member) = members.next_element::<Box<RawValue>>()?
        {
            kept.extend(readable(&member));
        }
        while members.next_element::<IgnoredAny>()?.is_some() {}
        Ok(kept)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<T>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Vec::new())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_str<E>(self, _: &str) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::KeepaliveRequest;

    #[track_caller]
    fn check(observations: &serde_json::Value, readable: usize) {
        let call = json!({
            "host": "10.0.0.1:7787", "group": "g", "observations": observations,
            "load": {"uploads": -1}, "failures": [{"peer": "nobody", "kind": "cut", "count": 1}],
        });
        let call: KeepaliveRequest = serde_json::from_value(call).expect("a keepalive");
        assert_eq!(call.observations.len(), readable, "{observations}");
        assert_eq!(call.failures, []);
        assert_eq!(call.load, None);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let flow = json!({"bytes": 1, "rated_bytes": 0, "busy_us": 0});
        let good = json!({"peer": "10.0.0.2", "interval_ms": 1, "received": flow, "sent": flow});
        let mut negative = good.clone();
        negative["interval_ms"] = json!(-1);
        check(&json!([good, negative, 7, null, good]), 2);
        check(&json!([good]), 1);
        check(&json!({"peer": "10.0.0.2"}), 0);
        check(&json!(null), 0);
        check(&json!("none"), 0);
    }
}
