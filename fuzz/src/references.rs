//! Names of images, registries and policies: what the grammar of the distribution project has is taken, with
//! the same parts, and what is taken can name nothing else.

use pi_agent::{
    digest::Digest,
    reference::Reference,
    registry::{RegistryName, RegistryUrl},
};

use crate::input::Input;

/// Longest name for which the grammar is compared: the limit of a repository, in bytes.
const LENGTH: usize = 255;

pub(crate) fn check(bytes: &[u8]) {
    let text = Input::new(bytes).text();
    let read = text.parse::<Reference>();
    if let Ok(reference) = &read {
        is_its_text(reference, &text);
    }
    if let Some((registry, repository, tag, digest)) = parts(&text)
        && text.len() <= LENGTH
    {
        let reference = read.expect("a name by the grammar");
        assert_eq!(reference.registry, registry);
        assert_eq!(reference.repository, repository);
        assert_eq!(reference.tag.as_deref(), tag);
        assert_eq!(reference.digest.as_ref().map(Digest::as_str), digest);
    }
    if let Ok(name) = text.parse::<RegistryName>() {
        assert_eq!(name.as_str(), text);
        assert!(
            !text.contains('/') && !text.starts_with('.') && text.is_ascii(),
            "{text:?}"
        );
    }
    if let Ok(told) = text.parse::<RegistryUrl>() {
        // A scheme may be in any case.
        let scheme = told.url.get(..4).expect("a scheme");
        assert!(scheme.eq_ignore_ascii_case("http"), "{text:?}");
        assert!(
            text.starts_with(&told.registry) && !told.url.ends_with('/'),
            "{text:?}"
        );
    }
    assert!(RegistryUrl::usual(&text).starts_with("http"));
}

fn is_its_text(reference: &Reference, text: &str) {
    let mut whole = format!("{}/{}", reference.registry, reference.repository);
    if let Some(tag) = &reference.tag {
        whole = whole + ":" + tag;
    }
    if let Some(key) = reference.tag_key() {
        assert_eq!(key, whole);
        let again: Reference = key.parse().expect("a key is a name");
        assert_eq!((&again.tag, again.digest), (&reference.tag, None));
    }
    if let Some(digest) = &reference.digest {
        whole = whole + "@" + digest.as_str();
    }
    assert_eq!(whole, text);
    assert!(
        reference
            .repository
            .split('/')
            .all(|part| !part.starts_with('.') && !part.is_empty())
    );
}

/// Registry, repository, tag and digest of a name, by the grammar.
type Parts<'a> = (&'a str, &'a str, Option<&'a str>, Option<&'a str>);

fn parts(text: &str) -> Option<Parts<'_>> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let (registry, rest) = name.split_once('/')?;
    let (repository, tag) = match rest.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    let is_digest = |digest: &str| {
        let digits = digest.strip_prefix("sha256:").unwrap_or_default();
        digits.len() == 64 && digits.bytes().all(|b| b"0123456789abcdef".contains(&b))
    };
    let is_name = is_domain(registry)
        && repository.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
        && (tag.is_some() || digest.is_some());
    is_name.then_some((registry, repository, tag, digest))
}

/// `host[:port]`, told from the first part of a repository by a dot, a colon, or by being `localhost`.
fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b':')
        });
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(inner)
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (is_v6 || host.split('.').all(is_label))
        && port.is_none_or(digits)
        && (text.contains(['.', ':']) || text == "localhost")
}

/// Letters and digits, between them one dot, one or two underscores, or any number of hyphens.
fn is_component(text: &str) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_separator =
        |part: &str| matches!(part, "" | "." | "_" | "__") || part.bytes().all(|b| b == b'-');
    ends.into_iter().all(|end| end.is_some_and(is_letter))
        && separators.into_iter().all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty()
        && text.len() <= 128
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| word(byte) || at > 0 && b".-".contains(&byte))
}
