//! How to look at a demo that was kept.

use anyhow::{Context as _, Result};
use testbed::{Bed, binary};

/// Commands to copy.
pub(super) fn how(bed: &Bed) -> Result<String> {
    let node = bed.nodes.first().context("a bed without nodes")?;
    let enter = |name: &str| format!("nsenter --net=/run/netns/{name}");
    let agent = binary("pi-agent")?;
    let fabric = format!("{}-fabric", bed.run().name());
    Ok(format!(
        "Everything goes on running. As root:
  an agent        {inside} {agent} status
  its metrics     {inside} curl -s http://127.0.0.1:7786/metrics
  another pull    remove the image on one node, then pull it again:
                  ctr -a {socket} -n k8s.io images ls
  the links       tc -n {fabric} -s qdisc
  the logs        ls {logs}/*.log
  the other nodes ip netns list
To end it all:
  cargo xtask sweep",
        inside = enter(node.host.netns.name()),
        agent = agent.display(),
        socket = node.containerd.socket().display(),
        logs = bed.run().directory().display(),
    ))
}
