//! The head of a peer's reply: the same however it is cut, and what a reading line by line finds in it.

use pi_agent::http::Response;

use crate::{model::head::Head, request_head::cuts};

/// Other agents that are taken of one reply.
const ALTERNATES: usize = 8;

pub(crate) fn check(bytes: &[u8]) {
    let whole = Response::parse(bytes);
    for cut in cuts(bytes.len()) {
        match Response::parse(&bytes[..cut]) {
            Ok(None) => {}
            Ok(Some(part)) => assert_eq!(whole, Ok(Some(part)), "cut at {cut}"),
            Err(_) => assert!(whole.is_err(), "refused when cut at {cut}"),
        }
    }
    let Ok(Some((response, length))) = whole else {
        return;
    };
    let head = Head::of(&bytes[..length]);
    assert_eq!(head.length(), response.length);
    assert_eq!(
        head.persists(head.first.starts_with(b"HTTP/1.1")),
        response.keep_alive
    );
    let is_plain = |name| {
        let mut values = head
            .values(name)
            .filter(|value| std::str::from_utf8(value).is_ok());
        values.all(|value| value.eq_ignore_ascii_case(b"identity"))
    };
    let is_plain = is_plain("transfer-encoding") && is_plain("content-encoding");
    assert_eq!(!is_plain, response.encoded);
    assert_eq!(
        head.last("content-type").map(str::to_owned),
        response.media_type
    );
    assert_eq!(
        head.last("docker-content-digest").map(str::to_owned),
        response.digest
    );
    assert!(response.alternates.len() <= ALTERNATES);
    assert!((1..=64).contains(&response.every));
    if let Some(range) = response.range {
        assert!(range.span.start() < range.span.end() && range.span.end() <= range.total);
    }
}
