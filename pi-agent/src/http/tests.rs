//! Heads, ranges and targets: what is understood, and what is not.

use proptest::prelude::*;

use super::{
    ByteRange, ContentRange, Kind, Method, Reference, Request, Response, Span, Target,
    Unsatisfiable, encode_query, escape::decode,
};

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn request(lines: &str) -> Request {
    let text = lines.replace('\n', "\r\n") + "\r\n";
    let (request, length) = Request::parse(text.as_bytes()).unwrap().unwrap();
    assert_eq!(length, text.len());
    request
}

fn response(lines: &str) -> Response {
    let text = lines.replace('\n', "\r\n") + "\r\n";
    Response::parse(text.as_bytes()).unwrap().unwrap().0
}

/// What one side takes for a message's end and the other overlooks lets a third party speak for either.
#[test]
fn a_frame_that_is_not_understood_is_no_message() {
    let framing: [&[u8]; 5] = [
        b"Content-Length: \xff1",
        b"Content-Length: \xc2\xa05",
        b"Content-Length: 5\xe2\x80\x83",
        b"Content-Length: +5",
        b"Transfer-Encoding: chunked\xff",
    ];
    for field in framing {
        for start in [&b"GET /v2/ HTTP/1.1"[..], b"HTTP/1.1 200 OK"] {
            let head = [start, b"\r\n", field, b"\r\n\r\n"].concat();
            let refused = if start.starts_with(b"GET") {
                Request::parse(&head).is_err()
            } else {
                Response::parse(&head).is_err()
            };
            assert!(refused, "{}", String::from_utf8_lossy(&head));
        }
    }
    assert_eq!(
        response("HTTP/1.1 200 OK\nContent-Length: \t5 \n").length,
        Some(5)
    );
}

#[test]
fn reads_what_containerd_asks() {
    let asked = request(&format!(
        "GET /v2/lib/a/blobs/sha256:{HEX}?ns=some.reg.example%3A5443 HTTP/1.1\nHost: x\n\
         Accept-Encoding: gzip\nRange: bytes=8388608-\n"
    ));
    let Target::Object(object) = asked.target else {
        panic!("{:?}", asked.target)
    };
    assert_eq!(asked.method, Method::Get);
    assert_eq!(asked.range, Some(ByteRange::From(8_388_608)));
    assert!(asked.keep_alive && !asked.mirrored && asked.agent.is_none());
    assert_eq!(object.kind, Kind::Blob);
    assert_eq!(object.repository, "lib/a");
    assert_eq!(object.registry.as_deref(), Some("some.reg.example:5443"));
    assert_eq!(
        object.reference,
        Reference::Digest(format!("sha256:{HEX}").parse().unwrap())
    );
}

#[test]
fn reads_what_agents_ask() {
    let asked = request(
        "HEAD /v2/library/redis/manifests/7?ns=docker.io HTTP/1.1\nX-Spegel-Mirrored: true\n\
         Piccolo-Agent: 10.0.0.5:7787\nConnection: close\n",
    );
    assert_eq!(asked.method, Method::Head);
    assert!(asked.mirrored && !asked.keep_alive);
    assert_eq!(asked.agent.unwrap().to_string(), "10.0.0.5:7787");
}

#[test]
fn names_only_what_can_be_served() {
    let digest = format!("sha256:{HEX}");
    for (path, expected) in [
        ("/v2/", "Ping"),
        ("/v2", "Ping"),
        (&*format!("/v2/a/blobs/{digest}"), "Object"),
        (&format!("/v2/a%2Fb/manifests/{digest}"), "Object"),
        ("/v2/a/manifests/latest", "Object"),
        ("/v2/a/blobs/latest", "Other"),
        ("/v2/a/blobs/sha256:00", "Other"),
        (&format!("/v2/../x/blobs/{digest}"), "Other"),
        (&format!("/v2//blobs/{digest}"), "Other"),
        (&format!("/v2/A/blobs/{digest}"), "Other"),
        (&format!("/v2/a/tags/{digest}"), "Other"),
        ("/v2/a/manifests/a%zz", "Other"),
        ("/v2/a/manifests/-x", "Other"),
        ("/", "Other"),
    ] {
        let target = format!("{:?}", Target::parse(path));
        assert!(target.starts_with(expected), "{path}: {target}");
    }
}

