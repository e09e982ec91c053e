//! `cargo xtask demo`: real containerd nodes in shaped racks pull one image at the same moment, first
//! as they would without Piccolo, then with it. Nobody has it before.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    Agent, Bed, BedSetup, Certified, Family, Image, ImageSpec, Layer, Packing, Plan, Rate, Release,
    Run,
};

use crate::cli::DemoOptions;
use crate::setup::{self, BUILD, DEMO, as_root};
use crate::{shell, workspace};

mod figures;
mod look;
mod pull;
mod screen;
mod table;

use figures::{Figures, NodeFigures, copies_into_rack};
use pull::pull_round;
use screen::Screen;

const IMAGE: &str = "lib/demo:v1";

/// Megabits per second that all nodes take together at the registry's rate: less than the slowest
/// containerd hashes on two cores.
const ALL: u32 = 800;
/// The registry's rate where few nodes pull.
const REGISTRY: u32 = 200;

/// Installs, builds, shows, and cleans up.
pub(crate) fn run(options: &DemoOptions) -> Result<()> {
    if !options.built {
        setup::packages(&[BUILD, DEMO])?;
        workspace::build()?;
    }
    if setup::is_root() {
        return show(options).inspect_err(|_| testbed::stop_if_interrupted());
    }
    // Built as the invoking user, shown as root.
    let own = std::env::current_exe().context("finding this program")?;
    let mut again = as_root(&own.to_string_lossy())?;
    again.args(["demo", "--built"]);
    again.arg(format!("--nodes={}", options.nodes));
    again.arg(format!("--racks={}", options.racks));
    again.args(options.tls.then_some("--tls"));
    again.args(options.keep.then_some("--keep"));
    if let Some(file) = &options.json {
        again.arg("--json").arg(file);
    }
    shell::run(&mut again)
}

fn show(options: &DemoOptions) -> Result<()> {
    let mut screen = Screen::start();
    screen.say("Making an image of about 200 MB from files of this machine (cached) ...");
    let image = spec().build()?;
    let run = Run::start()?;
    run.end_on_signals()?;
    let racks = racks(options)?;
    let rate = (ALL / u32::from(options.nodes)).clamp(20, REGISTRY);
    let [registry, uplink, node] = [1, 2, 4].map(|times| Rate::megabits(rate * times));
    screen.say(&format!(
        "Building {} nodes in racks of {racks:?} ({}); links: registry {registry}, racks {uplink}, \
         nodes {node} ...",
        options.nodes,
        run.name()
    ));
    let plan = Plan {
        racks,
        node: Some(node),
        uplink: Some(uplink),
        registry: Some(registry),
        family: Family::V4,
    };
    let mut bed = Bed::start(
        run.clone(),
        &BedSetup {
            plan,
            release: Release::Installed,
        },
    )?;
    bed.registry.push(&image, IMAGE)?;
    let figures = compare(&mut bed, &image, options.tls, &mut screen)?;
    print(&table::show(&figures));
    if let Some(file) = &options.json {
        figures.write(file)?;
    }
    if options.keep {
        print(&look::how(&bed)?);
        return bed.keep();
    }
    screen.say("Removing everything that was made ...");
    drop(bed);
    run.end()
}

/// Nodes spread evenly over racks.
fn racks(options: &DemoOptions) -> Result<Vec<u8>> {
    let DemoOptions { nodes, racks, .. } = *options;
    ensure!(
        racks <= nodes,
        "{racks} racks for {nodes} nodes: give each rack a node, with --racks {nodes} or fewer"
    );
    let rest = nodes % racks;
    Ok((0..racks)
        .map(|rack| nodes / racks + u8::from(rack < rest))
        .collect())
}

fn spec() -> ImageSpec {
    let layer = |mebibytes: u32, packing| Layer {
        kibibytes: mebibytes << 10,
        packing,
    };
    ImageSpec {
        layers: vec![
            layer(64, Packing::Tar),
            layer(48, Packing::Tar),
            layer(40, Packing::Tar),
            layer(16, Packing::Gzip),
            layer(16, Packing::Tar),
            layer(8, Packing::Gzip),
        ],
        ..ImageSpec::small("demo")
    }
}

/// Both ways of pulling, one after the other, from empty nodes each time.
fn compare(bed: &mut Bed, image: &Image, tls: bool, screen: &mut Screen) -> Result<Figures> {
    screen.say("Without Piccolo: all nodes pull at the same moment.");
    bed.set_hosts(&[bed.registry.url()])?;
    let without = pull_round(bed, &bed.nodes, image, screen)?;

    screen.say("Emptying the nodes, starting piccolo-server and an agent on every node ...");
    for node in &mut bed.nodes {
        node.containerd.wipe()?;
        node.containerd.start()?;
    }
    if tls {
        screen.say("They show each other certificates: --tls required.");
        let certified = Certified::by_pki(bed)?;
        certified.server(bed, "required", &[])?;
        certified.agents(bed, "required", &["--swarm=on"])?;
    } else {
        bed.start_server(&[])?;
        bed.start_agents(&["--swarm=on"])?;
    }
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;

    screen.say("With Piccolo (--swarm on): all nodes pull at the same moment.");
    let with = pull_round(bed, &bed.nodes, image, screen)?;
    let nodes = NodeFigures::gather(bed, &without, &with)?;
    Ok(Figures {
        tls,
        registry_copies: image.copies(with.registry_bytes()),
        copies_into_rack: copies_into_rack(bed, &nodes, image),
        registry_bytes_with: with.registry_bytes(),
        registry_bytes_without: without.registry_bytes(),
        image_bytes: image.bytes(),
        seconds_with: with.seconds(),
        seconds_without: without.seconds(),
        nodes,
    })
}

/// Prints a result, to standard output.
fn print(text: &str) {
    // Ignored: standard output is closed.
    let _ = writeln!(io::stdout().lock(), "\n{text}");
}
