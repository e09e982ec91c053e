//! A client for containerd's CRI services, as the kubelet is one.
//!
//! The few messages are written down by hand, so that no protobuf compiler is needed to build the
//! harness. Unix sockets are not bound to network namespaces: the client stays where it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

mod messages;
mod pod_messages;
mod pods;

pub use pods::{Container, ContainerSpec, Executed, MountSpec, Pod, Rights};

use messages::{
    Empty, Image, ImageRequest, ImageSpec, ImageStatusResponse, ListImagesResponse,
    PullImageResponse,
};

const SHORT: Duration = Duration::from_secs(10);

/// The image and runtime services of one containerd.
#[derive(Clone, Debug)]
pub struct Cri {
    socket: PathBuf,
}

/// An image that containerd has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageRecord {
    /// The digest of its configuration.
    pub id: String,
    /// Its names by tag.
    pub tags: Vec<String>,
    /// Its names by digest.
    pub digests: Vec<String>,
    /// Its packed size.
    pub size: u64,
}

impl Cri {
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Pulls an image and gives its id. Giving up after `deadline` cancels the pull.
    ///
    /// # Errors
    ///
    /// What containerd says, or that the deadline passed.
    pub fn pull(&self, name: &str, deadline: Duration) -> Result<String> {
        let answer: PullImageResponse = self
            .call("PullImage", ImageRequest::named(name), deadline)
            .with_context(|| format!("pulling {name}"))?;
        Ok(answer.image_ref)
    }

    /// Removes an image by one of its names; all its names go.
    ///
    /// # Errors
    ///
    /// What containerd says.
    pub fn remove(&self, name: &str) -> Result<()> {
        let Empty {} = self
            .call("RemoveImage", ImageRequest::named(name), SHORT)
            .with_context(|| format!("removing {name}"))?;
        Ok(())
    }

    /// Gives the images there are.
    ///
    /// # Errors
    ///
    /// What containerd says.
    pub fn list(&self) -> Result<Vec<ImageRecord>> {
        let answer: ListImagesResponse = self
            .call("ListImages", ImageRequest::default(), SHORT)
            .context("listing images")?;
        Ok(answer.images.into_iter().map(ImageRecord::from).collect())
    }

    /// Looks one image up.
    ///
    /// # Errors
    ///
    /// What containerd says.
    pub fn status(&self, name: &str) -> Result<Option<ImageRecord>> {
        let answer: ImageStatusResponse = self
            .call("ImageStatus", ImageRequest::named(name), SHORT)
            .with_context(|| format!("looking up {name}"))?;
        Ok(answer.image.map(ImageRecord::from))
    }

    fn call<Q, A>(&self, method: &str, request: Q, deadline: Duration) -> Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.ask("ImageService", method, request, deadline)
    }

    fn runtime<Q, A>(&self, method: &str, request: Q, deadline: Duration) -> Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.ask("RuntimeService", method, request, deadline)
    }

    fn ask<Q, A>(&self, service: &str, method: &str, request: Q, deadline: Duration) -> Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a runtime")?;
        let path = PathAndQuery::try_from(format!("/runtime.v1.{service}/{method}"))?;
        runtime.block_on(async {
            let call = async {
                let endpoint = Endpoint::from_shared(format!("unix://{}", self.socket.display()))?;
                let mut client = Grpc::new(endpoint.connect().await?);
                client.ready().await?;
                let codec = ProstCodec::<Q, A>::default();
                let answer = client
                    .unary(tonic::Request::new(request), path, codec)
                    .await?;
                anyhow::Ok(answer.into_inner())
            };
            tokio::time::timeout(deadline, call)
                .await
                .context("the deadline has passed")?
        })
    }
}

impl ImageRequest {
    fn named(name: &str) -> Self {
        Self {
            image: Some(ImageSpec {
                image: name.to_owned(),
            }),
        }
    }
}

impl From<Image> for ImageRecord {
    fn from(image: Image) -> Self {
        let Image {
            id,
            tags,
            digests,
            size,
        } = image;
        Self {
            id,
            tags,
            digests,
            size,
        }
    }
}
