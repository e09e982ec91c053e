//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::BenchOptions;
use crate::dist::Arch;
use crate::fuzz::FuzzOptions;
use crate::simulate::SimulateOptions;

/// Everything that is done to Piccolo while it is developed.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Shows real containerd nodes in racks pulling one image at the same moment, without Piccolo
    /// and with it.
    Demo(DemoOptions),
    /// Ends demos that were kept, and removes what dead ones may have left.
    Sweep,
    /// Installs what is missing, then runs the unit tests and the system tests.
    Test {
        /// Runs the unit tests only, which need neither root nor anything that is not needed to build.
        #[arg(long)]
        unit: bool,
        /// Runs the tests of the server's databases over the MySQL in this directory as well, whose
        /// programs are DIR/bin/mysqld and DIR/bin/mysql.
        #[arg(long, value_name = "DIR")]
        mysql: Option<PathBuf>,
        /// Tries the server over a Galera cluster of three members on loopback instead, one of which
        /// dies; installs MariaDB and galera-4 where they are missing.
        #[arg(long, conflicts_with_all = ["unit", "mysql", "kubernetes"])]
        galera: bool,
        /// Runs only tests whose names contain one of these.
        filter: Vec<String>,
        #[command(flatten)]
        kubernetes: KubernetesOptions,
    },
    /// Everything that a change has to pass: format, house rules, lints, documents, dependencies,
    /// generated files, tests.
    Ci,
    /// Measures something and prints a table.
    Bench(BenchOptions),
    /// Simulates many nodes that pull one image at once, by the rules of the swarm and by others.
    Simulate(Box<SimulateOptions>),
    /// Checks the house rules that no other tool knows.
    Tidy,
    /// Writes the references of metrics and settings under `docs/`, as the programs print them.
    Docs {
        /// Compares with what is committed, and writes nothing.
        #[arg(long)]
        check: bool,
    },
    /// Checks `deploy/`: chart, manifests, rules and units.
    Deploy {
        /// Renders the plain manifests from the chart instead.
        #[arg(long)]
        render: bool,
    },
    /// Builds the program for the kernel into the object that the agent embeds, with a pinned
    /// toolchain that is installed where it is missing.
    Ebpf {
        /// Compares with the committed object, byte for byte, and writes nothing.
        #[arg(long)]
        check: bool,
    },
    /// Gives the parsers of foreign bytes what libFuzzer makes up.
    Fuzz(FuzzOptions),
    /// Builds static programs, and packs them with checksums and bills of materials.
    Dist(Targets),
    /// Builds the container images.
    Image {
        #[command(flatten)]
        targets: Targets,
        /// What the images' names begin with.
        #[arg(long, default_value = "localhost")]
        registry: String,
        /// Packs the development build, with its libraries, for this architecture only.
        #[arg(long, conflicts_with = "quick")]
        debug: bool,
        /// Builds the programs fast, and not optimised: what the tests of the images run.
        #[arg(long)]
        quick: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Targets {
    /// The architectures to build for.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["x86_64", "aarch64"])]
    pub(crate) arch: Vec<Arch>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct KubernetesOptions {
    /// Tries the chart on a real Kubernetes instead: two nodes, and the programs of this directory
    /// (kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, kubelet, kubectl and
    /// etcd; of Kubernetes 1.20 or later). The filter is one of cases.
    #[arg(long, value_name = "DIR")]
    pub(crate) kubernetes: Option<PathBuf>,
    /// Tries the release images; without it the development build's, which take less long to make.
    #[arg(long, requires = "kubernetes")]
    pub(crate) release: bool,
    /// The images are built: set when the test starts itself again with more rights.
    #[arg(long, hide = true)]
    pub(crate) built: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DemoOptions {
    /// Also writes the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// How many nodes pull, 2 to 64.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=64))]
    pub(crate) nodes: u8,
    /// Over how many racks they are spread, 1 to 16.
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) racks: u8,
    /// The server and the agents show each other certificates (`--tls required`), which `piccolo-server pki` issues.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Leaves everything running at the end, and says how to look at it and how to end it.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The programs are built: set when the demo starts itself again with more rights.
    #[arg(long, hide = true)]
    pub(crate) built: bool,
}
