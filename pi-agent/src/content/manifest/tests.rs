//! Reading manifests of every kind, and what is none.

use proptest::prelude::*;

use super::{Manifest, ManifestError, OCI_INDEX, OCI_MANIFEST, Role, SCHEMA1};

fn digest(c: char) -> String {
    format!("sha256:{}", c.to_string().repeat(64))
}

fn check(json: &str, media_type: &str, children: &[(char, Role)]) {
    let manifest = Manifest::parse(json.as_bytes()).unwrap();
    assert_eq!(manifest.media_type(""), media_type);
    let got: Vec<_> = manifest
        .children
        .iter()
        .map(|c| (c.digest.to_string(), c.role))
        .collect();
    let want: Vec<_> = children.iter().map(|(c, r)| (digest(*c), *r)).collect();
    assert_eq!(got, want);
}

#[test]
fn reads_every_kind() {
    let (a, b, c) = (digest('a'), digest('b'), digest('c'));
    check(
        &format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{a}","size":1}},"layers":[{{"digest":"{b}","size":2,"mediaType":"x/y"}},{{"digest":"{c}","size":3}}]}}"#
        ),
        OCI_MANIFEST,
        &[('a', Role::Blob), ('b', Role::Blob), ('c', Role::Blob)],
    );
    check(
        &format!(
            r#"{{"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[{{"digest":"{a}","size":1}},{{"digest":"md5:x","size":1}}]}}"#
        ),
        "application/vnd.docker.distribution.manifest.list.v2+json",
        &[('a', Role::Manifest)],
    );
    check(r#"{"manifests":[]}"#, OCI_INDEX, &[]);
    // A build cache.
    check(
        &format!(
            r#"{{"manifests":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{a}","size":1}},{{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"{b}","size":1}},{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{c}","size":1}}]}}"#
        ),
        OCI_INDEX,
        &[('a', Role::Blob), ('b', Role::Blob), ('c', Role::Manifest)],
    );
    check(
        &format!(r#"{{"blobs":[{{"digest":"{a}","size":1}}]}}"#),
        OCI_MANIFEST,
        &[('a', Role::Blob)],
    );
    check(
        &format!(r#"{{"fsLayers":[{{"blobSum":"{a}"}}]}}"#),
        SCHEMA1,
        &[('a', Role::Blob)],
    );
}

/// What Go's decoder takes, containerd and registries take.
#[test]
fn reads_json_as_go_does() {
    let (a, b) = (digest('a'), digest('b'));
    for json in [
        // The last of two members counts.
        format!(r#"{{"layers":[{{"digest":"{b}"}}],"layers":[{{"digest":"{a}"}}]}}"#),
        format!(r#"{{"layers":[{{"digest":"{b}","size":2,"size":1,"digest":"{a}"}}]}}"#),
        // In any case, as Go folds it.
        format!(r#"{{"Layers":[{{"DIGEST":"{a}","Size":1}}]}}"#),
        format!("{{\"layer\u{17f}\":[{{\"digest\":\"{a}\"}}]}}"),
        // `null` is nothing, and so is what is not there.
        format!(
            r#"{{"manifests":null,"mediaType":null,"layers":[{{"mediaType":null,"digest":"{a}","size":null}}]}}"#
        ),
        format!(r#"{{"layers":[{{"digest":"{a}"}},{{"size":3}},{{"digest":null}},null]}}"#),
        // The second of two is read over the first, member by member.
        format!(r#"{{"layers":[{{"digest":"{a}"}},{{"digest":"{b}"}}],"layers":[{{"size":1}}]}}"#),
        format!(r#"{{"config":{{"digest":"{a}"}},"config":{{"size":1}},"config":null}}"#),
        format!(
            r#"{{"layers":[{{"digest":"{b}"}}],"layers":null,"layers":[{{}},{{"digest":"{a}"}}]}}"#
        ),
        format!(r#"{{"layers":[{{}},{{"digest":"{a}"}}],"layers":[{{}}],"layers":[{{}},{{}}]}}"#),
        // Half of a surrogate pair, and a zero below zero.
        format!(
            r#"{{"\ud800":"\udc00","mediaType":"\ud800","layers":[{{"digest":"{a}","size":-0}}]}}"#
        ),
    ] {
        check(&json, OCI_MANIFEST, &[('a', Role::Blob)]);
    }
    let mut bytes = br#"{"annotations":{"x":"?"},"layers":[]}"#.to_vec();
    let at = bytes.iter().position(|b| *b == b'?').unwrap();
    bytes[at] = 0xff;
    Manifest::parse(&bytes).unwrap();
    // Not what Go folds, nor the other way round.
    assert!(Manifest::parse(r#"{"con\ufb01g":{}}"#.as_bytes()).is_err());
}

#[test]
fn a_parent_says_what_a_manifest_does_not() {
    let manifest = Manifest::parse(br#"{"layers":[]}"#).unwrap();
    assert_eq!(
        manifest.media_type("application/vnd.other+json"),
        "application/vnd.other+json"
    );
    assert_eq!(manifest.media_type("bad\r\nheader: x/y"), OCI_MANIFEST);
}

#[test]
fn refuses_what_is_none() {
    let error = |json: &str| Manifest::parse(json.as_bytes()).unwrap_err();
    assert!(matches!(error("{"), ManifestError::Json(_)));
    assert!(matches!(error(r#"{"layers":7}"#), ManifestError::Json(_)));
    assert!(matches!(
        error(r#"{"architecture":"amd64"}"#),
        ManifestError::Shape
    ));
    assert!(matches!(
        error(r#"{"manifests":[],"layers":[]}"#),
        ManifestError::Ambiguous
    ));
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Manifest::parse(&bytes);
    }

    #[test]
    fn never_panics_on_json(layers in proptest::collection::vec(("\\PC{0,20}", any::<i64>()), 0..8)) {
        let layers: Vec<_> = layers
            .into_iter()
            .map(|(digest, size)| serde_json::json!({"digest": digest, "size": size}))
            .collect();
        let json = serde_json::json!({"layers": layers}).to_string();
        prop_assert!(Manifest::parse(json.as_bytes()).is_ok());
    }
}
