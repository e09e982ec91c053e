//! An upgrade with each value of the table in docs/install.md. `agent.accounting` is a mode of its
//! own.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testbed::{KubePaths, SqlServer, get, wait_until};

use super::super::objects;
use super::super::operator::names_agent;
use super::super::stage::{By, Stage};
use super::installing::{EVERY_REGISTRY, NAMED};

const REGISTRY: &str = "registry.test";
const SERVER_API: u16 = 7789;
const SERVER_ADMIN: u16 = 7790;
/// A find of a group that is not served where groups are named.
const OTHER_GROUP: &str = "/api/v1/distribution/findkey?group=other&key=x";
const AGENT_ADMIN: u16 = 7786;
const SOON: Duration = Duration::from_mins(1);

pub(super) fn registries(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&["agent.hosts.registries={docker.io,registry.test}"])?;
    for node in 0..2 {
        let agent = stage.agent(node)?;
        for registry in ["docker.io", REGISTRY] {
            agent.wait_until_named(registry, NAMED)?;
        }
        let has_default = names_agent(stage.node(node)?, EVERY_REGISTRY);
        ensure!(!has_default, "other registries lead to the agent, too");
    }
    let shared = stage.check_sharing()?;
    stage.have(&[])?;
    for node in 0..2 {
        stage.agent(node)?.wait_until_named(EVERY_REGISTRY, NAMED)?;
        ensure!(!names_agent(stage.node(node)?, REGISTRY), "one is left");
    }
    Ok(vec![shared])
}

pub(super) fn tags(stage: &mut Stage) -> Result<Vec<String>> {
    let authority = fs::read_to_string(stage.cluster.authority()).context("the authority")?;
    let tags = json!({"resolve": true, "caBundle": authority});
    let file = values_file(stage, "tags", &json!({"agent": {"tags": tags}}))?;
    tags_with(stage, &[&file])
}

pub(super) fn tag_urls(stage: &mut Stage) -> Result<Vec<String>> {
    let url = stage.cluster.registry.url();
    let urls = format!("agent.tags.registryURLs.registry\\.test={url}");
    tags_with(stage, &["agent.tags.resolve=true", &urls])
}

/// The authorities that the node trusts, mounted, in the place of the image's own.
pub(super) fn extras(stage: &mut Stage) -> Result<Vec<String>> {
    let mounted = "/etc/authorities-of-the-node";
    let bundle = format!("{mounted}/ca-certificates.crt");
    let agent = json!({
        "tags": {"resolve": true},
        "extraArgs": ["--tag-ttl=5"],
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": bundle}],
        "extraVolumes": [{"name": "node", "hostPath": {"path": "/etc/ssl/certs"}}],
        "extraVolumeMounts": [{"name": "node", "mountPath": mounted, "readOnly": true}],
    });
    let elsewhere = "/srv/piccolo";
    let server = json!({
        "extraArgs": [format!("--database=sqlite:{elsewhere}/other.sqlite")],
        "extraEnv": [{"name": "PICCOLO_GROUPS", "value": "default"}],
        "extraVolumes": [{"name": "other", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "other", "mountPath": elsewhere}],
    });
    let values = json!({"agent": agent, "server": server});
    let file = values_file(stage, "extras", &values)?;
    let shared = tags_with(stage, &[&file])?;
    // Its root is read-only, so that it has its database on the volume, or does not start.
    let status = stage.server(SERVER_API, OTHER_GROUP)?.status;
    ensure!(
        status != 404,
        "the server's environment is not as set: it looks for other groups' keys"
    );
    Ok(shared)
}

/// What is kept back comes from the registry on each node.
pub(super) fn deny(stage: &mut Stage) -> Result<Vec<String>> {
    for value in [
        "agent.deny={registry.test/lib/*}",
        "agent.allow={registry.test/public/*}",
    ] {
        stage.have(&[value])?;
        let pushed = stage.push_new()?;
        for node in 0..2 {
            let pulled = stage.pull(node, &pushed, By::Tag)?;
            let came = pulled.check_it_came_from_the_registry();
            came.with_context(|| format!("with {value}"))?;
        }
    }
    stage.have(&[])?;
    Ok(vec![stage.check_sharing()?])
}

