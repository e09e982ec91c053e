//! The messages of `runtime.v1.ImageService` that are used, with the field numbers of its
//! `api.proto`. Fields that nobody reads here are left out.

/// `ImageSpec`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ImageSpec {
    #[prost(string, tag = "1")]
    pub(super) image: String,
}

/// `PullImageRequest`, `RemoveImageRequest` and `ImageStatusRequest`, which begin alike; without
/// the image also `ListImagesRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ImageRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) image: Option<ImageSpec>,
}

/// `PullImageResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PullImageResponse {
    #[prost(string, tag = "1")]
    pub(super) image_ref: String,
}

/// `RemoveImageResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Empty {}

/// `Image`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Image {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) tags: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub(super) digests: Vec<String>,
    #[prost(uint64, tag = "4")]
    pub(super) size: u64,
}

/// `ListImagesResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListImagesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) images: Vec<Image>,
}

/// `ImageStatusResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) image: Option<Image>,
}
