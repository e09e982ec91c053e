//! Leaving: the server stops handing out this node.

use std::time::Duration;

use piccolo_api::{Holder, LeaveRequest, path};

use super::Discovery;

const LEAVE_DEADLINE: Duration = Duration::from_secs(1);

impl Discovery {
    pub(super) async fn say_goodbye(&self) {
        if let Some(holder) = self.0.here.get() {
            self.withdraw(holder).await;
        }
    }

    /// The server stops handing out `holder`. Gives whether one has answered.
    pub(super) async fn withdraw(&self, holder: Holder) -> bool {
        let request = LeaveRequest {
            host: holder.to_string(),
            group: self.0.group.clone(),
        };
        for server in self.0.servers.usable() {
            if server
                .post(path::LEAVE, &request, LEAVE_DEADLINE)
                .await
                .is_some()
            {
                return true;
            }
        }
        false
    }
}
