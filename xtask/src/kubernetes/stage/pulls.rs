//! Pods that pull an image, and what the registry is asked meanwhile.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{AccessEntry, Image, Kubernetes, wait_until};

use super::super::objects;
use super::Stage;

const SERVER_API: u16 = 7789;
const PULL: Duration = Duration::from_mins(3);
const SHARED: Duration = Duration::from_mins(1);

/// An image in the registry.
pub(in super::super) struct Pushed {
    pub(in super::super) image: Image,
    name: String,
}

/// How an image is named when it is pulled.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum By {
    Tag,
    Digest,
}

/// What a pull took.
pub(in super::super) struct Pulled {
    /// From the pod's creation until its container runs.
    pub(in super::super) time: Duration,
    /// What the node has asked the registry for meanwhile.
    pub(in super::super) asked: Vec<AccessEntry>,
}

impl Stage {
    /// Pushes an image that no node has.
    pub(in super::super) fn push_new(&mut self) -> Result<Pushed> {
        self.made += 1;
        let name = format!("lib/app-{}:v1", self.made);
        // Above what is checked before it is given to containerd, and above the smallest piece.
        let image = self.cluster.push_new(&name, &[6 << 10, 3 << 10])?;
        Ok(Pushed { image, name })
    }

    /// Has a pod pull an image on a node, and waits until it runs.
    pub(in super::super) fn pull(
        &mut self,
        node: usize,
        pushed: &Pushed,
        by: By,
    ) -> Result<Pulled> {
        self.made += 1;
        let pod = format!("pull-{}", self.made);
        let node = self.node(node)?;
        let (host, address) = (node.host().name.clone(), node.host().address);
        self.cluster.registry.settle()?;
        let before = self.asked_by(address).len();
        let start = Instant::now();
        let object = objects::pod(&pod, &host, &pushed.reference(by));
        self.create_pod(&object)?;
        let path = format!("/api/v1/namespaces/default/pods/{pod}");
        let waited = wait_until("an image to be pulled", PULL, || {
            let state = self.cluster.api().get(&path)?;
            let ready = state.pointer("/status/containerStatuses/0/ready");
            Ok((ready == Some(&Value::Bool(true))).then_some(()))
        });
        let time = start.elapsed();
        waited.with_context(|| format!("{} on {host}: {}", pushed.name, self.events_of(&pod)))?;
        self.cluster.registry.settle()?;
        let asked = self.asked_by(address).split_off(before);
        self.cluster.api().delete(&path)?;
        Ok(Pulled { time, asked })
    }

    /// Has the first node pull a new image, and waits until the server knows that it has all of it.
    pub(in super::super) fn share_from_first(&mut self) -> Result<Pushed> {
        let pushed = self.push_new()?;
        self.pull(0, &pushed, By::Tag)?;
        self.wait_until_shared(&pushed)?;
        Ok(pushed)
    }

