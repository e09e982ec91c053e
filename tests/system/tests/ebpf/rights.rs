//! What the program needs, and what it leaves behind.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use testbed::{Process, wait_until};

use crate::lab::{Lab, Link, Outcome, parse, program};

const SOON: Duration = Duration::from_secs(10);
const NOBODY: &str = "65534";

/// The arguments of `setpriv` that make a program nobody's, with these capabilities and no others.
pub(crate) fn confined(capabilities: &str) -> Vec<String> {
    let inherited = format!("-all{capabilities}");
    vec![
        format!("--reuid={NOBODY}"),
        format!("--regid={NOBODY}"),
        "--clear-groups".to_owned(),
        format!("--inh-caps={inherited}"),
        format!("--ambient-caps={inherited}"),
        format!("--bounding-set={inherited}"),
    ]
}

/// Attaches as nobody with these capabilities and no others.
fn attach_with(capabilities: &str, choice: &str) -> Result<String> {
    let lab = Lab::build(Link::Unshaped)?;
    let mut arguments = confined(capabilities);
    arguments.push(program().display().to_string());
    arguments.push(format!("--accounting={choice}"));
    arguments.push("hold".to_owned());
    let setpriv = Path::new("setpriv");
    let mut process = Process::start(lab.run(), lab.observer()?, "held", setpriv, arguments)?;
    wait_until("the attempt to end", SOON, || {
        Ok((!process.is_running()).then_some(()))
    })?;
    Ok(process.log())
}

fn outcome_with(capabilities: &str) -> Result<Outcome> {
    parse(&attach_with(capabilities, "auto")?)
}

#[test]
fn two_capabilities_are_enough() -> Result<()> {
    let outcome = outcome_with(",+bpf,+net_admin")?;
    assert_eq!(outcome.mode.in_force, "ebpf", "{:?}", outcome.mode);
    assert_eq!(outcome.mode.reason, "best");
    Ok(())
}

#[test]
fn without_them_user_space_counts_and_says_why() -> Result<()> {
    for capabilities in ["", ",+bpf", ",+net_admin"] {
        let outcome = outcome_with(capabilities)?;
        assert_eq!(
            outcome.mode.in_force, "tcp-info",
            "{capabilities}: {:?}",
            outcome.mode
        );
        assert_eq!(
            outcome.mode.reason, "rights",
            "{capabilities}: {:?}",
            outcome.mode
        );
        assert!(
            outcome.mode.detail.contains("not permitted"),
            "{:?}",
            outcome.mode
        );
    }
    Ok(())
}

#[test]
fn what_is_asked_for_by_name_is_not_replaced() -> Result<()> {
    let log = attach_with("", "ebpf")?;
    ensure!(log.contains("loading the eBPF"), "{log}");
    ensure!(parse(&log).is_err(), "it went on: {log}");
    Ok(())
}

#[test]
fn a_killed_agent_leaves_nothing_attached() -> Result<()> {
    let lab = Lab::build(Link::Unshaped)?;
    let shell = Path::new("sh");
    // Keeps the standard input of the second program open.
    let line = format!("sleep 60 | {} hold", program().display());
    let process = Process::start(lab.run(), lab.observer()?, "held", shell, ["-c", &line])?;
    wait_until("the program to be attached", SOON, || {
        Ok(parse(&process.log()).ok().map(drop))
    })?;
    let group = process.cgroup().to_owned();
    ensure!(attached(&group)? == 1, "one program ought to be attached");

    let members = std::fs::read_to_string(group.join("cgroup.procs"))?;
    let id = members
        .lines()
        .find(|id| {
            let name = std::fs::read_to_string(format!("/proc/{id}/comm"));
            name.is_ok_and(|name| name.starts_with("ebpf-traffic"))
        })
        .context("the program is not in its group")?;
    let id = id
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .context("a process id")?;
    rustix::process::kill_process(id, rustix::process::Signal::KILL)?;
    wait_until("the program to be gone", SOON, || {
        Ok((attached(&group)? == 0).then_some(()))
    })
}

/// What the kernel refuses even to root: kernel_lockdown(7). Nothing where it knows no lockdown.
fn lockdown() -> Result<Option<String>> {
    let script = "mount -t securityfs none /mnt && cat /mnt/lockdown";
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .output()
        .context("running unshare")?;
    let text = String::from_utf8(output.stdout)?;
    let in_force = text
        .split('[')
        .nth(1)
        .and_then(|rest| rest.split(']').next());
    Ok(in_force.map(str::to_owned))
}

/// Confidentiality refuses what reads the kernel's memory, integrity what writes to a process's.
/// What the object calls is checked by `cargo xtask ebpf --check`; this is the kernel's own word, as
/// far as it is locked down.
#[test]
fn a_kernel_that_is_locked_down_takes_the_program() -> Result<()> {
    let outcome = outcome_with(",+bpf,+net_admin")?;
    assert_eq!(outcome.mode.in_force, "ebpf", "{:?}", outcome.mode);
    match lockdown()?.as_deref() {
        Some("confidentiality") => {}
        Some(level) => eprintln!("not shown for confidentiality: lockdown is {level} here"),
        None => eprintln!("not shown: this kernel has no lockdown"),
    }
    Ok(())
}

/// How many programs are attached to a control group.
pub(crate) fn attached(group: &Path) -> Result<usize> {
    let output = std::process::Command::new("bpftool")
        .args(["-j", "cgroup", "show"])
        .arg(group)
        .output()
        .context("running bpftool")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    if output.stdout.trim_ascii().is_empty() {
        return Ok(0);
    }
    let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    Ok(list.len())
}
