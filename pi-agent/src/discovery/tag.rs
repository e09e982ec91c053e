//! Tags that the nodes of a group resolve together: the server says who asks the registry.

use std::time::Duration;

use piccolo_api::{Key, RegistryWord, TagReply, TagRequest, path};

use super::{Discovery, Flavour, join::BUSY, servers::Heard};

impl Discovery {
    /// What to do about a tag of which a word of its registry is good for `max_age`; with `said`, tells
    /// what the registry said. `None` where no server answers that knows of it.
    pub(crate) async fn tag(
        &self,
        tag: &Key,
        max_age: Duration,
        said: Option<RegistryWord>,
        deadline: Duration,
    ) -> Option<TagReply> {
        let request = TagRequest {
            holder: self.0.here.get()?,
            group: self.0.group.clone(),
            tag: tag.to_string(),
            max_age_ms: u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX),
            said,
        };
        for server in self.0.servers.reachable() {
            if server.flavour() == Flavour::Go {
                return None;
            }
            let heard = server.post_patiently(path::TAG, &request, deadline).await;
            match heard {
                Heard::Reply(reply) if reply.status.is_success() => return server.read(&reply),
                // An older server, or one that takes this node for none.
                Heard::Reply(_) => return None,
                Heard::Busy => {
                    let wait_ms = u32::try_from(BUSY.as_millis()).unwrap_or(u32::MAX);
                    return Some(TagReply::Wait { wait_ms });
                }
                Heard::Nothing => {}
            }
        }
        None
    }
}
