//! The commands that are needed, and the Debian packages that bring them.

use crate::shell::has;

/// A command, and where it comes from.
#[derive(Debug)]
pub(crate) struct Need {
    command: &'static str,
    pub(super) package: &'static str,
    pub(super) why: &'static str,
}

impl Need {
    pub(super) fn is_missing(&self) -> bool {
        !has(self.command)
    }
}

const fn need(command: &'static str, package: &'static str, why: &'static str) -> Need {
    Need {
        command,
        package,
        why,
    }
}

/// To build the programs.
pub(crate) const BUILD: &[Need] = &[
    need(
        "cc",
        "build-essential",
        "compiles SQLite into the server and links the programs",
    ),
    need(
        "protoc",
        "protobuf-compiler",
        "translates containerd's interface for the agent",
    ),
];

/// To run the demo.
pub(crate) const DEMO: &[Need] = &[
    need(
        "ip",
        "iproute2",
        "makes the nodes' network namespaces and shapes their links",
    ),
    need(
        "nsenter",
        "util-linux",
        "starts programs inside the namespaces",
    ),
    need(
        "containerd",
        "containerd",
        "runs on every node: it is what pulls the images",
    ),
    need(
        "docker-registry",
        "docker-registry",
        "is the registry that the images come from",
    ),
];

/// To check what `deploy/` holds.
pub(crate) const DEPLOY: &[Need] = &[
    need(
        "python3",
        "python3-venv",
        "runs helm and the checks against the Kubernetes schemas",
    ),
    need(
        "promtool",
        "prometheus",
        "checks the rules, and scrapes in the system tests",
    ),
    need("systemd-analyze", "systemd", "checks the units"),
];

/// To run the system tests, on top of the demo.
pub(crate) const TESTS: &[Need] = &[
    need("git", "git", "says which files belong to the project"),
    need(
        "bpftool",
        "bpftool",
        "lists the programs that are attached to a control group",
    ),
    need(
        "sqlite3",
        "sqlite3",
        "looks into the database files of the server's tests",
    ),
    need(
        "mariadbd",
        "mariadb-server",
        "is the database of the server's tests beside SQLite",
    ),
    need(
        "qemu-aarch64-static",
        "qemu-user-static",
        "runs the programs of the images for ARM",
    ),
    need(
        "openssl",
        "openssl",
        "makes the certificates that registries and databases of the tests show",
    ),
];

/// To run a cluster of databases.
pub(crate) const GALERA: &[Need] = &[
    need(
        "mariadbd",
        "mariadb-server",
        "is each of the three database servers",
    ),
    need(
        "/usr/lib/galera/libgalera_smm.so",
        "galera-4",
        "has each of them take the others' changes",
    ),
    need("rsync", "rsync", "copies the data to one that joins"),
    need(
        "ss",
        "iproute2",
        "tells one that joins that its rsync listens",
    ),
];

/// To run a Kubernetes, on top of the system tests.
pub(crate) const KUBERNETES: &[Need] = &[
    need(
        "openssl",
        "openssl",
        "makes the certificates of the registry that the nodes pull from",
    ),
    need(
        "/usr/lib/cni/bridge",
        "containernetworking-plugins",
        "gives pods their network",
    ),
    need(
        "iptables",
        "iptables",
        "is how kube-proxy leads from services to pods",
    ),
    need(
        "conntrack",
        "conntrack",
        "lets kube-proxy forget what it led to a pod that is gone",
    ),
];

/// To compare the data path with.
pub(crate) const DATAPATH: &[Need] = &[
    need(
        "nginx",
        "nginx-light",
        "is what the agent's data path is compared with",
    ),
    need("wrk", "wrk", "asks for manifests as fast as it can"),
];

/// To see where the processor's time goes.
pub(crate) const SAMPLES: &[Need] = &[need(
    "perf",
    "linux-perf",
    "samples what the processors do while the kernel counts",
)];

/// To fill the databases that a bench runs the server over.
pub(crate) const BENCH: &[Need] = &[
    need(
        "mariadbd",
        "mariadb-server",
        "is the database of large clusters",
    ),
    need("sqlite3", "sqlite3", "fills the database of small ones"),
];