/// The registry gives the manifests on each node, and a node the layers to the other one.
pub(super) fn private(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&["agent.private={registry.test/lib/*}"])?;
    let pushed = stage.push_new()?;
    stage.pull(0, &pushed, By::Tag)?;
    stage.wait_until_layers_are_shared(&pushed)?;
    let pulled = stage.pull(1, &pushed, By::Digest)?;
    pulled.check_only_manifests_were_asked()?;
    stage.have(&[])?;
    Ok(vec![stage.check_sharing()?])
}

/// The nodes become ones of K3s, none of whose paths is the usual one, and then what they were.
pub(super) fn distribution(stage: &mut Stage) -> Result<Vec<String>> {
    const NAME: &str = "k3s";
    let paths = stage.paths_of(NAME)?;
    stage.cluster.move_containerd(&paths)?;
    let shared = share_as(stage, NAME);
    stage.cluster.move_containerd(&KubePaths::default())?;
    stage.have(&[])?;
    shared.map(|shared| vec![shared])
}

fn share_as(stage: &mut Stage, distribution: &str) -> Result<String> {
    stage.have(&[&format!("agent.containerd.distribution={distribution}")])?;
    for node in 0..2 {
        stage.agent(node)?.wait_until_named(EVERY_REGISTRY, NAMED)?;
    }
    stage.check_sharing()
}

/// Writes a file of values, and names it as [`Stage::have`] wants it.
fn values_file(stage: &Stage, name: &str, values: &Value) -> Result<String> {
    let file = stage.cluster.run().directory().join(format!("{name}.yaml"));
    fs::write(&file, values.to_string()).context("writing values")?;
    Ok(format!("@{}", file.display()))
}

/// Tags are the agents' to answer: containerd asks the registry for nothing. The agent asks where
/// the tag leads.
fn tags_with(stage: &mut Stage, values: &[&str]) -> Result<Vec<String>> {
    stage.have(values)?;
    for node in 0..2 {
        stage.agent(node)?.wait_until_named(EVERY_REGISTRY, NAMED)?;
    }
    let pushed = stage.share_from_first()?;
    let pulled = stage.pull(1, &pushed, By::Tag)?;
    pulled.check_only_the_tag_was_asked()?;
    let seconds = pulled.time.as_secs_f64();
    Ok(vec![format!("by tag from a peer in {seconds:.1} s")])
}

pub(super) fn topology(stage: &mut Stage) -> Result<Vec<String>> {
    let racks = (1..=2).map(|rack| {
        let (name, cidr) = (format!("rack{rack}"), format!("198.18.{rack}.0/24"));
        json!({"name": name, "kind": "rack", "cidrs": [cidr], "uplink": "10Gbit"})
    });
    let topology = json!({"version": 1, "tree": racks.collect::<Vec<_>>()});
    let values = json!({"server": {"topology": topology}});
    let file = values_file(stage, "topology", &values)?;
    stage.have(&[&file])?;
    wait_until("the server to know where its nodes stand", SOON, || {
        let answer = stage.server(SERVER_ADMIN, "/metrics")?;
        let metrics = answer.text();
        let value = |name: &str| {
            let mut lines = metrics.lines();
            lines.find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
        };
        let unknown = value("piccolo_server_unknown_addresses ");
        let refused = value("piccolo_server_topology_file_refused ");
        Ok((unknown == Some(0.0) && refused == Some(0.0)).then_some(()))
    })?;
    Ok(vec![stage.check_sharing()?])
}

