//! The one entry point of development: `cargo xtask --help`.

mod bench;
mod ci;
mod cli;
mod demo;
mod deploy;
mod dist;
mod docs;
mod ebpf;
mod fuzz;
mod image;
mod kubernetes;
mod layers;
mod setup;
mod shell;
mod simulate;
mod tests;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Task};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Demo(options) => demo::run(&options),
        Task::Sweep => testbed::Run::sweep_kept(),
        Task::Test {
            unit: true, filter, ..
        } => tests::run_unit(&filter),
        Task::Test {
            galera: true,
            filter,
            ..
        } => tests::run_galera(&filter),
        Task::Test {
            unit: false,
            filter,
            kubernetes: options,
            mysql,
            ..
        } => {
            if let Some(directory) = &options.kubernetes {
                return kubernetes::run(directory, &options, &filter);
            }
            if filter.is_empty() {
                ebpf::check_where_possible()?;
                deploy::check()?;
            }
            tests::run(&filter, mysql.as_deref())
        }
        Task::Ci => ci::run_all(),
        Task::Bench(options) => bench::run(&options),
        Task::Simulate(options) => simulate::run(&options),
        Task::Tidy => tidy::run(),
        Task::Docs { check: true } => docs::check(),
        Task::Docs { check: false } => docs::write(),
        Task::Deploy { render: true } => deploy::render(),
        Task::Deploy { render: false } => deploy::check(),
        Task::Ebpf { check: true } => ebpf::check(),
        Task::Ebpf { check: false } => ebpf::write(),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Dist(targets) => dist::run(&targets.arch),
        Task::Image {
            registry,
            debug: true,
            ..
        } => image::run_debug(&registry),
        Task::Image {
            registry,
            targets,
            quick: true,
            ..
        } => image::run_quick(&targets.arch, &registry),
        Task::Image {
            targets, registry, ..
        } => image::run(&targets.arch, &registry),
    }
}
