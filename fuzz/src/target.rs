//! The target of a request, with its escapes, compared with a reading by the grammar.

use pi_agent::http::{Kind, RackKind, Reference, Target};

use crate::{input::Input, model::percent, request_head::reads_back};

pub(crate) fn check(bytes: &[u8]) {
    let text = Input::new(bytes).text();
    let target = Target::parse(&text);
    assert_eq!(target, read(&text), "{text:?}");
    if let Target::Object(object) = &target {
        reads_back(object);
    }
}

fn read(text: &str) -> Target {
    let end = text.find('?').unwrap_or(text.len());
    let Some(path) = percent::decode(&text[..end]) else {
        return Target::Other;
    };
    let parameter = |name: &str| {
        let query = text.get(end + 1..).unwrap_or_default();
        let value = query.split('&').find_map(|part| part.strip_prefix(name))?;
        percent::decode(value)
    };
    let rack = |kind| match parameter("call=") {
        Some(request) => Target::Rack(pi_agent::http::RackCall { kind, request }),
        None => Target::Other,
    };
    let segments: Vec<&str> = path.split('/').collect();
    match segments.as_slice() {
        ["", "v2"] | ["", "v2", ""] => Target::Ping,
        ["", "piccolo", "v1", "rack", "find"] => rack(RackKind::Find),
        ["", "piccolo", "v1", "rack", "progress"] => rack(RackKind::Progress),
        ["", "v2", repository @ .., kind, name] => {
            let kind = match *kind {
                "manifests" => Kind::Manifest,
                "blobs" => Kind::Blob,
                _ => return Target::Other,
            };
            let is_repository = !repository.is_empty()
                && repository.join("/").len() <= 255
                && repository.iter().all(|part| is_component(part));
            match reference(kind, name) {
                Some(reference) if is_repository => Target::Object(pi_agent::http::ObjectRef {
                    kind,
                    registry: parameter("ns=").filter(|name| is_registry(name)),
                    repository: repository.join("/"),
                    reference,
                }),
                _ => Target::Other,
            }
        }
        _ => Target::Other,
    }
}

fn reference(kind: Kind, name: &str) -> Option<Reference> {
    let hex = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let is_digest = match name.split_once(':') {
        Some(("sha256", digits)) => digits.len() == 64 && hex(digits),
        Some(("sha512", digits)) => digits.len() == 128 && hex(digits),
        _ => false,
    };
    if is_digest {
        return Some(Reference::Digest(name.parse().expect("a digest")));
    }
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_tag = name.len() <= 128
        && name
            .bytes()
            .enumerate()
            .all(|(at, byte)| word(byte) || at > 0 && b".-".contains(&byte));
    (kind == Kind::Manifest && is_tag && !name.is_empty()).then(|| Reference::Tag(name.to_owned()))
}

fn is_component(part: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = part.bytes();
    bytes.next().is_some_and(letter) && bytes.all(|byte| letter(byte) || b"._-".contains(&byte))
}

fn is_registry(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]/".contains(&byte);
    !name.is_empty() && name.len() <= 261 && name.bytes().all(fits)
}