pub(super) fn monitoring(stage: &mut Stage) -> Result<Vec<String>> {
    let has_kinds = stage.version().takes_custom_objects();
    if has_kinds {
        define_monitoring_kinds(stage)?;
    }
    stage.have(&["monitoring.enabled=true"])?;
    for node in 0..2 {
        // Prometheus is elsewhere.
        let address = SocketAddr::new(stage.node(node)?.host().address, AGENT_ADMIN);
        let page = get(stage.cluster.control.netns(), address, "/metrics")?;
        ensure!(page.status == 200, "an agent's metrics: {}", page.status);
    }
    let kinds = if has_kinds {
        "configmaps,podmonitors,prometheusrules"
    } else {
        "configmaps"
    };
    let found =
        stage
            .cluster
            .control
            .kubectl(&["-n", objects::NAMESPACE, "get", kinds, "-o", "name"])?;
    let of_release = found.lines().filter(|name| name.contains("/piccolo"));
    let wanted = if has_kinds { 4 } else { 1 };
    ensure!(of_release.count() == wanted, "there are: {found}");
    let shared = stage.check_sharing()?;
    stage.have(&[])?;
    Ok(vec![shared])
}

/// What the Prometheus operator would bring.
fn define_monitoring_kinds(stage: &Stage) -> Result<()> {
    for (kind, plural) in [
        ("PodMonitor", "podmonitors"),
        ("PrometheusRule", "prometheusrules"),
    ] {
        let name = format!("{plural}.monitoring.coreos.com");
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let api = stage.cluster.api();
        if api.find(&format!("{path}/{name}"))?.is_none() {
            api.create(path, &objects::monitoring_kind(kind, plural))?;
        }
        let list = format!("/apis/monitoring.coreos.com/v1/{plural}");
        wait_until("Kubernetes to know a kind", SOON, || api.find(&list))?;
    }
    Ok(())
}

/// The nodes' own networks, by which neither side may refuse a node.
pub(super) fn node_cidrs(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&["nodeCidrs={198.18.0.0/15,fd00::/8}"])?;
    let shared = stage.check_sharing()?;
    stage.have(&[])?;
    Ok(vec![shared])
}

pub(super) fn servers(stage: &mut Stage) -> Result<Vec<String>> {
    let host = stage.cluster.add_host("database")?;
    let (database, url) = SqlServer::serve(stage.cluster.run(), &host)?;
    let path = format!("/api/v1/namespaces/{}/secrets", objects::NAMESPACE);
    let secret = objects::secret("piccolo-database", "url", &url);
    stage.cluster.api().create(&path, &secret)?;
    stage.have(&[
        "server.replicas=2",
        "server.database.secret=piccolo-database",
    ])?;
    let servers = stage.pods_of("server")?.len();
    ensure!(servers == 2, "{servers} servers run");
    let shared = stage.check_sharing()?;
    stage.have(&[])?;
    stage
        .cluster
        .api()
        .delete(&format!("{path}/piccolo-database"))?;
    database.kill();
    Ok(vec![shared])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// What the cases here, and the modes, upgrade with.
    const TRIED: [&str; 23] = [
        "agent.accounting",
        "agent.hosts.registries",
        "agent.tags.resolve",
        "agent.tags.registryURLs",
        "agent.tags.caBundle",
        "agent.private",
        "agent.deny",
        "agent.allow",
        "agent.containerd.distribution",
        "agent.extraArgs",
        "agent.extraEnv",
        "agent.extraVolumes",
        "agent.extraVolumeMounts",
        "server.extraArgs",
        "server.extraEnv",
        "server.extraVolumes",
        "server.extraVolumeMounts",
        "server.replicas",
        "server.database.secret",
        "server.topology",
        "monitoring.enabled",
        "monitoring.tokenSecret",
        "nodeCidrs",
    ];

    #[test]
    fn each_value_of_the_page_is_tried() {
        let page = include_str!("../../../../docs/install.md");
        let table = page
            .split_once("| to | set |")
            .expect("a table of values")
            .1;
        let rows = table
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with('|'));
        let words = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
        let words = words.filter_map(|word| word.rsplit(' ').next());
        let values = words.filter_map(|word| word.split('=').next());
        let is_value = |word: &&str| {
            ["agent.", "server.", "monitoring.", "nodeCidrs"]
                .iter()
                .any(|part| word.starts_with(part))
        };
        let named: BTreeSet<_> = values.filter(is_value).collect();
        assert_eq!(named, BTreeSet::from(TRIED));
    }
}
