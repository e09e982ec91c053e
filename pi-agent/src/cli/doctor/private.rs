//! Private images: which are left to their registries; and whether the mirror's port is kept from others, who
//! would be sent the registries' passwords in its place.

use std::fs;

use super::{Check, Verdict};
use crate::status::Status;

/// The first port that takes no capability.
const UNPRIVILEGED: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Nothing where no agent runs.
pub(super) fn checks(status: Option<&Status>) -> Vec<Check> {
    let Some(status) = status else {
        return Vec::new();
    };
    let from = fs::read_to_string(UNPRIVILEGED).ok();
    let from = from.and_then(|text| text.trim().parse().ok());
    let port = from.and_then(|from| of_port(status.addresses.mirror.port(), from));
    let private = &status.tags.private;
    let private = (!private.is_empty()).then(|| {
        let found = format!(
            "manifests of {} come from their registries; {} were asked for",
            private.join(", "),
            status.mirror.private
        );
        Check::good("private", found)
    });
    private.into_iter().chain(port).collect()
}

/// Whether anybody can take the mirror's port while the agent is away; ports from `from` on are anybody's.
fn of_port(port: u16, from: u16) -> Option<Check> {
    if port >= 1024 || port < from {
        return None;
    }
    let found = format!(
        "any process can take the mirror's port {port} while the agent is away, and be sent registries' \
         passwords: net.ipv4.ip_unprivileged_port_start is {from}"
    );
    let remedy = format!(
        "sysctl -w net.ipv4.ip_unprivileged_port_start={}, or more; see docs/security.md",
        port + 1
    );
    Some(Check::new("mirror port", Verdict::Warning, found, remedy))
}

#[cfg(test)]
mod tests {
    use super::of_port;

    #[test]
    fn a_port_that_is_anybodys_is_told_of_where_it_should_not_be() {
        assert!(of_port(288, 1024).is_none());
        assert!(of_port(288, 289).is_none());
        assert!(of_port(7788, 0).is_none(), "as was asked for");
        let told = of_port(288, 80).unwrap();
        assert!(told.found.contains("is 80") && told.remedy.contains("=289"));
    }
}
