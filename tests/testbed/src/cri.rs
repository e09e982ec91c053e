//! A client for containerd's CRI services, as the kubelet is one.
//!
//! Unix sockets are not bound to network namespaces: the client stays where it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

mod pods;
mod runtime {
    //! What `build.rs` generates from `proto/cri.proto`.
    #![allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::pedantic,
        unreachable_pub,
        reason = "the generator's code, not ours"
    )]
    tonic::include_proto!("runtime.v1");
}

pub use pods::{Container, ContainerSpec, Executed, MountSpec, Pod, Rights};

use runtime::image_service_client::ImageServiceClient;
use runtime::{
    AuthConfig, Image, ImageSpec, ImageStatusRequest, ListImagesRequest, PullImageRequest,
    RemoveImageRequest,
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
        self.pull_with(name, None, deadline)
    }

    /// The same with the name and the password of a pull secret.
    ///
    /// # Errors
    ///
    /// What containerd says, or that the deadline passed.
    pub fn pull_as(
        &self,
        name: &str,
        (user, password): (&str, &str),
        deadline: Duration,
    ) -> Result<String> {
        let auth = AuthConfig {
            username: user.to_owned(),
            password: password.to_owned(),
        };
        self.pull_with(name, Some(auth), deadline)
    }

    fn pull_with(
        &self,
        name: &str,
        auth: Option<AuthConfig>,
        deadline: Duration,
    ) -> Result<String> {
        let image = Some(named(name));
        let answer = self
            .call(deadline, async |channel| {
                let mut images = ImageServiceClient::new(channel);
                images.pull_image(PullImageRequest { image, auth }).await
            })
            .with_context(|| format!("pulling {name}"))?;
        Ok(answer.image_ref)
    }

    /// Removes an image by one of its names; all its names go.
    ///
    /// # Errors
    ///
    /// What containerd says.
    pub fn remove(&self, name: &str) -> Result<()> {
        let image = Some(named(name));
        self.call(SHORT, async |channel| {
            let mut images = ImageServiceClient::new(channel);
            images.remove_image(RemoveImageRequest { image }).await
        })
        .with_context(|| format!("removing {name}"))
        .map(drop)
    }

    /// Gives the images there are.
    ///
    /// # Errors
    ///
    /// What containerd says.
    pub fn list(&self) -> Result<Vec<ImageRecord>> {
        let answer = self
            .call(SHORT, async |channel| {
                let mut images = ImageServiceClient::new(channel);
                images.list_images(ListImagesRequest {}).await
            })
            .context("listing images")?;
        Ok(answer.images.into_iter().map(ImageRecord::from).collect())
    }

    /// Looks one image up.
    ///
    /// # Errors
    ///
    /// What containerd says.
    pub fn status(&self, name: &str) -> Result<Option<ImageRecord>> {
        let image = Some(named(name));
        let answer = self
            .call(SHORT, async |channel| {
                let mut images = ImageServiceClient::new(channel);
                images.image_status(ImageStatusRequest { image }).await
            })
            .with_context(|| format!("looking up {name}"))?;
        Ok(answer.image.map(ImageRecord::from))
    }

    /// Connects, and makes one call of at most `deadline`.
    fn call<A>(
        &self,
        deadline: Duration,
        call: impl AsyncFnOnce(Channel) -> Result<Response<A>, Status>,
    ) -> Result<A> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a runtime")?;
        runtime.block_on(async {
            let called = async {
                let endpoint = Endpoint::from_shared(format!("unix://{}", self.socket.display()))?;
                let answer = call(endpoint.connect().await?).await?;
                anyhow::Ok(answer.into_inner())
            };
            tokio::time::timeout(deadline, called)
                .await
                .context("the deadline has passed")?
        })
    }
}

fn named(name: &str) -> ImageSpec {
    ImageSpec {
        image: name.to_owned(),
    }
}

impl From<Image> for ImageRecord {
    fn from(image: Image) -> Self {
        let Image {
            id,
            repo_tags,
            repo_digests,
            size,
        } = image;
        Self {
            id,
            tags: repo_tags,
            digests: repo_digests,
            size,
        }
    }
}
