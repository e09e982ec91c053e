//! `cargo xtask ebpf`: builds the program for the kernel into the object that the agent embeds.
//!
//! The object is committed, so that a plain `cargo build` needs none of the toolchain. It is the same
//! to the byte on every machine and in every directory: the toolchain is pinned, paths are trimmed,
//! debug information is stripped, and no name in it is mangled, since a mangled name has a hash of
//! the directory in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::{
    shell::{output, run, say},
    workspace,
};

mod calls;
mod toolchain;

use toolchain::{CARGO, OBJDUMP, RUSTC, STRIP};

/// Where the object is committed.
const COMMITTED: &str = "pi-ebpf/object/account.bpf.o";
const PACKAGE: &str = "pi-ebpf/program";
const TARGET: &str = "bpfel-unknown-none";
const BINARY: &str = "account";

/// Builds the object and puts it where it is committed.
pub(crate) fn write() -> Result<()> {
    let root = workspace::root()?;
    let built = build(&root)?;
    let committed = root.join(COMMITTED);
    let from = built.display();
    fs::copy(&built, &committed).with_context(|| format!("copying {from} to {COMMITTED}"))?;
    say(&format!("{COMMITTED}: {}", describe(&committed)?));
    Ok(())
}

/// Builds the object and compares it with the committed one, byte for byte.
pub(crate) fn check() -> Result<()> {
    let root = workspace::root()?;
    let format = [
        "fmt",
        "--check",
        "--manifest-path",
        "pi-ebpf/program/Cargo.toml",
    ];
    run(&mut workspace::cargo(&format)?)?;
    compare(&root.join(COMMITTED), &build(&root)?)
}

/// [`check`] for a run of the tests: where the toolchain cannot be installed, on another distribution
/// or another release, prints that and leaves the comparison to CI.
pub(crate) fn check_where_possible() -> Result<()> {
    match toolchain::install(&workspace::root()?) {
        Ok(()) => check(),
        Err(error) if in_ci() => Err(error),
        Err(error) => {
            say(&format!(
                "The toolchain of the kernel's program cannot be installed here: its object is not compared \
                 with its sources: {error:#}"
            ));
            Ok(())
        }
    }
}

/// Whether this is CI, where a skipped check is not made elsewhere.
#[expect(
    clippy::disallowed_methods,
    reason = "a task of development asks what it runs in"
)]
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

fn build(root: &Path) -> Result<PathBuf> {
    toolchain::install(root)?;
    let object = compile(root)?;
    inspect(root, &object)?;
    Ok(object)
}

fn compile(root: &Path) -> Result<PathBuf> {
    let directory = root.join("target/ebpf");
    let mut cargo = Command::new(CARGO);
    cargo
        .current_dir(root.join(PACKAGE))
        .args(["build", "--quiet", "--locked", "--release", "--bin", BINARY])
        .args(["--target", TARGET, "-Zbuild-std=core", "-Ztrim-paths"])
        .env("RUSTC", RUSTC)
        // The target has no finished core library, and trimming paths is not stable yet.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &directory)
        .env(
            "CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER",
            toolchain::linker(root),
        )
        .env("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all")
        // One object serves all little-endian machines: only a path in its BTF names one.
        .env(
            "RUSTFLAGS",
            "--cfg bpf_target_arch=\"x86_64\" -Cdebuginfo=2 -Clink-arg=--btf",
        );
    for foreign in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTUP_TOOLCHAIN",
    ] {
        cargo.env_remove(foreign);
    }
    run(&mut cargo)?;
    let linked = directory.join(TARGET).join("release").join(BINARY);
    let stripped = directory.join("account.bpf.o");
    run(Command::new(STRIP)
        .arg("-g")
        .arg("-o")
        .arg(&stripped)
        .arg(&linked))?;
    Ok(stripped)
}

/// Refuses an object that would differ from machine to machine, need more rights than two, or be
/// refused by a kernel that is locked down.
fn inspect(root: &Path, object: &Path) -> Result<()> {
    let listing = output(
        Command::new(OBJDUMP)
            .args(["--disassemble", "--reloc", "--syms"])
            .arg(object),
    )?;
    let calls: Vec<_> = listing
        .lines()
        .filter(|line| line.contains("R_BPF_64_32"))
        .collect();
    ensure!(
        calls.is_empty(),
        "the program calls functions, most likely memcpy or memset, which the verifier lets pass \
         only with CAP_PERFMON:\n{}",
        calls.join("\n")
    );
    calls::check(&listing)?;
    let mangled = |line: &&str| line.split_whitespace().any(|word| word.starts_with("_R"));
    let mangled: Vec<_> = listing.lines().filter(mangled).collect();
    ensure!(
        mangled.is_empty(),
        "the object has mangled names, which depend on the directory:\n{}",
        mangled.join("\n")
    );
    let bytes = read(object)?;
    for path in [Some(root.to_owned()), std::env::home_dir()]
        .into_iter()
        .flatten()
    {
        let path = path.to_string_lossy();
        let needle = path.as_bytes();
        let found = needle.len() > 1 && bytes.windows(needle.len()).any(|part| part == needle);
        ensure!(!found, "the object has the path {path} in it");
    }
    Ok(())
}

fn compare(committed: &Path, built: &Path) -> Result<()> {
    ensure!(
        read(committed)? == read(built)?,
        "{COMMITTED} is not what its sources give.\n  committed: {}\n  built:     {}\nRun `cargo \
         xtask ebpf` and commit the object; if nothing in pi-ebpf was changed, the toolchain \
         differs.",
        describe(committed)?,
        describe(built)?
    );
    say(&format!(
        "{COMMITTED} is what its sources give: {}",
        describe(committed)?
    ));
    Ok(())
}

fn describe(path: &Path) -> Result<String> {
    let bytes = read(path)?;
    Ok(format!(
        "{} bytes, sha256 {}",
        bytes.len(),
        hex::encode(Sha256::digest(&bytes))
    ))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}
