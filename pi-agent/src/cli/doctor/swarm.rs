//! Flash crowds: whether this node takes part in them, and whether the server does.

use std::time::Duration;

use daemon::client::JsonClient;
use piccolo_api::{MessageReply, path};

use super::Check;
use crate::{config::Doctor, content::Access, status::Status};

const DIAL: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(3);
const NAME: &str = "swarm";

/// What a server makes of crowds.
enum Stance {
    On,
    Off,
    Older,
    Away,
}

pub(super) async fn checks(settings: &Doctor, status: Option<&Status>) -> Option<Check> {
    let status = status?;
    if !status.swarm.on {
        let found = "off (--swarm off): where nobody has an image, this node asks the registry";
        return Some(Check::good(NAME, found));
    }
    if status.content.access == Access::Grpc {
        let found = "on, but this node takes no part: it reads containerd's content over gRPC";
        return Some(Check::good(NAME, found));
    }
    let own = status.servers.iter().map(|server| server.url.as_str());
    let named = settings.servers.server.iter().map(String::as_str);
    let urls: Vec<_> = if settings.servers.server.is_empty() {
        own.collect()
    } else {
        named.collect()
    };
    let mut checked = None;
    for url in urls {
        let found = match stance(url, &status.group).await {
            Stance::On => return Some(Check::good(NAME, format!("on, and {url} decides"))),
            // Either is the operator's choice, and pulls go as without crowds.
            Stance::Off => {
                format!("on here, but off at {url} (--swarm off): every node asks the registry")
            }
            Stance::Older => format!(
                "on here, but {url} is of a release that knows no crowds: every node asks the registry"
            ),
            // The check of the server says so.
            Stance::Away => continue,
        };
        checked.get_or_insert_with(|| Check::good(NAME, found));
    }
    checked
}

/// Asks for the crowd of a key that nobody fetches.
async fn stance(url: &str, group: &str) -> Stance {
    let url = format!("{url}{}?key=doctor&group={group}", path::SWARM);
    let Ok(reply) = JsonClient::new(DIAL).get(&url, DEADLINE).await else {
        return Stance::Away;
    };
    let said: Option<MessageReply> = reply.json().ok();
    let said = said.map(|reply| reply.message).unwrap_or_default();
    if reply.status.is_success() || said.starts_with("nobody fetches") {
        Stance::On
    } else if said.contains("--swarm off") {
        Stance::Off
    } else if reply.status.is_server_error() {
        Stance::Away
    } else {
        Stance::Older
    }
}
