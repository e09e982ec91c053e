//! The server's image as the chart runs it: user 65532, no capability, a root that can only be read, and
//! its own probes and hook.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use system_tests::chart::{Schema, render};
use system_tests::{bed, images, node};
use testbed::{Bed, Container, ContainerSpec, Node, Pod, Release, STRANGER, wait_until};

use super::{SOON, manifest::ServerPod};

const STATE: &str = "/var/lib/piccolo-server";
pub(crate) const ADMIN: &str = "127.0.0.1:7790";

/// The pod of the chart's defaults, with a directory of the node in the place of its volume.
fn chart(node: &Node, image: &str, state: &Path) -> Result<ServerPod> {
    let rendered = render(&json!({}), Schema::InForce)?.map_err(anyhow::Error::msg)?;
    let claim = "persistentVolumeClaim: {claimName: piccolo-server}";
    ensure!(rendered.contains(claim), "no {claim:?} in the chart");
    let state = format!("hostPath: {{path: {}}}", state.display());
    ServerPod::of(&rendered.replace(claim, &state), node, image)
}

/// Bytes of memory that are little for [`FLOOD`] connections.
const LITTLE: i64 = 64 << 20;
const FLOOD: usize = 5000;

/// A node and an empty pod on it, with what the server's image is called there, and a directory for its state.
fn prepare() -> Result<(Bed, Pod, String, PathBuf)> {
    let bed = bed(Release::Installed, &[1])?;
    let node = node(&bed, 0)?;
    node.containerd.prepare_pods()?;
    let image = images::import(node, "piccolo-server")?;
    let pod = Pod::start(bed.run(), &node.containerd.cri(), "server")?;
    let state = bed.run().make_directory("state")?;
    Ok((bed, pod, image, state))
}

fn named(name: &str, container: &ContainerSpec) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        ..container.clone()
    }
}

#[test]
fn its_state_directory_is_its_own_or_it_says_whose() -> Result<()> {
    let (bed, pod, image, state) = prepare()?;
    let node = node(&bed, 0)?;
    fs::set_permissions(&state, Permissions::from_mode(0o755))?;
    let charted = chart(node, &image, &state)?;
    assert_eq!(charted.container.rights.user, i64::from(STRANGER));

    chown(&state, Some(0), Some(0)).context("giving the directory away")?;
    let denied = format!(
        "user {STRANGER} of group {STRANGER} may not make files in {STATE}, which belongs to 0:0 with mode 0755"
    );
    ends_with(&pod, &named("foreign", &charted.container), &denied)?;
    let mut bare = named("bare", &charted.container);
    bare.mounts.clear();
    let read_only = format!("{STATE} is mounted read-only");
    ends_with(&pod, &bare, &read_only)?;

    chown(&state, Some(STRANGER), Some(STRANGER)).context("giving the directory away")?;
    let server = pod.run(&charted.container)?;
    is_ready(&bed, &pod, &server, &charted)?;
    ensure!(
        state.join("piccolo.sqlite").exists(),
        "it keeps its state elsewhere"
    );
    ends_in_time(node, &pod, &server, &charted)
}

/// Without a bound the flood takes twice the memory that there is.
#[test]
fn a_flood_of_connections_does_not_have_it_killed() -> Result<()> {
    let (bed, pod, image, state) = prepare()?;
    let node = node(&bed, 0)?;
    chown(&state, Some(STRANGER), Some(STRANGER)).context("giving the directory away")?;
    let mut charted = chart(node, &image, &state)?;
    charted.container.memory = LITTLE;
    let server = pod.run(&charted.container)?;
    is_ready(&bed, &pod, &server, &charted)?;

    let netns = &node.host.netns;
    let api = (node.host.address, 7789).into();
    // A head that does not end, as long as one may be.
    let head = format!("GET / HTTP/1.1\r\nX-Long: {}", "x".repeat(15 << 10));
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        if let Ok(mut stream) = netns.connect(api, SOON) {
            // It may have made room for another one already.
            let _ = stream.write_all(head.as_bytes());
            flood.push(stream);
        }
    }
    ensure!(flood.len() > FLOOD / 2, "only {} connections", flood.len());
    let code = pod.exit_code(&server)?;
    ensure!(code.is_none(), "it ended with {code:?}:\n{}", server.log());
    is_ready(&bed, &pod, &server, &charted)?;
    drop(flood);
    assert_eq!(pod.stop(&server)?, 0, "{}", server.log());
    Ok(())
}

/// As the kubelet ends it: the hook first, in which agents are still answered, then SIGTERM. Neither an
/// idle connection nor one whose request never ends holds it until it is killed.
fn ends_in_time(node: &Node, pod: &Pod, server: &Container, charted: &ServerPod) -> Result<()> {
    ensure!(
        charted.pre_stop < charted.grace,
        "the kubelet kills it while its hook runs"
    );
    let netns = &node.host.netns;
    let api = (node.host.address, 7789).into();
    let idle = netns.connect(api, SOON)?;
    let mut unfinished = netns.connect(api, SOON)?;
    unfinished.write_all(b"POST /api/v1/distribution/advertise HTTP/1.1\r\nHost: x\r\n")?;

    let begin = Instant::now();
    while begin.elapsed() < charted.pre_stop {
        assert!(charted.probes.readiness.answers(netns), "{}", server.log());
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(pod.stop(server)?, 0, "{}", server.log());
    let took = begin.elapsed();
    assert!(took < charted.grace, "it took {took:?}\n{}", server.log());
    drop((idle, unfinished));
    Ok(())
}

/// The last line is what `kubectl describe pod` shows.
fn ends_with(pod: &Pod, spec: &ContainerSpec, reason: &str) -> Result<()> {
    let server = pod.run(spec)?;
    let code = wait_until("the server to end", SOON, || pod.exit_code(&server))?;
    let log = server.log();
    ensure!(code != 0, "it ended well:\n{log}");
    let last = log.lines().last().unwrap_or_default();
    ensure!(last.contains(reason), "no {reason:?} in:\n{log}");
    Ok(())
}

/// Probes it as the kubelet does, at the pod's address.
pub(crate) fn is_ready(
    bed: &Bed,
    pod: &Pod,
    server: &Container,
    charted: &ServerPod,
) -> Result<()> {
    let netns = &node(bed, 0)?.host.netns;
    let ready = wait_until("the server to be ready", SOON, || {
        if let Some(code) = pod.exit_code(server)? {
            anyhow::bail!("it ended with {code}");
        }
        Ok(charted.probes.readiness.answers(netns).then_some(()))
    });
    ready.with_context(|| format!("the server's log:\n{}", server.log()))?;
    let liveness = &charted.probes.liveness;
    ensure!(liveness.answers(netns), "no answer to {liveness:?}");
    Ok(())
}
