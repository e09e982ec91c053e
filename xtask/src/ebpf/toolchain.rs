//! The pinned toolchain of the program for the kernel.
//!
//! The compiler is the distribution's: it comes with its own sources, from which the core library is
//! built for the kernel's target, and with the LLVM that the linker uses.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use crate::{
    setup,
    shell::{output, run, say},
    workspace,
};

pub(super) const CARGO: &str = "/usr/bin/cargo";
pub(super) const RUSTC: &str = "/usr/bin/rustc";
pub(super) const STRIP: &str = "/usr/lib/llvm-22/bin/llvm-strip";
pub(super) const OBJDUMP: &str = "/usr/lib/llvm-22/bin/llvm-objdump";
const LLVM: &str = "/usr/lib/llvm-22";
/// What bpf-linker needs to be built.
const LLVM_CONFIG: &str = "/usr/lib/llvm-22/include/llvm/Config/llvm-config.h";
const CORE: &str = "/usr/lib/rustlib/src/rust/library/core/Cargo.toml";

/// A program of the toolchain, its version, and where it comes from.
struct Pin {
    path: &'static str,
    version: &'static str,
    package: &'static str,
}

const PINS: [Pin; 3] = [
    Pin {
        path: RUSTC,
        version: "1.96.0",
        package: "rustc-web",
    },
    Pin {
        path: CARGO,
        version: "1.96.0",
        package: "cargo-web",
    },
    Pin {
        path: STRIP,
        version: "22.1.8",
        package: "llvm-22",
    },
];

/// Files that have to be there beside the programs.
const FILES: [(&str, &str); 2] = [(CORE, "rust-web-src"), (LLVM_CONFIG, "llvm-22-dev")];

const BPF_LINKER: &str = "bpf-linker";
const BPF_LINKER_VERSION: &str = "0.13.0";

/// Installs missing tools, prints that, and checks their versions.
pub(super) fn install(root: &Path) -> Result<()> {
    let programs = PINS.iter().map(|pin| (pin.path, pin.package));
    let missing: Vec<_> = programs
        .chain(FILES)
        .filter(|(path, _)| !Path::new(path).exists())
        .map(|(_, package)| package)
        .collect();
    if !missing.is_empty() {
        install_packages(&missing)?;
    }
    for pin in &PINS {
        let shown = output(Command::new(pin.path).arg("--version"))?;
        ensure!(
            shown.contains(pin.version),
            "{} has to be {}, since the object is the same to the byte only with one toolchain; this \
             one says: {}. Where the distribution has moved on, pin its version in \
             xtask/src/ebpf/toolchain.rs, run `cargo xtask ebpf` and commit the object with it.",
            pin.path,
            pin.version,
            shown.trim()
        );
    }
    let linker = linker(root);
    if !linker_version(&linker).is_some_and(|version| version.contains(BPF_LINKER_VERSION)) {
        install_linker(root)?;
    }
    Ok(())
}

/// The linker, which is the project's own: a user's may have another version.
pub(super) fn linker(root: &Path) -> PathBuf {
    tools(root).join("bin").join(BPF_LINKER)
}

fn tools(root: &Path) -> PathBuf {
    root.join("target/tools")
}

fn linker_version(path: &Path) -> Option<String> {
    path.exists()
        .then(|| output(Command::new(path).arg("--version")).ok())
        .flatten()
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let all = packages.join(" ");
    say(&format!(
        "This machine lacks the toolchain for the kernel's program; installing {all}."
    ));
    setup::apt(packages)
}

fn install_linker(root: &Path) -> Result<()> {
    say(&format!(
        "Installing {BPF_LINKER} {BPF_LINKER_VERSION}. This takes a minute, once."
    ));
    let mut install = workspace::cargo(&["install", BPF_LINKER, "--locked"])?;
    install
        .args([
            "--version",
            BPF_LINKER_VERSION,
            "--no-default-features",
            "--features",
            "llvm-22",
        ])
        .arg("--root")
        .arg(tools(root))
        .env("LLVM_PREFIX", LLVM);
    run(&mut install)
}
