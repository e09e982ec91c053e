//! `cargo xtask demo`: four real containerd nodes in two shaped racks pull one image, first as they
//! would without Piccolo, then with it.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use testbed::{Agent, Bed, BedSetup, Image, ImageSpec, Layer, Packing, Plan, Rate, Release, Run};

use crate::cli::DemoOptions;
use crate::setup::{self, BUILD, DEMO, as_root};
use crate::{shell, workspace};

mod figures;
mod look;
mod pull;
mod screen;
mod table;

use figures::{Figures, NodeFigures};
use pull::{Round, pull_round};
use screen::Screen;

const IMAGE: &str = "lib/demo:v1";

/// The links. Their sum stays below what the slowest containerd can hash on two cores.
const REGISTRY: Rate = Rate::megabits(200);
const UPLINK: Rate = Rate::megabits(400);
const NODE: Rate = Rate::megabits(800);

/// Installs, builds, shows, and cleans up.
pub(crate) fn run(options: &DemoOptions) -> Result<()> {
    if !options.built {
        setup::packages(&[BUILD, DEMO])?;
        workspace::build()?;
    }
    if setup::is_root() {
        return show(options).inspect_err(|_| testbed::stop_if_interrupted());
    }
    // Built as the person who asks, shown as root.
    let own = std::env::current_exe().context("finding this program")?;
    let mut again = as_root(&own.to_string_lossy())?;
    again.args(["demo", "--built"]);
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
    screen.say(&format!(
        "Building two racks of two nodes ({}); links: registry {REGISTRY}, racks {UPLINK}, nodes \
         {NODE} ...",
        run.name()
    ));
    let plan = Plan {
        racks: vec![2, 2],
        node: Some(NODE),
        uplink: Some(UPLINK),
        registry: Some(REGISTRY),
    };
    let mut bed = Bed::start(
        run.clone(),
        &BedSetup {
            plan,
            release: Release::Installed,
        },
    )?;
    bed.registry.push(&image, IMAGE)?;
    let figures = compare(&mut bed, &image, &mut screen)?;
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
fn compare(bed: &mut Bed, image: &Image, screen: &mut Screen) -> Result<Figures> {
    screen.say("Without Piccolo: one node pulls, then the other three at once.");
    bed.set_hosts(&[bed.registry.url()])?;
    let without = both_waves(bed, image, screen, |_| Ok(()))?;

    screen.say("Emptying the nodes, starting piccolo-server and an agent on every node ...");
    for node in &mut bed.nodes {
        node.containerd.wipe()?;
        node.containerd.start()?;
    }
    bed.start_server(&[])?;
    bed.start_agents(&[])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;

    screen.say("With Piccolo: one node pulls, then the other three at once.");
    let with = both_waves(bed, image, screen, |bed| bed.wait_until_shared(image))?;
    let nodes = NodeFigures::gather(bed, &without, &with)?;
    Ok(Figures {
        registry_bytes_with: with.registry_bytes(),
        registry_bytes_without: without.registry_bytes(),
        image_bytes: image.bytes(),
        seconds_with: with.seconds(),
        seconds_without: without.seconds(),
        nodes,
    })
}

fn both_waves(
    bed: &Bed,
    image: &Image,
    screen: &mut Screen,
    between: impl FnOnce(&Bed) -> Result<()>,
) -> Result<Round> {
    let (first, others) = bed
        .nodes
        .split_at_checked(1)
        .context("a bed without nodes")?;
    let mut round = pull_round(bed, first, image, screen)?;
    between(bed)?;
    round.add(pull_round(bed, others, image, screen)?);
    Ok(round)
}

/// Prints a result, to standard output.
fn print(text: &str) {
    // Nobody is left to be told when standard output is gone.
    let _ = writeln!(io::stdout().lock(), "\n{text}");
}
