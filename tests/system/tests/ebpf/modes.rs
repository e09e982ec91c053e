//! What is in force, and why, stands in the log, in the status, in `doctor` and in a metric.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::{Process, binary, get, wait_until};

use crate::{
    lab::{Lab, Link},
    rights::{attached, confined},
};

const START: Duration = Duration::from_secs(20);
/// Shorter than the time between two passes over the counters.
const AT_ONCE: Duration = Duration::from_secs(5);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7786);

/// What the agent may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    Root,
    /// Nobody, with no capability but that for the mirror's port.
    None,
}

impl Rights {
    /// The program and arguments that run `program` with these rights.
    fn line(self, program: PathBuf, arguments: &[String]) -> (PathBuf, Vec<String>) {
        match self {
            Self::Root => (program, arguments.to_vec()),
            Self::None => {
                let mut line = confined(",+net_bind_service");
                line.push(program.display().to_string());
                line.extend_from_slice(arguments);
                (PathBuf::from("setpriv"), line)
            }
        }
    }
}

fn start(lab: &Lab, rights: Rights, accounting: &str) -> Result<Process> {
    start_logging(lab, rights, accounting, "info")
}

fn start_logging(lab: &Lab, rights: Rights, accounting: &str, log: &str) -> Result<Process> {
    let arguments = [
        "run",
        "--server=http://127.0.0.1:1",
        "--advertise-address=192.0.2.1",
        "--containerd-socket=/nowhere",
        "--content-path=/nowhere",
        &format!("--accounting={accounting}"),
        &format!("--log={log}"),
    ]
    .map(str::to_owned);
    let (program, arguments) = rights.line(binary("pi-agent")?, &arguments);
    let mut process = Process::start(lab.run(), lab.observer()?, "agent", &program, arguments)?;
    let healthy = || Ok(get(lab.observer()?, ADMIN, "/healthz")?.status == 200);
    process.wait_ready(START, healthy)?;
    Ok(process)
}

/// The checks of `doctor` about the accounting.
fn doctor(lab: &Lab, rights: Rights) -> Result<Vec<Value>> {
    let arguments = ["doctor", "--json"].map(str::to_owned);
    let (program, arguments) = rights.line(binary("pi-agent")?, &arguments);
    let output = lab.observer()?.command(program).args(arguments).output()?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("doctor said {}", String::from_utf8_lossy(&output.stderr)))
}

fn check(rights: Rights, accounting: &str, mode: &str, reason: &str) -> Result<()> {
    let lab = Lab::build(Link::Unshaped)?;
    let process = start(&lab, rights, accounting)?;

    let log = process.log();
    let line = log.lines().find(|line| line.contains("counting peers"));
    let line = line.with_context(|| format!("no line about it in:\n{log}"))?;
    ensure!(line.contains(mode) && line.contains(reason), "{line}");

    let status: Value = serde_json::from_slice(&get(lab.observer()?, ADMIN, "/status")?.body)?;
    let told = &status["accounting"];
    ensure!(
        told["in_force"] == mode && told["reason"] == reason,
        "{told}"
    );

    let metrics = get(lab.observer()?, ADMIN, "/metrics")?.text();
    let series = format!("piccolo_agent_accounting_info{{mode=\"{mode}\",reason=\"{reason}\"}} 1");
    ensure!(
        metrics.lines().any(|line| line == series),
        "no {series} in:\n{metrics}"
    );

    // The caller has other rights than the agent; the reply is about the agent's.
    let other = match rights {
        Rights::Root => Rights::None,
        Rights::None => Rights::Root,
    };
    let checks = doctor(&lab, other)?;
    let named = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name);
        check.with_context(|| format!("no {name} in {checks:?}"))
    };
    let told = named("accounting")?;
    let found = told["found"].as_str().unwrap_or_default();
    ensure!(found.starts_with(mode), "{told}");
    let denied = rights == Rights::None;
    ensure!(
        told["verdict"] == if denied { "warning" } else { "good" },
        "{told}"
    );
    // Who asked for another way needs no rights for this one, and is not told of them.
    let needs = mode == "ebpf" || reason != "asked";
    for capability in ["CAP_BPF", "CAP_NET_ADMIN"] {
        if !needs {
            ensure!(named(capability).is_err(), "{checks:?}");
            continue;
        }
        let told = named(capability)?;
        ensure!((told["verdict"] == "warning") == denied, "{told}");
        ensure!((told["remedy"] != "") == denied, "{told}");
    }
    ensure!(
        attached(process.cgroup())? == usize::from(mode == "ebpf"),
        "attached"
    );
    Ok(())
}