    pub(in super::super) fn wait_until_shared(&self, pushed: &Pushed) -> Result<()> {
        wait_until("the server to know who has an image", SHARED, || {
            for blob in pushed.image.native_blobs() {
                if self.holders(&blob.digest)? == 0 {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    /// The same of a private image, of which nothing else is.
    pub(in super::super) fn wait_until_layers_are_shared(&self, pushed: &Pushed) -> Result<()> {
        wait_until("the server to know who has the layers", SHARED, || {
            let variants = pushed.image.variants.first().context("no platform")?;
            for layer in &variants.layers {
                if self.holders(&layer.digest)? == 0 {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    /// Wants the second node to have all of a new image from the first.
    pub(in super::super) fn check_sharing(&mut self) -> Result<String> {
        let pushed = self.share_from_first()?;
        let pulled = self.pull(1, &pushed, By::Digest)?;
        pulled.check_nothing_was_asked()?;
        Ok(format!("from a peer in {:.1} s", pulled.time.as_secs_f64()))
    }

    fn holders(&self, key: &str) -> Result<usize> {
        let target = format!("/api/v1/distribution/findkey?group=default&key={key}");
        let answer = self.server(SERVER_API, &target)?;
        if answer.status == 404 {
            return Ok(0);
        }
        ensure!(answer.status == 200, "findkey answered {}", answer.status);
        let found: Value = serde_json::from_slice(&answer.body)?;
        let holders = found.get("holders").and_then(Value::as_array);
        Ok(holders.map_or(0, Vec::len))
    }

    fn asked_by(&self, node: IpAddr) -> Vec<AccessEntry> {
        let all = self.cluster.registry.access_log();
        all.into_iter()
            .filter(|entry| entry.client == node)
            .collect()
    }

    /// A namespace has its service account a moment after it was made.
    fn create_pod(&self, object: &Value) -> Result<()> {
        let mut refusal = None;
        let path = "/api/v1/namespaces/default/pods";
        let created = wait_until("a pod to be taken", SHARED, || {
            match self.cluster.api().create(path, object) {
                Ok(_) => Ok(Some(())),
                Err(error) if format!("{error:#}").contains("serviceaccount") => Ok(None),
                Err(error) => {
                    refusal = Some(error);
                    Ok(Some(()))
                }
            }
        });
        refusal.map_or(created, Err)
    }

    fn events_of(&self, pod: &str) -> String {
        let path =
            format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={pod}");
        let list = self.cluster.api().get(&path).unwrap_or_default();
        let events = list.get("items").and_then(Value::as_array);
        let messages = events
            .into_iter()
            .flatten()
            .filter_map(|event| event.get("message")?.as_str());
        messages.collect::<Vec<_>>().join("; ")
    }
}

impl Pushed {
    fn reference(&self, by: By) -> String {
        let name = Kubernetes::image_name(&self.name);
        match by {
            By::Tag => name,
            By::Digest => {
                let repository = name.strip_suffix(":v1").unwrap_or(&name);
                format!("{repository}@{}", self.image.root.digest)
            }
        }
    }
}

impl Pulled {
    /// Wants the registry not to have been asked for anything.
    pub(in super::super) fn check_nothing_was_asked(&self) -> Result<()> {
        ensure!(
            self.asked.is_empty(),
            "the registry was asked: {}",
            self.requests()
        );
        Ok(())
    }

    /// Wants the registry to have been asked where a tag leads, and for nothing else.
    pub(in super::super) fn check_only_the_tag_was_asked(&self) -> Result<()> {
        let other = self.asked.iter().find(|entry| entry.method != "HEAD");
        ensure!(
            other.is_none(),
            "the registry was asked: {}",
            self.requests()
        );
        Ok(())
    }

    /// Wants the registry to have given the image, and its layers to have come from elsewhere. Its configuration is
    /// as small as a manifest.
    pub(in super::super) fn check_only_manifests_were_asked(&self) -> Result<()> {
        let given = self.asked.iter().filter(|entry| entry.status == 200);
        let manifests = given
            .clone()
            .filter(|entry| entry.uri.contains("/manifests/"));
        ensure!(manifests.count() > 0, "no manifest: {}", self.requests());
        let bytes: u64 = given.map(|entry| entry.bytes).sum();
        ensure!(bytes < 64 << 10, "{bytes} bytes: {}", self.requests());
        Ok(())
    }

    /// Wants the registry to have given it.
    pub(in super::super) fn check_it_came_from_the_registry(&self) -> Result<()> {
        let gave = self
            .asked
            .iter()
            .any(|entry| entry.uri.contains("/blobs/") && entry.status == 200);
        ensure!(gave, "the registry gave nothing: {}", self.requests());
        Ok(())
    }

    fn requests(&self) -> String {
        let shown = self
            .asked
            .iter()
            .map(|entry| format!("{} {} {}", entry.method, entry.uri, entry.status));
        shown.collect::<Vec<_>>().join(", ")
    }
}
