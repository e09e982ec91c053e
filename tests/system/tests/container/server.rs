//! The server's image as its Deployment runs it: user 65532, no capability, a root that can only be read.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use system_tests::{bed, images, node};
use testbed::{
    Bed, Container, ContainerSpec, MountSpec, Pod, Release, Rights, STRANGER, get, wait_until,
};

use super::SOON;

const STATE: &str = "/var/lib/piccolo-server";
pub(crate) const ADMIN: &str = "127.0.0.1:7790";

/// The container, with a directory of the node for its state or without.
fn specification(image: &str, name: &str, state: Option<&Path>) -> ContainerSpec {
    let mount = state.map(|state| MountSpec {
        host_path: state.display().to_string(),
        container_path: STATE.to_owned(),
        read_only: false,
    });
    ContainerSpec {
        name: name.to_owned(),
        image: image.to_owned(),
        args: ["serve", "--log-format=json"].map(str::to_owned).into(),
        mounts: mount.into_iter().collect(),
        rights: Rights {
            user: STRANGER.into(),
            read_only_root: true,
            drop: vec!["ALL".to_owned()],
            seccomp: true,
            ..Rights::default()
        },
        ..ContainerSpec::default()
    }
}

#[test]
fn its_state_directory_is_its_own_or_it_says_whose() -> Result<()> {
    let bed = bed(Release::Installed, &[1])?;
    let node = node(&bed, 0)?;
    node.containerd.prepare_pods()?;
    let image = images::import(node, "piccolo-server")?;
    let pod = Pod::start(bed.run(), &node.containerd.cri(), "server")?;
    let state = bed.run().make_directory("state")?;
    fs::set_permissions(&state, Permissions::from_mode(0o755))?;

    chown(&state, Some(0), Some(0)).context("giving the directory away")?;
    let denied = format!(
        "user {STRANGER} of group {STRANGER} may not make files in {STATE}, which belongs to 0:0 with mode 0755"
    );
    ends_with(
        &pod,
        &specification(&image, "foreign", Some(&state)),
        &denied,
    )?;
    let read_only = format!("{STATE} is mounted read-only");
    ends_with(&pod, &specification(&image, "bare", None), &read_only)?;

    chown(&state, Some(STRANGER), Some(STRANGER)).context("giving the directory away")?;
    let server = pod.run(&specification(&image, "own", Some(&state)))?;
    is_ready(&bed, &pod, &server)?;
    assert_eq!(pod.stop(&server)?, 0, "{}", server.log());
    ensure!(
        state.join("piccolo.sqlite").exists(),
        "it keeps its state elsewhere"
    );
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

pub(crate) fn is_ready(bed: &Bed, pod: &Pod, server: &Container) -> Result<()> {
    let netns = &node(bed, 0)?.host.netns;
    let ready = wait_until("the server to be ready", SOON, || {
        if let Some(code) = pod.exit_code(server)? {
            anyhow::bail!("it ended with {code}");
        }
        let answer = get(netns, ADMIN.parse()?, "/readyz");
        Ok(answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(()))
    });
    ready.with_context(|| format!("the server's log:\n{}", server.log()))
}
