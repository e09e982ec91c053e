//! A machine of the bed on which the page's commands are run: its own `/etc`, `/usr/local/bin` and
//! `/var/lib`, the network of a host, and the containerd of a node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::{Host, Process, Run, wait_until};

const SETUP: &str = include_str!("machine.sh");
const SYSTEMCTL: &str = include_str!("systemctl.sh");
const START: Duration = Duration::from_secs(20);
/// Puts a command into the machine's control group, so that what it starts ends with the machine.
const JOIN: &str = r#"echo $$ >"$1" && exec sh -euc "$2""#;

/// It ends, with all that was started on it, when this is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    host: Host,
    directory: PathBuf,
    process: Process,
}

impl Machine {
    /// `containerd` is the directory of a node's containerd.
    pub(crate) fn start(run: &Run, host: &Host, containerd: &Path) -> Result<Self> {
        let name = format!("{}-machine", host.name);
        let directory = run.make_directory(&name)?;
        let arguments = [
            "--mount".as_ref(),
            "sh".as_ref(),
            "-c".as_ref(),
            SETUP.as_ref(),
            "machine".as_ref(),
            directory.as_os_str(),
            containerd.as_os_str(),
        ];
        let program = Path::new("unshare");
        let mut process = Process::start(run, &host.netns, &name, program, arguments)?;
        let ready = directory.join("ready");
        process.wait_ready(START, || Ok(ready.exists()))?;
        let machine = Self {
            host: host.clone(),
            directory,
            process,
        };
        let systemctl = machine.directory.join("bin/systemctl");
        fs::write(&systemctl, SYSTEMCTL).context("writing a stand-in for systemctl")?;
        machine.run(&format!("chmod 0755 {}", systemctl.display()))?;
        Ok(machine)
    }

    /// Where a person's shell on it is: what is put here is there for the commands.
    pub(crate) fn home(&self) -> &Path {
        &self.directory
    }

    /// Runs a command of the page; gives what it wrote.
    pub(crate) fn run(&self, command: &str) -> Result<String> {
        let (code, output) = self.try_run(command)?;
        ensure!(
            code == Some(0),
            "`{command}` on {} ended with {code:?}:\n{output}",
            self.host.name
        );
        Ok(output)
    }

    /// [`Machine::run`], whatever its exit code is.
    pub(crate) fn try_run(&self, command: &str) -> Result<(Option<i32>, String)> {
        let search = format!(
            "{}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.directory.join("bin").display()
        );
        let group = self.process.cgroup().join("cgroup.procs");
        let output = Command::new("nsenter")
            .arg(format!("--target={}", self.process.id()))
            .arg("--mount")
            .arg(format!("--net={}", self.host.netns.path().display()))
            .arg(format!("--wd={}", self.directory.display()))
            .args(["sh", "-c", JOIN, "sh"])
            .arg(group)
            .arg(command)
            .env_clear()
            .env("PATH", search)
            .env("UNITS_STATE", self.directory.join("state"))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("running `{command}`"))?;
        let text = [output.stdout, output.stderr].concat();
        Ok((
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        ))
    }

    /// Waits until a command succeeds.
    pub(crate) fn wait_for(&self, command: &str) -> Result<()> {
        wait_until(&format!("`{command}` to succeed"), START, || {
            Ok((self.try_run(command)?.0 == Some(0)).then_some(()))
        })
    }
}
