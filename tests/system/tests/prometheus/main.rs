//! A real Prometheus scrapes a small cluster, with our rules in force; every query of the dashboard
//! and of the rules returns data.

mod queries;
mod server;

use std::time::Duration;

use anyhow::{Context, Result};
use system_tests::{APP, bed, node, pull, push_app};
use testbed::{Agent, Bed, ImageSpec, Release, wait_until};

use queries::{dashboard, rules};
use server::Prometheus;

/// Agents report what they measured every thirty seconds.
const REPORTED: Duration = Duration::from_secs(90);
const OTHER: &str = "lib/other:v1";

#[test]
fn every_query_returns_data() -> Result<()> {
    let mut bed = bed(Release::Installed, &[1, 2])?;
    bed.start_server(&[])?;
    bed.start_agents(&["--admin-listen=0.0.0.0:7786"])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    let prometheus = Prometheus::start(&mut bed)?;
    use_it(&mut bed)?;

    let mut queries = dashboard()?;
    queries.extend(rules()?);
    assert!(queries.len() > 40, "only {} queries", queries.len());
    for query in &queries {
        wait_until(&format!("data for {query}"), REPORTED, || {
            Ok(prometheus.has_data(query)?.then_some(()))
        })?;
    }
    prometheus.rules_are_healthy()?;
    // And not only data, but the data that is to be there.
    for query in [
        "sum(piccolo_agent_mirror_bytes_total{source=\"peer\"}) > 4e6",
        "count(piccolo_agent_blobs) == 2",
        "sum(up{job=\"piccolo-agent\"} == bool 0) == 1",
        "piccolo_server_bandwidth_pairs >= 1",
    ] {
        assert!(prometheus.has_data(query)?, "{query} does not hold");
    }
    Ok(())
}

/// Pulls through peers in one rack and across racks, and past a peer that is gone.
fn use_it(bed: &mut Bed) -> Result<()> {
    let image = push_app(bed)?;
    pull(node(bed, 0)?, APP)?;
    bed.wait_until_shared(&image)?;
    pull(node(bed, 1)?, APP)?;
    pull(node(bed, 2)?, APP)?;

    let other = ImageSpec::small("other").build()?;
    bed.registry.push(&other, OTHER)?;
    pull(node(bed, 0)?, OTHER)?;
    bed.wait_until_shared(&other)?;
    let first = bed.nodes.first_mut().context("no first node")?;
    first.agent.take().context("no agent")?.kill();
    pull(node(bed, 1)?, OTHER)
}
