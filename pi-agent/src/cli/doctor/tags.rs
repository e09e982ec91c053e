//! Tags: whether one node asks the registry for all, and whether the server knows of that.

use std::time::Duration;

use daemon::client::JsonClient;
use http::StatusCode;
use piccolo_api::path;

use super::{Check, Verdict};
use crate::{config::Doctor, status::Status};

const DIAL: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(3);
const NAME: &str = "tags";

/// Nothing where this node does not share tags.
pub(super) async fn checks(settings: &Doctor, status: Option<&Status>) -> Option<Check> {
    let status = status.filter(|status| status.tags.shared)?;
    let own = status.servers.iter().map(|server| &server.url);
    let urls: Vec<_> = if settings.servers.server.is_empty() {
        own.collect()
    } else {
        settings.servers.server.iter().collect()
    };
    let mut older = None;
    for url in urls {
        match knows_tags(url).await {
            Some(true) => {
                let found = format!("shared, and {url} says which node asks the registry");
                return Some(Check::good(NAME, found));
            }
            Some(false) => older = older.or(Some(url)),
            // The check of the server says so.
            None => {}
        }
    }
    let url = older?;
    let found = format!(
        "to be shared, but {url} is of a release that knows nothing of it: every node asks"
    );
    let remedy = "update the server, or take --share-tags off";
    Some(Check::new(NAME, Verdict::Warning, found, remedy))
}

/// Whether a server has the call, as it says to another method; `None` where it does not answer.
async fn knows_tags(url: &str) -> Option<bool> {
    let url = format!("{url}{}", path::TAG);
    let reply = JsonClient::new(DIAL).get(&url, DEADLINE).await.ok()?;
    (!reply.status.is_server_error()).then_some(reply.status == StatusCode::METHOD_NOT_ALLOWED)
}