#[test]
fn reads_the_three_forms_of_a_range() {
    for (text, size, expected) in [
        ("bytes=0-", 10, Some(Ok((0, 10)))),
        ("bytes=3-", 10, Some(Ok((3, 10)))),
        ("bytes=3-5", 10, Some(Ok((3, 6)))),
        ("bytes=3-50", 10, Some(Ok((3, 10)))),
        ("bytes=-4", 10, Some(Ok((6, 10)))),
        ("bytes=-40", 10, Some(Ok((0, 10)))),
        ("bytes=10-", 10, Some(Err(()))),
        ("bytes=-0", 10, Some(Err(()))),
        ("bytes=0-", 0, Some(Err(()))),
        ("bytes=5-3", 10, None),
        ("bytes=1-2,4-5", 10, Some(Ok((1, 3)))),
        ("bytes=, 3-5 , 0-", 10, Some(Ok((3, 6)))),
        ("bytes=,", 10, None),
        ("bytes=", 10, None),
        ("bytes=-", 10, None),
        ("bytes=a-", 10, None),
        ("bytes=+1-", 10, None),
        ("lines=1-", 10, None),
        ("bytes=99999999999999999999-", 10, None),
    ] {
        let resolved = ByteRange::parse(text).map(|range| match range.resolve(size) {
            Ok(span) => Ok((span.start(), span.end())),
            Err(Unsatisfiable) => Err(()),
        });
        assert_eq!(resolved, expected, "{text} of {size}");
    }
}

#[test]
fn reads_what_peers_reply() {
    let reply = response(
        "HTTP/1.1 206 Partial Content\nContent-Length: 5\ncontent-range: bytes 5-9/20\n\
         Docker-Content-Digest: sha256:x\nContent-Type: a/b\n",
    );
    assert_eq!((reply.status, reply.length), (206, Some(5)));
    let range = ContentRange {
        span: Span::new(5, 10),
        total: 20,
    };
    assert_eq!(reply.range, Some(range));
    assert_eq!(range.to_string(), "bytes 5-9/20");
    let reply = response(
        "HTTP/1.0 503 no\nPiccolo-Alternates: 10.0.0.1:1, junk, 10.0.0.2:2\n\
         Transfer-Encoding: chunked\n",
    );
    assert!(!reply.keep_alive && reply.encoded);
    assert_eq!(reply.alternates.len(), 2);
}

#[test]
fn refuses_what_two_readers_would_read_differently() {
    for head in [
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "\0\0\0\0",
    ] {
        assert!(Request::parse(head.as_bytes()).is_err(), "{head:?}");
    }
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 206 OK\r\nContent-Range: bytes 5-4/20\r\n\r\n",
        "HTTP/1.1 206 OK\r\nContent-Range: bytes 5-9/*\r\n\r\n",
        "HTTP/1.1 206 OK\r\nContent-Range: bytes 5-20/20\r\n\r\n",
        "SSH-2.0-x\r\n\r\n",
    ] {
        assert!(Response::parse(head.as_bytes()).is_err(), "{head:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Request::parse(&bytes);
        let _ = Response::parse(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = Target::parse(&text);
        let _ = ContentRange::parse(&text);
    }

    #[test]
    fn a_resolved_range_lies_within(text in "bytes=[0-9]{0,4}-[0-9]{0,4}", size in 0_u64..5000) {
        if let Some(range) = ByteRange::parse(&text)
            && let Ok(span) = range.resolve(size)
        {
            prop_assert!(span.start() < span.end() && span.end() <= size);
        }
    }

    #[test]
    fn what_is_encoded_decodes(text in "\\PC{0,40}") {
        prop_assert_eq!(decode(&encode_query(&text)), Some(text));
    }

    #[test]
    fn a_head_is_read_the_same_however_it_is_cut(cut in 0_usize..120) {
        let head = format!("GET /v2/a/blobs/sha256:{HEX} HTTP/1.1\r\nRange: bytes=1-\r\n\r\n");
        let part = &head.as_bytes()[..cut.min(head.len())];
        let parsed = Request::parse(part).unwrap();
        prop_assert_eq!(parsed.is_some(), part.len() == head.len());
    }
}
