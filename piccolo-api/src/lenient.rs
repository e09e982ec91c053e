//! Lists whose unreadable members are left out.
//!
//! What a newer, older or broken agent measures must not make its advertisement unreadable.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

/// A member, or something else in its place.
#[derive(Deserialize)]
#[serde(untagged)]
enum Member<T> {
    Readable(T),
    Unreadable(IgnoredAny),
}

/// A list, or something else in its place.
#[derive(Deserialize)]
#[serde(untagged)]
enum List<T> {
    Members(Vec<Member<T>>),
    Other(IgnoredAny),
}

/// Reads the members that can be read; no list at all is an empty one.
pub(crate) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let members = match List::deserialize(deserializer)? {
        List::Members(members) => members,
        List::Other(_) => Vec::new(),
    };
    Ok(members.into_iter().filter_map(Member::readable).collect())
}

/// Reads a value, or nothing where something else stands in its place.
pub(crate) fn option<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Member::deserialize(deserializer)?.readable())
}

impl<T> Member<T> {
    fn readable(self) -> Option<T> {
        match self {
            Self::Readable(member) => Some(member),
            Self::Unreadable(_) => None,
        }
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
