//! The agent's image with what the chart gives it and nothing of the host's: certificate authorities, name
//! servers, a root that can only be read.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use system_tests::chart::{Schema, render};
use system_tests::{APP, bed, images, node, pull, push_app};
use testbed::{Authority, Bed, Container, NameServer, Node, Pod, Release, get, wait_until};

use super::{ADMIN, SOON, manifest::Manifest};

/// Known to the name server alone.
const REGISTRY: &str = "tags.corp";
const SERVER: &str = "discovery.corp";
/// The registry's port with TLS.
const PORT: u16 = 5001;

/// A node whose agent is to ask a registry for tags, over TLS and by its name.
struct Place {
    authority: Authority,
    image: String,
    _names: NameServer,
    bed: Bed,
}

impl Place {
    fn new() -> Result<Self> {
        let mut bed = bed(Release::Installed, &[1])?;
        push_app(&bed)?;
        bed.start_server(&[])?;
        let authority = Authority::new(bed.run())?;
        let certificate = authority.certify(REGISTRY, &[bed.registry.address()])?;
        let run = bed.run().clone();
        bed.registry.serve_tls(&run, &certificate, PORT)?;
        let node = node(&bed, 0)?;
        node.containerd.prepare_pods()?;
        let image = images::import(node, "pi-agent")?;
        let names = [
            (REGISTRY, address(&bed.registry.url())?),
            (SERVER, address(&bed.server_url())?),
        ];
        let names = NameServer::start(&node.host.netns, &names)?;
        Ok(Self {
            authority,
            image,
            _names: names,
            bed,
        })
    }

    fn node(&self) -> Result<&Node> {
        node(&self.bed, 0)
    }

    /// Starts the agent's container as these values of the chart have it, beside what all need.
    fn start(&self, name: &str, tags: &Value, agent: &Value) -> Result<(Pod, Container)> {
        let mut values = json!({"agent": {"accounting": "off", "tags": {
            "resolve": true,
            "registryURLs": {"registry.test": format!("https://{REGISTRY}:{PORT}")},
        }}});
        merge(&mut values["agent"]["tags"], tags);
        merge(&mut values["agent"], agent);
        let rendered = render(&values, Schema::InForce)?.map_err(anyhow::Error::msg)?;
        let public = self.authority.public()?;
        // What the kubelet makes of a ConfigMap.
        let rendered = rendered.replace(
            "configMap: {name: piccolo-authorities}",
            &format!("hostPath: {{path: {}}}", public.display()),
        );
        let server = format!("http://{SERVER}:7789");
        let node = self.node()?;
        let manifest = Manifest::of(&rendered, node, &server, &self.image)?;
        // The agent is ready once containerd asks it first; the container that sees to that is not here.
        self.set_hosts(node)?;
        let cri = node.containerd.cri();
        let pod = Pod::start_with(self.bed.run(), &cri, name, &["127.0.0.1"])?;
        let agent = pod.run(&manifest.agent)?;
        let ready = wait_until("the agent's container to be ready", SOON, || {
            if let Some(code) = pod.exit_code(&agent)? {
                anyhow::bail!("it ended with {code}");
            }
            let answers = manifest.probes.readiness.answers(&node.host.netns);
            Ok(answers.then_some(()))
        });
        ready.with_context(|| format!("the agent's log:\n{}", agent.log()))?;
        Ok((pod, agent))
    }

    /// Has containerd go to the registry over TLS, too: the agent asks for tags whom containerd would ask, and
    /// does not have the file of the authority in its container.
    fn set_hosts(&self, node: &Node) -> Result<()> {
        let registry = format!(
            "https://{}",
            SocketAddr::new(self.bed.registry.address(), PORT)
        );
        let urls = [testbed::Agent::mirror_url(), registry];
        self.bed.set_hosts(&urls)?;
        let directory = node.containerd.hosts_directory();
        for place in fs::read_dir(directory)? {
            let file = place?.path().join("hosts.toml");
            let ca = format!("  ca = \"{}\"\n", self.authority.certificate().display());
            // The registry's table is the last one.
            fs::write(&file, fs::read_to_string(&file)? + &ca)?;
        }
        Ok(())
    }

    /// Pulls by tag, and gives by whose word the agent knew what that stands for.
    fn pull(&self, agent: &Container) -> Result<String> {
        let node = self.node()?;
        pull(node, APP).with_context(|| format!("the agent's log:\n{}", agent.log()))?;
        node.containerd.cri().remove(&Bed::image_name(APP))?;
        let metrics = get(&node.host.netns, ADMIN.parse()?, "/metrics")?.text();
        let name = "piccolo_agent_tags_resolved_total{source=\"";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let (source, _) = line
            .and_then(|line| line.split_once('"'))
            .context("no tag was asked for")?;
        Ok(source.to_owned())
    }
}

/// The address in a URL with a port.
fn address(url: &str) -> Result<IpAddr> {
    let (_, rest) = url.split_once("//").context("no URL")?;
    let (address, _) = rest.rsplit_once(':').context("no port")?;
    address.parse().context("no address")
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

#[test]
fn a_private_authority_is_a_value_of_the_chart() -> Result<()> {
    let place = Place::new()?;
    let pem = fs::read_to_string(place.authority.certificate())?;
    let (pod, agent) = place.start("given", &json!({ "caBundle": pem }), &json!({}))?;
    assert_eq!(place.pull(&agent)?, "registry", "{}", agent.log());
    // It found the server by its name, too, and has the authorities of the image.
    let log = agent.log();
    ensure!(!log.contains("\"level\":\"WARN\""), "{log}");
    ensure!(
        log.lines().all(|line| line.contains("Z\"")),
        "a time is not UTC:\n{log}"
    );
    let server = place.bed.server.as_ref().context("no server")?;
    wait_until("the server to have heard of the node", SOON, || {
        let metrics = server.metrics()?;
        Ok(metrics.contains("state=\"up\"} 1").then_some(()))
    })?;
    pod.stop(&agent)?;
    Ok(())
}

#[test]
fn the_nodes_authorities_can_be_mounted() -> Result<()> {
    let place = Place::new()?;
    let values = json!({
        "extraVolumes": [{"name": "trust", "hostPath": {"path": place.authority.public()?}}],
        "extraVolumeMounts": [{"name": "trust", "mountPath": "/trust", "readOnly": true}],
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/trust/ca.crt"}],
    });
    let (pod, agent) = place.start("mounted", &json!({}), &values)?;
    assert_eq!(place.pull(&agent)?, "registry", "{}", agent.log());
    pod.stop(&agent)?;
    Ok(())
}

#[test]
fn without_the_authority_the_agent_works_and_containerd_asks() -> Result<()> {
    let place = Place::new()?;
    let (pod, agent) = place.start("without", &json!({}), &json!({}))?;
    let log = agent.log();
    assert_eq!(place.pull(&agent)?, "nobody", "{log}");
    // The image has public authorities of its own.
    ensure!(
        !log.contains("no certificate authorities are found"),
        "{log}"
    );
    assert_eq!(pod.stop(&agent)?, 0, "{log}");
    // One that is named and is not there is told of, and is no reason to end either.
    let missing = json!({"extraEnv": [{"name": "PI_AGENT_REGISTRY_CA", "value": "/none/ca.crt"}]});
    let (pod, agent) = place.start("missing", &json!({}), &missing)?;
    let log = agent.log();
    ensure!(log.contains("/none does not exist"), "{log}");
    assert_eq!(place.pull(&agent)?, "nobody", "{log}");
    pod.stop(&agent)?;
    Ok(())
}
