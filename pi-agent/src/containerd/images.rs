//! The images of a namespace: names that point at content.

use containerd_client::services::v1::{
    self as api, GetImageRequest, ListImagesRequest, images_client::ImagesClient,
};

use super::{Containerd, ContainerdError, MAX_REPLY, Namespace, found, within};
use crate::digest::Digest;

/// An image record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name: a reference, or a bare digest, which the CRI plugin adds for the kubelet.
    pub name: String,
    /// What the name points at.
    pub target: Digest,
    /// The media type that the record gives to the target.
    pub media_type: String,
}

impl Containerd {
    /// All images of a namespace. Those whose target has no registered digest are left out: no
    /// peer could ask for them.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub async fn images(&self, namespace: &Namespace) -> Result<Vec<Image>, ContainerdError> {
        let request = namespace.request(ListImagesRequest::default());
        let reply = within(self.images_client().list(request)).await?;
        Ok(reply.images.into_iter().filter_map(image).collect())
    }

    /// One image by its name.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub async fn image(
        &self,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Option<Image>, ContainerdError> {
        let request = namespace.request(GetImageRequest {
            name: name.to_owned(),
        });
        let reply = found(within(self.images_client().get(request)).await)?;
        Ok(reply.and_then(|reply| reply.image).and_then(image))
    }

    fn images_client(&self) -> ImagesClient<containerd_client::tonic::transport::Channel> {
        ImagesClient::new(self.channel()).max_decoding_message_size(MAX_REPLY)
    }
}

fn image(image: api::Image) -> Option<Image> {
    let target = image.target?;
    Some(Image {
        name: image.name,
        target: target.digest.parse().ok()?,
        media_type: target.media_type,
    })
}
