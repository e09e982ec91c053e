//! The API of the control plane, through `kubectl proxy`, which adds the credentials and TLS.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::http::{Answer, Request, send};
use crate::netns::Netns;

/// Asks as an administrator.
#[derive(Clone, Debug)]
pub struct Api {
    netns: Netns,
    address: SocketAddr,
}

impl Api {
    pub(super) fn new(netns: &Netns, address: SocketAddr) -> Self {
        Self {
            netns: netns.clone(),
            address,
        }
    }

    /// Gets an object or a list.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not answer.
    pub fn get(&self, path: &str) -> Result<Value> {
        let found = self.find(path)?;
        found.with_context(|| format!("Kubernetes has no {path}"))
    }

    /// Gets an object if there is one.
    ///
    /// # Errors
    ///
    /// When there is no answer, or the answer is a refusal.
    pub fn find(&self, path: &str) -> Result<Option<Value>> {
        let answer = self.ask("GET", path, None)?;
        if answer.status == 404 {
            return Ok(None);
        }
        parse(&answer, path).map(Some)
    }

    /// Gets a page that is no object: `/readyz`, the log of a container.
    ///
    /// # Errors
    ///
    /// When there is no answer, or the answer is a refusal.
    pub fn text(&self, path: &str) -> Result<String> {
        let answer = self.ask("GET", path, None)?;
        ensure!(answer.status == 200, "{path}: {}", answer.text());
        Ok(answer.text())
    }

    /// Adds an object to the list at `path`.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let answer = self.ask("POST", path, Some(("application/json", object)))?;
        parse(&answer, path)
    }

    /// Changes the fields of an object that `patch` names.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn patch(&self, path: &str, patch: &Value) -> Result<Value> {
        let body = Some(("application/merge-patch+json", patch));
        parse(&self.ask("PATCH", path, body)?, path)
    }

    /// Deletes an object, at once where it would be given time to end; none is fine.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn delete(&self, path: &str) -> Result<()> {
        let answer = self.ask("DELETE", &format!("{path}?gracePeriodSeconds=0"), None)?;
        ensure!(
            matches!(answer.status, 200 | 202 | 404),
            "deleting {path}: {}",
            answer.text()
        );
        Ok(())
    }

    fn ask(&self, method: &str, target: &str, body: Option<(&str, &Value)>) -> Result<Answer> {
        let (kind, body) = match body {
            Some((kind, body)) => (kind, body.to_string()),
            None => ("application/json", String::new()),
        };
        let request = Request {
            method,
            target,
            headers: &[("Content-Type", kind), ("Accept", "application/json, */*")],
        };
        let length = u64::try_from(body.len())?;
        send(
            &self.netns,
            self.address,
            request,
            &mut body.as_bytes(),
            length,
        )
    }
}

fn parse(answer: &Answer, path: &str) -> Result<Value> {
    ensure!(
        (200..300).contains(&answer.status),
        "{path}: {}",
        answer.text()
    );
    serde_json::from_slice(&answer.body).with_context(|| format!("parsing {path}"))
}
