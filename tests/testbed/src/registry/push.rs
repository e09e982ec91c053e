//! Pushes an image as it lies in its layout.
//!
//! The usual tools keep a cache of what they pushed in the system's directories, which would stay
//! behind; and they change digests unless told not to.

use std::collections::HashSet;
use std::fs::File;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::http::{Answer, Request, send};
use crate::image::{Blob, Image};
use crate::netns::Netns;

/// Where a push goes.
struct Target<'a> {
    netns: &'a Netns,
    address: SocketAddr,
    repository: &'a str,
}

pub(super) fn push(netns: &Netns, address: SocketAddr, image: &Image, name: &str) -> Result<()> {
    let (repository, tag) = name
        .split_once(':')
        .context("a name has to look like lib/app:v1")?;
    let target = Target {
        netns,
        address,
        repository,
    };
    let mut pushed = HashSet::new();
    for variant in &image.variants {
        for blob in variant.layers.iter().chain([&variant.config]) {
            if pushed.insert(&blob.digest) {
                target.push_blob(image, blob)?;
            }
        }
        target.push_manifest(image, &variant.manifest, &variant.manifest.digest)?;
    }
    target.push_manifest(image, &image.root, tag)
}

impl Target<'_> {
    fn push_blob(&self, image: &Image, blob: &Blob) -> Result<()> {
        let start = format!("/v2/{}/blobs/uploads/", self.repository);
        let request = Request {
            method: "POST",
            target: &start,
            headers: &[],
        };
        let answer = send(self.netns, self.address, request, &mut std::io::empty(), 0)?;
        expect_status(&answer, 202)?;
        let place = answer
            .header("location")
            .context("an upload without a location")?;
        let host = format!("http://{}", self.address);
        let place = place.strip_prefix(&host).unwrap_or(place);
        let target = format!("{place}&digest={}", blob.digest);
        let headers = [("Content-Type", "application/octet-stream")];
        self.put(image, blob, &target, &headers)
    }

    fn push_manifest(&self, image: &Image, blob: &Blob, reference: &str) -> Result<()> {
        let target = format!("/v2/{}/manifests/{reference}", self.repository);
        self.put(image, blob, &target, &[("Content-Type", &blob.media_type)])
    }

    fn put(
        &self,
        image: &Image,
        blob: &Blob,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<()> {
        let path = image.path(blob);
        let mut file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let request = Request {
            method: "PUT",
            target,
            headers,
        };
        let answer = send(self.netns, self.address, request, &mut file, blob.size)?;
        expect_status(&answer, 201)
    }
}

fn expect_status(answer: &Answer, status: u16) -> Result<()> {
    ensure!(
        answer.status == status,
        "the registry answered {}: {}",
        answer.status,
        answer.text()
    );
    Ok(())
}
