//! What goes on in the agent's pod without its end: the agent is killed, aborts, is stopped, and the
//! node's mirror files are replaced. Its node's pulls go on, and containerd asks the agent whenever it
//! answers.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use testbed::{ContainerSpec, Process};

use super::*;

/// A pull that meets a stopped agent waits for ten seconds at most (docs/agent.md); the rest is its
/// own time.
const HELD: Duration = Duration::from_secs(15);
/// The liveness probe decides within this (docs/agent.md).
const DECIDED: Duration = Duration::from_secs(11);
const SPINNING: usize = 24;
const LOADED: Duration = Duration::from_secs(15);
/// 128 and the number of SIGKILL.
const KILLED: i32 = 137;
/// 128 and the number of SIGABRT.
const ABORTED: i32 = 134;

#[test]
fn the_mirror_files_follow_the_agent_and_not_its_container() -> Result<()> {
    let (bed, image, name) = prepare(Release::V1_7)?;
    let second = node(&bed, 1)?;
    let before = hosts_file(second)?;
    let manifest = Manifest::read("piccolo.yaml", second, &bed.server_url(), &name)?;
    let mut pod = AgentPod::start(&bed, second, &manifest)?;
    let in_force = || anyhow::Ok(hosts_file(second)?.contains(&Agent::mirror_url()));

    signal(&pod, "KILL")?;
    pod.wait_end()?;
    assert!(
        in_force()?,
        "a restart of the container is no end of the pod"
    );
    pod.agent = pod.pod.run(&again(&manifest.agent, 1))?;
    pod.wait_ready()?;

    // Nothing from outside makes the agent panic. A panic aborts the process (daemon/tests/abort.rs),
    // and this signal is what an abort sends.
    signal(&pod, "ABRT")?;
    assert_eq!(pod.wait_end()?, ABORTED);
    pod.agent = pod.pod.run(&again(&manifest.agent, 2))?;
    pod.wait_ready()?;
    pull(second, APP)?;
    counted(&pod, &image)?;
    second.containerd.cri().remove(&Bed::image_name(APP))?;

    signal(&pod, "STOP")?;
    let begin = Instant::now();
    pull(second, APP)?;
    let took = begin.elapsed();
    assert!(took < HELD, "the pull took {took:?}");
    assert!(!in_force()?, "containerd still asks an agent that is away");
    assert_eq!(pod.wait_end()?, KILLED);
    second.containerd.cri().remove(&Bed::image_name(APP))?;
    pod.agent = pod.pod.run(&again(&manifest.agent, 3))?;
    pod.wait_ready()?;
    pull(second, APP)?;
    counted(&pod, &image)?;

    // As a tool does that writes them all anew at each of its starts.
    let directory = second.containerd.hosts_directory();
    fs::remove_dir_all(&directory)?;
    bed.set_hosts(&[bed.registry.url()])?;
    let code = wait_until("keep-hosts to ask for a new mount", SOON, || {
        pod.pod.exit_code(&pod.hosts)
    })
    .with_context(|| format!("keep-hosts' log:\n{}", pod.hosts.log()))?;
    assert_eq!(code, 1, "keep-hosts' log:\n{}", pod.hosts.log());
    pod.hosts = pod.pod.run(&again(&manifest.hosts, 1))?;
    let entered = wait_until("the agent to be entered again", SOON, || {
        Ok(in_force()?.then_some(()))
    });
    entered.with_context(|| pod.logs())?;
    pod.wait_ready()?;

    pod.leave(&bed, &image)?;
    assert_eq!(hosts_file(second)?, before, "the node is not as it was");
    Ok(())
}

/// keep-hosts ends a frozen agent before the kubelet does. Here it is frozen, too, and the test probes and
/// kills as the kubelet would.
#[test]
fn the_liveness_probe_alone_ends_a_frozen_agent() -> Result<()> {
    let (bed, _image, name) = prepare(Release::V1_7)?;
    let second = node(&bed, 1)?;
    let manifest = Manifest::read("piccolo.yaml", second, &bed.server_url(), &name)?;
    let mut pod = AgentPod::start(&bed, second, &manifest)?;
    let probe = &manifest.probes.liveness;
    assert!(
        probe.answers(&second.host.netns),
        "a healthy agent fails its probe"
    );

    send(pod.pod.process(&pod.hosts)?, "STOP")?;
    signal(&pod, "STOP")?;
    let begin = Instant::now();
    let pulled = std::thread::scope(|scope| {
        let pull = scope.spawn(|| {
            pull(second, APP)?;
            anyhow::Ok(begin.elapsed())
        });
        let mut failures = 0;
        while failures < probe.failures {
            let next = Instant::now() + probe.period;
            failures = if probe.answers(&second.host.netns) {
                0
            } else {
                failures + 1
            };
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        assert!(begin.elapsed() < DECIDED, "after {:?}", begin.elapsed());
        // A frozen process does not hear SIGTERM.
        std::thread::sleep(
            probe
                .grace
                .context("the pod's grace holds a pull for long")?,
        );
        signal(&pod, "KILL")?;
        pull.join().expect("the pull's thread")
    })?;
    assert!(pulled < HELD, "the pull took {pulled:?}");
    assert_eq!(pod.wait_end()?, KILLED);
    send(pod.pod.process(&pod.hosts)?, "CONT")?;
    pod.agent = pod.pod.run(&again(&manifest.agent, 1))?;
    pod.wait_ready()
}

/// Far more programs than processors, and a disk that is written all the time. The bed gives the agent
/// no share of the processor, where the chart asks for one.
#[test]
fn the_liveness_probe_is_answered_under_load() -> Result<()> {
    let (bed, _image, name) = prepare(Release::V1_7)?;
    let second = node(&bed, 1)?;
    let manifest = Manifest::read("piccolo.yaml", second, &bed.server_url(), &name)?;
    let pod = AgentPod::start(&bed, second, &manifest)?;
    let directory = bed.run().make_directory("load")?;
    let write = format!(
        "while :; do dd if=/dev/zero of={}/file bs=1M count=64 conv=fsync; done",
        directory.display()
    );
    let spin = "while :; do :; done".to_owned();
    let programs = std::iter::repeat_n(spin, SPINNING).chain([write]);
    let load = programs.enumerate().map(|(number, program)| {
        let name = format!("load-{number}");
        Process::start(
            bed.run(),
            &second.host.netns,
            &name,
            Path::new("sh"),
            ["-c", &program],
        )
    });
    let load: Vec<_> = load.collect::<Result<_>>()?;

    let probe = &manifest.probes.liveness;
    let (mut failures, mut most) = (0, 0);
    let begin = Instant::now();
    while begin.elapsed() < LOADED {
        let answers = probe.answers(&second.host.netns);
        failures = if answers { 0 } else { failures + 1 };
        most = most.max(failures);
        std::thread::sleep(probe.period);
    }
    drop(load);
    assert!(
        most < probe.failures,
        "the kubelet would have killed it\n{}",
        pod.logs()
    );
    Ok(())
}

fn again(spec: &ContainerSpec, attempt: u32) -> ContainerSpec {
    ContainerSpec {
        attempt,
        ..spec.clone()
    }
}

fn signal(pod: &AgentPod<'_>, name: &str) -> Result<()> {
    send(pod.process()?, name)
}

fn send(process: u32, name: &str) -> Result<()> {
    let status = Command::new("kill")
        .args(["-s", name, &process.to_string()])
        .status()?;
    ensure!(status.success(), "the agent could not be signalled");
    Ok(())
}
