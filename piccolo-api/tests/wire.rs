//! The shapes as they stand on the wire.

use piccolo_api::{
    Ack, AdvertiseRequest, FindKeyReply, Holder, HolderError, KeepaliveRequest, Key, from_any_case,
    from_go,
};
use proptest::prelude::*;

fn read<'de, T: serde::Deserialize<'de>>(text: &'de str) -> Result<T, String> {
    from_any_case(&mut serde_json::Deserializer::from_str(text)).map_err(|e| e.to_string())
}

#[test]
fn go_agents_keepalive_is_read_in_any_case() {
    for text in [
        r#"{"host":"10.0.0.1:5123","Group":"g"}"#,
        r#"{"Host":"10.0.0.1:5123","group":"g","else":{"Host":1}}"#,
        r#"{"HOST":"10.0.0.1:5123","GROUP":"g"}"#,
    ] {
        let call: KeepaliveRequest = read(text).expect("the Go agent's call is valid");
        assert_eq!(
            (call.host.as_str(), call.group.as_str()),
            ("10.0.0.1:5123", "g")
        );
    }
}

#[test]
fn of_several_members_of_a_name_the_last_counts() {
    for text in [
        r#"{"holder":"a","holder":"10.0.0.1:1","keys":["x"],"group":"g"}"#,
        r#"{"holder":"10.0.0.1:1","keys":["y"],"group":"h","Keys":["x"],"GROUP":"g"}"#,
        r#"{"holder":"10.0.0.1:1","holder":null,"keys":["x"],"group":"g","epoch":null}"#,
        r#"{"more":1,"more":[2],"holder":"10.0.0.1:1","keys":["x"],"keys":["x"],"group":"g"} tail"#,
    ] {
        let call: AdvertiseRequest = from_go(text.as_bytes()).expect(text);
        assert_eq!((&*call.holder, &*call.group), ("10.0.0.1:1", "g"), "{text}");
        assert_eq!(call.keys, ["x"], "{text}");
    }
    let text = r#"{"holder":"10.0.0.1:1","keys":["x",null],"group":"g"}"#;
    let call: AdvertiseRequest = from_go(text.as_bytes()).expect(text);
    assert_eq!(call.keys, ["x", ""]);
    for (text, why) in [
        (r#"{"holder":null,"keys":["x"],"group":"g"}"#, "holder"),
        (r#"{"keys":["x"],"keys":["x"],"group":"g"}"#, "holder"),
        (
            r#"{"holder":"a","holder":"a","keys":[],"group":"g""#,
            "holder",
        ),
        ("[]", "invalid type"),
    ] {
        let refused = from_go::<AdvertiseRequest>(text.as_bytes()).map_err(|e| e.to_string());
        let refused = refused.expect_err(text);
        assert!(refused.contains(why), "{text}: {refused}");
    }
}

#[test]
fn our_keepalive_is_the_go_servers() {
    let call: KeepaliveRequest = read(r#"{"host":"10.0.0.1:1","group":"g"}"#).expect("valid");
    let text = serde_json::to_string(&call).expect("plain data");
    assert_eq!(text, r#"{"host":"10.0.0.1:1","Group":"g"}"#);
}

#[test]
fn a_missing_member_is_named() {
    let error = read::<AdvertiseRequest>(r#"{"holder":"10.0.0.1:1","group":"g"}"#).unwrap_err();
    assert!(error.contains("keys"), "{error}");
}

#[test]
fn a_resync_is_written_only_when_it_is_asked_for() {
    let ack = Ack {
        success: true,
        message: "keep alive success".into(),
        ..Ack::default()
    };
    let text = serde_json::to_string(&ack).expect("plain data");
    assert_eq!(text, r#"{"success":true,"message":"keep alive success"}"#);
}

#[test]
fn a_go_servers_find_is_read() {
    let text = r#"{"key":"k","Group":"g","holders":["10.0.0.1:1"],"total":0}"#;
    let reply: FindKeyReply = serde_json::from_str(text).expect("the Go server's reply is valid");
    assert_eq!(reply.holders, ["10.0.0.1:1"]);
    assert!(reply.peers.is_empty());
}

#[test]
fn holders_have_one_spelling() {
    let mapped: Holder = "[::ffff:10.0.0.1]:7787"
        .parse()
        .expect("a mapped address is valid");
    assert_eq!(mapped.to_string(), "10.0.0.1:7787");
    for bad in ["", "10.0.0.1", "localhost:1", "10.0.0.1:70000"] {
        assert!(
            matches!(bad.parse::<Holder>(), Err(HolderError::Syntax(_))),
            "{bad}"
        );
    }
    for bad in ["0.0.0.0:1", "[::]:1", "224.0.0.1:1", "10.0.0.1:0"] {
        assert!(
            matches!(bad.parse::<Holder>(), Err(HolderError::Unreachable(_))),
            "{bad}"
        );
    }
}

proptest! {
    #[test]
    fn a_holder_survives_its_text(ip: std::net::IpAddr, port: u16) {
        if let Ok(holder) = Holder::new((ip, port).into()) {
            prop_assert_eq!(holder.to_string().parse(), Ok(holder));
        }
    }

    #[test]
    fn no_key_has_control_characters(text: String) {
        let taken = text.parse::<Key>().is_ok();
        let good = !text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control);
        prop_assert_eq!(taken, good);
    }
}
