//! The calls of the Kubernetes API that signing takes.

use std::{io, path::PathBuf, time::Duration};

use bytes::Bytes;
use daemon::{
    access::{Need, explain},
    clock::Clock,
    https::{HttpsClient, HttpsError},
};
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::config::{ObjectName, PkiServe};

const DIAL: Duration = Duration::from_secs(3);
const DEADLINE: Duration = Duration::from_secs(8);
/// What the API says of an error, in a log.
const MOST_SAID: usize = 300;

/// The API. Clones share their connections.
#[derive(Debug, Clone)]
pub(super) struct Kubernetes {
    client: HttpsClient,
    url: String,
    token: PathBuf,
}

/// Why the API gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// This program's own token is not there.
    #[error("the token for the API of Kubernetes, {}, cannot be read", .0.display())]
    Token(PathBuf, #[source] io::Error),
    /// The call cannot be made.
    #[error("the call to the API of Kubernetes cannot be made")]
    Request(#[from] http::Error),
    /// No reply.
    #[error("the API of Kubernetes does not answer")]
    Call(#[from] HttpsError),
    /// It refuses.
    #[error("the API of Kubernetes answers {status} to {method} {path}: {message}")]
    Status {
        method: Method,
        path: String,
        status: StatusCode,
        message: String,
    },
    /// It answers something else.
    #[error("the API of Kubernetes answers no JSON")]
    Reply(#[source] serde_json::Error),
}

impl Kubernetes {
    pub(super) fn new(settings: &PkiServe, clock: Clock) -> Self {
        Self {
            client: HttpsClient::new(settings.api_ca.clone(), DIAL, clock),
            url: settings.api.clone(),
            token: settings.api_token.clone(),
        }
    }

    /// What the API says of a token that is to be for `audience`: the status of a `TokenReview`.
    pub(super) async fn review(&self, token: &str, audience: &str) -> Result<Value, ApiError> {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        });
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let (status, mut reply) = self.call(Method::POST, path, Some(&review)).await?;
        if !status.is_success() {
            return Err(refused(Method::POST, path, status, &reply));
        }
        Ok(reply["status"].take())
    }

    pub(super) async fn pod(&self, pod: &ObjectName) -> Result<Option<Value>, ApiError> {
        let ObjectName { namespace, name } = pod;
        self.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}"))
            .await
    }

    pub(super) async fn node(&self, name: &str) -> Result<Option<Value>, ApiError> {
        self.get(&format!("/api/v1/nodes/{name}")).await
    }

    /// The object at a path; `None` where there is none.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Value>, ApiError> {
        let (status, reply) = self.call(Method::GET, path, None).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => Ok(Some(reply)),
            _ => Err(refused(Method::GET, path, status, &reply)),
        }
    }

    /// Replaces an object by what was made of the one that was read. `false` where it has changed since.
    pub(super) async fn replace(&self, path: &str, object: &Value) -> Result<bool, ApiError> {
        let (status, reply) = self.call(Method::PUT, path, Some(object)).await?;
        match status {
            StatusCode::CONFLICT => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(refused(Method::PUT, path, status, &reply)),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), ApiError> {
        // It is replaced within the hour.
        let token = tokio::fs::read_to_string(&self.token).await;
        let token = token.map_err(|error| {
            let why = explain(error, &self.token, Need::Read);
            ApiError::Token(self.token.clone(), why)
        })?;
        let body = body.map(|body| Bytes::from(body.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::AUTHORIZATION, format!("Bearer {}", token.trim()))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(body.unwrap_or_default())?;
        let reply = self.client.send(request, DEADLINE).await?;
        let status = reply.status;
        match serde_json::from_slice(&reply.body) {
            Ok(value) => Ok((status, value)),
            // Somebody in between may answer in words.
            Err(_) if !status.is_success() => Ok((status, Value::Null)),
            Err(error) => Err(ApiError::Reply(error)),
        }
    }
}

fn refused(method: Method, path: &str, status: StatusCode, reply: &Value) -> ApiError {
    let message = reply["message"].as_str().unwrap_or("nothing more");
    ApiError::Status {
        method,
        path: path.to_owned(),
        status,
        message: message.chars().take(MOST_SAID).collect(),
    }
}
