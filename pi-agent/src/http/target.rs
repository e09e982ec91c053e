//! What a request of the distribution API is about.

use super::{RACK_FIND, RACK_PROGRESS, escape::decode};
use crate::digest::Digest;

/// Longest repository name that is accepted.
const MAX_REPOSITORY: usize = 255;
/// Longest tag (OCI distribution specification).
const MAX_TAG: usize = 128;
/// Longest registry name: a host name, a colon and a port.
const MAX_REGISTRY: usize = 261;

/// The object of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `/v2/`: whether there is a registry.
    Ping,
    /// A manifest or a blob.
    Object(ObjectRef),
    /// A call of a node of the rack while no server answers.
    Rack(RackCall),
    /// Anything else.
    Other,
}

/// A call of a node of the rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RackCall {
    /// What it is for.
    pub kind: RackKind,
    /// The request, as JSON.
    pub request: String,
}

/// What a call of a node of the rack is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RackKind {
    /// A request for sources.
    Find,
    /// How far it is with what it fetches.
    Progress,
}

/// A manifest or a blob by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// Whether the request calls it a manifest or a blob.
    pub kind: Kind,
    /// The registry, as containerd's `ns` parameter names it.
    pub registry: Option<String>,
    /// The repository within the registry.
    pub repository: String,
    /// The digest or tag.
    pub reference: Reference,
}

/// The kind of object requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An image manifest or index.
    Manifest,
    /// A layer, a config, or any other content.
    Blob,
}

/// How an object is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By its content.
    Digest(Digest),
    /// By a name that may move.
    Tag(String),
}

impl Target {
    /// Reads the target of a request line: path, and query where there is one.
    pub fn parse(text: &str) -> Self {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let Some(path) = decode(path) else {
            return Self::Other;
        };
        match path.as_str() {
            "/v2" | "/v2/" => Self::Ping,
            RACK_FIND => rack(RackKind::Find, query),
            RACK_PROGRESS => rack(RackKind::Progress, query),
            path => object(path, query).map_or(Self::Other, Self::Object),
        }
    }
}

impl ObjectRef {
    /// Whether the object may be an image's manifest, which belongs to a repository. A tag is given by who
    /// says what it stands for under that name.
    pub(crate) fn is_named_by_digest(&self) -> bool {
        matches!(self.reference, Reference::Digest(_))
    }
}

impl Kind {
    /// The path segment that stands for it, which also names it in metrics and spans.
    pub fn segment(self) -> &'static str {
        match self {
            Self::Manifest => "manifests",
            Self::Blob => "blobs",
        }
    }

    /// The word for it in metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
        }
    }
}

fn rack(kind: RackKind, query: &str) -> Target {
    let value = query.split('&').find_map(|p| p.strip_prefix("call="));
    value.and_then(decode).map_or(Target::Other, |request| {
        Target::Rack(RackCall { kind, request })
    })
}

fn object(path: &str, query: &str) -> Option<ObjectRef> {
    let (rest, reference) = path.strip_prefix("/v2/")?.rsplit_once('/')?;
    let (repository, segment) = rest.rsplit_once('/')?;
    let kind = [Kind::Manifest, Kind::Blob]
        .into_iter()
        .find(|k| k.segment() == segment)?;
    let reference = match (kind, reference.parse::<Digest>()) {
        (_, Ok(digest)) => Reference::Digest(digest),
        (Kind::Manifest, Err(_)) if is_tag(reference) => Reference::Tag(reference.to_owned()),
        (Kind::Manifest | Kind::Blob, Err(_)) => return None,
    };
    is_repository(repository).then(|| ObjectRef {
        kind,
        registry: registry(query),
        repository: repository.to_owned(),
        reference,
    })
}

fn registry(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|p| p.strip_prefix("ns="))?;
    let registry = decode(value)?;
    let fits = (1..=MAX_REGISTRY).contains(&registry.len())
        && registry
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_:[]/".contains(&b));
    fits.then_some(registry)
}

fn is_repository(name: &str) -> bool {
    // The specification's grammar also orders the separators; what matters here is that the name
    // can be put into another request's path as it is.
    name.len() <= MAX_REPOSITORY
        && name.split('/').all(|part| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        })
}

fn is_tag(text: &str) -> bool {
    text.len() <= MAX_TAG
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
