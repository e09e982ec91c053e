//! The install page for systemd, tried as a new user would: each of its commands is run, on a server
//! and on two nodes, and so is each of the page on uninstalling.

mod machine;
mod page;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use system_tests::{APP, bed, is_little, node, pull, push_app};
use testbed::{Bed, Host, Image, Node, Release, binary, get, wait_until};

use machine::Machine;
use page::commands;

/// What the pages give as examples, and what stands in their place here.
struct Names {
    server: String,
}

impl Names {
    fn fill_in(&self, command: &str) -> String {
        command
            .replace("10.0.0.1", &self.server)
            .replace("registry.example.com", "registry.test")
            .replace("0.1.0", env!("CARGO_PKG_VERSION"))
            .replace("x86_64", std::env::consts::ARCH)
    }

    /// Runs all commands under a heading.
    fn follow(&self, machine: &Machine, page: &str, heading: &str) -> Result<()> {
        for command in commands(page, heading)? {
            machine.run(&self.fill_in(&command))?;
        }
        Ok(())
    }
}

#[test]
fn each_command_of_the_pages_does_what_it_is_for() -> Result<()> {
    let mut bed = bed(Release::Installed, &[2])?;
    let image = push_app(&bed)?;
    bed.set_hosts(&[bed.registry.url()])?;
    let before = hosts_file(node(&bed, 1)?)?;
    let host = bed.network().add_core_host("installed", None)?;
    let names = Names {
        server: host.address.to_string(),
    };

    let elsewhere = node(&bed, 0)?;
    let server = Machine::start(bed.run(), &host, &containerd_directory(elsewhere)?)?;
    put_archive(&server)?;
    names.follow(&server, "install.md", "### The server")?;
    let mut machines = Vec::new();
    for node in &bed.nodes {
        let machine = Machine::start(bed.run(), &node.host, &containerd_directory(node)?)?;
        put_archive(&machine)?;
        names.follow(&machine, "install.md", "### Each node")?;
        machine.wait_for("pi-agent status | grep -q ' s, ready'")?;
        machines.push(machine);
    }
    let second = machines.pop().context("no second machine")?;
    for command in commands("install.md", "### Check")? {
        // A warning, for instance of the kernel's settings, is no mistake of the page.
        let (code, output) = second.try_run(&names.fill_in(&command))?;
        ensure!(
            matches!(code, Some(0 | 1)),
            "`{command}` ended with {code:?}:\n{output}"
        );
    }

    pull(node(&bed, 0)?, APP)?;
    wait_until_known(&host, &image)?;
    pull(node(&bed, 1)?, APP)?;
    bed.registry.settle()?;
    let from_registry = bed.registry.bytes_to(node(&bed, 1)?.host.address);
    assert!(
        is_little(from_registry, &image),
        "the registry sent {from_registry} bytes"
    );
    let peers = second.run("pi-agent peers --once")?;
    assert!(
        peers.contains(&node(&bed, 0)?.host.address.to_string()),
        "{peers}"
    );

    names.follow(&second, "uninstall.md", "## With systemd")?;
    assert_eq!(
        hosts_file(node(&bed, 1)?)?,
        before,
        "hosts.toml is not as it was"
    );
    ensure!(second.try_run("pi-agent --version")?.0 != Some(0));
    node(&bed, 1)?
        .containerd
        .cri()
        .remove(&Bed::image_name(APP))?;
    pull(node(&bed, 1)?, APP)
}

/// Waits until the installed server knows holders of all that a node needs.
fn wait_until_known(server: &Host, image: &Image) -> Result<()> {
    let api = SocketAddr::new(server.address, 7789);
    let what = "the installed server to know holders of the image";
    wait_until(what, Duration::from_secs(30), || {
        for blob in image.native_blobs() {
            let find = "/api/v1/distribution/findkey?group=default&key=";
            let answer = get(&server.netns, api, &format!("{find}{}", blob.digest))?;
            if answer.status != 200 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

/// What `cargo xtask dist` makes, of the development build.
fn put_archive(machine: &Machine) -> Result<()> {
    let stem = format!(
        "piccolo-{}-linux-{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    let packed = machine.home().join("packed");
    let inside = packed.join(&stem);
    fs::create_dir_all(inside.join("systemd")).context("making an archive")?;
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd");
    for name in ["pi-agent", "piccolo-server"] {
        fs::copy(binary(name)?, inside.join(name)).context("packing a program")?;
        let unit = format!("{name}.service");
        fs::copy(units.join(&unit), inside.join("systemd").join(&unit))
            .context("packing a unit")?;
    }
    let archive = machine.home().join(format!("{stem}.tar.gz"));
    let packing = Command::new("tar")
        .args(["--use-compress-program=gzip -1", "-cf"])
        .arg(archive)
        .arg("-C")
        .arg(packed)
        .arg(stem)
        .status()
        .context("starting tar")?;
    ensure!(packing.success(), "tar failed");
    Ok(())
}

fn containerd_directory(node: &Node) -> Result<std::path::PathBuf> {
    let config = node.containerd.config_file();
    let directory = config.parent().context("settings without a directory")?;
    Ok(directory.to_owned())
}

fn hosts_file(node: &Node) -> Result<String> {
    let file = node
        .containerd
        .hosts_directory()
        .join("registry.test/hosts.toml");
    fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
}