#[test]
fn the_best_there_is() -> Result<()> {
    check(Rights::Root, "auto", "ebpf", "best")
}

#[test]
fn what_is_asked_for() -> Result<()> {
    check(Rights::Root, "ebpf", "ebpf", "asked")?;
    check(Rights::Root, "tcp-info", "tcp-info", "asked")?;
    check(Rights::Root, "off", "off", "asked")
}

#[test]
fn user_space_without_the_rights() -> Result<()> {
    check(Rights::None, "auto", "tcp-info", "rights")
}

#[test]
fn an_agent_that_is_killed_leaves_nothing_attached() -> Result<()> {
    let lab = Lab::build(Link::Unshaped)?;
    let process = start(&lab, Rights::Root, "ebpf")?;
    ensure!(
        attached(process.cgroup())? == 1,
        "one program ought to be attached"
    );
    let id = i32::try_from(process.id()).ok();
    let id = id
        .and_then(rustix::process::Pid::from_raw)
        .context("a process id")?;
    rustix::process::kill_process(id, rustix::process::Signal::KILL)?;
    wait_until("the program to be gone", START, || {
        Ok((attached(process.cgroup())? == 0).then_some(()))
    })
}

#[test]
fn an_agent_that_is_told_to_use_ebpf_and_cannot_does_not_start() -> Result<()> {
    let lab = Lab::build(Link::Unshaped)?;
    let error = start(&lab, Rights::None, "ebpf").err();
    let error = format!("{:#}", error.context("it started")?);
    for part in ["peers cannot be counted", "not permitted"] {
        ensure!(error.contains(part), "no {part} in: {error}");
    }
    Ok(())
}

/// The size of the program in the kernel, in bytes, after the verifier has removed what is never
/// reached.
fn verified_bytes(group: &Path) -> Result<u64> {
    let show = |arguments: &[&str]| {
        let output = std::process::Command::new("bpftool")
            .arg("-j")
            .args(arguments)
            .output()
            .context("running bpftool")?;
        serde_json::from_slice::<Value>(&output.stdout).context("what bpftool says")
    };
    let group = group.to_str().context("a plain path")?;
    let id = show(&["cgroup", "show", group])?[0]["id"].to_string();
    let program = show(&["prog", "show", "id", &id])?;
    program["bytes_xlated"].as_u64().context("no size")
}

#[test]
fn the_program_logs_when_it_is_asked_to_and_is_smaller_when_not() -> Result<()> {
    let sizes = ["info", "info,pi_agent::ebpf=trace"].map(|log| -> Result<u64> {
        let lab = Lab::build(Link::Unshaped)?;
        let process = start_logging(&lab, Rights::Root, "ebpf", log)?;
        if log != "info" {
            // Of the agent's connection to itself; long before the next pass.
            wait_until("a line of the program", AT_ONCE, || {
                Ok(process.log().contains("in the kernel").then_some(()))
            })?;
        }
        verified_bytes(process.cgroup())
    });
    let [silent, logging] = sizes;
    let (silent, logging) = (silent?, logging?);
    ensure!(
        silent < logging,
        "{silent} bytes without the log, {logging} with it"
    );
    Ok(())
}
