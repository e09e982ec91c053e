//! The head of a request: the same however it is cut, and what a reading line by line finds in it.

use pi_agent::http::{Kind, ObjectRef, Reference, Request, Target};

use crate::model::{head::Head, percent};

pub(crate) fn check(bytes: &[u8]) {
    let whole = Request::parse(bytes);
    for cut in cuts(bytes.len()) {
        match Request::parse(&bytes[..cut]) {
            Ok(None) => {}
            Ok(Some(part)) => assert_eq!(whole, Ok(Some(part)), "cut at {cut}"),
            Err(_) => assert!(whole.is_err(), "refused when cut at {cut}"),
        }
    }
    let Ok(Some((request, length))) = whole else {
        return;
    };
    let head = Head::of(&bytes[..length]);
    assert_eq!(
        head.values("transfer-encoding").count(),
        0,
        "chunks are refused"
    );
    assert_eq!(head.length().unwrap_or(0), request.body);
    assert_eq!(
        head.persists(head.first.ends_with(b"1.1")),
        request.keep_alive
    );
    assert!((1..=64).contains(&request.every));
    if let Target::Object(object) = request.target {
        reads_back(&object);
    }
}

/// Some places, all of them where there are few.
pub(crate) fn cuts(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by((length / 64).max(1))
}

/// What is asked of a peer is what containerd asked for.
pub(crate) fn reads_back(object: &ObjectRef) {
    let kind = match object.kind {
        Kind::Manifest => "manifests",
        Kind::Blob => "blobs",
    };
    let reference = match &object.reference {
        Reference::Digest(digest) => digest.as_str(),
        Reference::Tag(tag) => tag,
    };
    let mut path = format!("/v2/{}/{kind}/{reference}", object.repository);
    if let Some(registry) = &object.registry {
        path += "?ns=";
        path += &percent::encode(registry);
    }
    assert_eq!(
        Target::parse(&path),
        Target::Object(object.clone()),
        "{path}"
    );
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
}
