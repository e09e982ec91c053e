//! Small OCI images of the programs, made without a container engine.
//!
//! An image is one layer with one static program in it (a development build comes with its libraries)
//! and certificate authorities. It is written as an archive that `ctr images import`, `skopeo copy oci-archive:` and their like take.

mod authorities;
mod layer;
mod layout;
mod libraries;

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    dist::{self, Arch, Facts, Speed, bill_of_materials},
    workspace,
};

use layout::Layout;

/// What is in an image and how it starts.
#[derive(Debug, Clone, Copy)]
struct Recipe {
    program: &'static str,
    description: &'static str,
    /// The user, unless the manifest says otherwise, and its only directory.
    user: u64,
    directory: &'static str,
    command: &'static str,
    ports: &'static [u16],
}

const RECIPES: [Recipe; 2] = [
    Recipe {
        program: "pi-agent",
        description: "Piccolo's node agent",
        // containerd's socket and content belong to user 0.
        user: 0,
        directory: "/",
        command: "run",
        ports: &[288, 7786, 7787],
    },
    Recipe {
        program: "piccolo-server",
        description: "Piccolo's discovery server",
        user: 65532,
        directory: "/var/lib/piccolo-server",
        command: "serve",
        ports: &[7789, 7790],
    },
];

/// Builds both images for the architectures and writes them below `target/dist`.
///
/// # Errors
///
/// When a program does not build or a file cannot be written.
pub(crate) fn run(arches: &[Arch], registry: &str) -> Result<()> {
    let facts = Facts::gather()?;
    let mut files = Vec::new();
    for recipe in RECIPES {
        let layout = layout(&facts, recipe, arches, Speed::Release)?;
        let file = format!("{}-{}.oci.tar", recipe.program, facts.version);
        files.push(write(&facts, recipe, layout, registry, &file)?);
        for &arch in arches {
            let name = format!(
                "{}-{}-{}.cdx.json",
                recipe.program,
                facts.version,
                arch.name()
            );
            let bill = bill_of_materials(&facts, recipe.program, arch, Some(authorities::PACKAGE))?;
            files.push(dist::write(&name, &bill)?);
        }
    }
    dist::report(&files)
}

/// Makes the development build and packs it.
///
/// # Errors
///
/// When a program does not build or a file cannot be written.
pub(crate) fn run_debug(registry: &str) -> Result<()> {
    workspace::build()?;
    pack_debug(registry)
}

/// Packs the development build as it is, with the libraries that it loads.
///
/// # Errors
///
/// When it has not been made or a file cannot be written.
pub(crate) fn pack_debug(registry: &str) -> Result<()> {
    let facts = Facts::gather()?;
    for recipe in RECIPES {
        let program = testbed::binary(recipe.program)?;
        let libraries = libraries::of(&program)?;
        let layer = layer::make(&facts, recipe, &program, &libraries)?;
        let mut layout = Layout::default();
        layout.add_image(&facts, recipe, Arch::native()?, &layer)?;
        let file = format!("{}-debug.oci.tar", recipe.program);
        write(&facts, recipe, layout, registry, &file)?;
    }
    Ok(())
}

/// The same images with programs that are built fast and are not optimised, for the system tests.
/// Programs are linked, and images laid out, by the very code that makes a release.
///
/// # Errors
///
/// When a program does not build or a file cannot be written.
pub(crate) fn run_quick(arches: &[Arch], registry: &str) -> Result<()> {
    let facts = Facts::gather()?;
    for recipe in RECIPES {
        let layout = layout(&facts, recipe, arches, Speed::Quick)?;
        let file = format!("{}-quick.oci.tar", recipe.program);
        write(&facts, recipe, layout, registry, &file)?;
    }
    Ok(())
}

fn layout(facts: &Facts, recipe: Recipe, arches: &[Arch], speed: Speed) -> Result<Layout> {
    let mut layout = Layout::default();
    for &arch in arches {
        let program = dist::program(facts, recipe.program, arch, speed)?;
        let layer = layer::make(facts, recipe, &program, &[])?;
        layout.add_image(facts, recipe, arch, &layer)?;
    }
    Ok(layout)
}

fn write(
    facts: &Facts,
    recipe: Recipe,
    layout: Layout,
    registry: &str,
    file: &str,
) -> Result<PathBuf> {
    let name = format!(
        "{}/{}:{}",
        registry.trim_end_matches('/'),
        recipe.program,
        facts.version
    );
    let archive = layout.archive(facts, &name)?;
    dist::write(file, &archive)
}
