//! The cases, in the order in which they are played. Each brings the chart to where it begins, so
//! that it can be played alone.

use anyhow::Result;

use super::stage::Stage;

mod installing;
mod outages;
mod restarts;
mod tls;
mod values;

/// One thing that the chart is to do.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Returns the measurements as text.
    pub(super) run: fn(&mut Stage) -> Result<Vec<String>>,
}

const fn case(name: &'static str, run: fn(&mut Stage) -> Result<Vec<String>>) -> Case {
    Case { name, run }
}

pub(super) const CASES: &[Case] = &[
    case("install", installing::install),
    case("mode-privileged", installing::privileged),
    case("mode-capabilities", installing::capabilities),
    case("mode-off", installing::off),
    case("pull", installing::pull),
    case("roll-out", restarts::roll_out),
    case("container-killed", restarts::killed),
    case("liveness", restarts::frozen),
    case("file-rewritten", restarts::file_rewritten),
    case("value-registries", values::registries),
    case("value-tags", values::tags),
    case("value-tag-urls", values::tag_urls),
    case("value-extras", values::extras),
    case("value-private", values::private),
    case("value-deny", values::deny),
    case("value-distribution", values::distribution),
    case("value-topology", values::topology),
    case("value-node-cidrs", values::node_cidrs),
    case("value-monitoring", values::monitoring),
    case("value-servers", values::servers),
    case("tls", tls::issued),
    case("bridge-address", outages::bridge_address),
    case("server-away", outages::server_away),
    case("power-cut", outages::power_cut),
    case("uninstall-in-steps", installing::uninstall_in_steps),
    case("uninstall", installing::uninstall),
];
