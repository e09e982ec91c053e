//! Asking a running agent.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use daemon::client::JsonClient;

use crate::{config::Query, status::Status};

const DIAL: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(5);

/// The agent's status.
///
/// # Errors
/// When nobody answers, or another program does.
pub(super) async fn status(query: &Query) -> Result<Status> {
    let url = format!("http://{}/status", query.admin);
    let reply = JsonClient::new(DIAL)
        .get(&url, DEADLINE)
        .await
        .with_context(|| {
            format!(
                "no agent answers at {} (--admin names another address)",
                query.admin
            )
        })?;
    if !reply.status.is_success() {
        bail!("{url} answers {}: is that an agent?", reply.status);
    }
    reply
        .json()
        .with_context(|| format!("{url} does not answer as this agent would"))
}
