//! A cluster on one machine, for the system tests and the demo.
//!
//! Nodes are network namespaces behind shaped racks; each runs a real containerd with a content
//! store of its own, and the registry is a real one. Everything that is made belongs to a [`Run`],
//! whose cleaner removes it again however the program ends.
//!
//! It needs root, `iproute2`, and what the parts in use need: `docker-registry`, `containerd`.

mod agent;
mod alone;
mod apt;
mod authority;
mod bed;
mod binaries;
mod cache;
mod certified;
mod cgroup;
mod containerd;
mod cri;
mod dns;
mod exec;
mod hosts;
mod http;
mod https;
mod image;
mod kubernetes;
mod netns;
mod network;
pub mod portable_sql;
mod process;
mod rate;
mod records;
pub mod reference;
mod registry;
mod rights;
mod run;
mod server;
mod slow_disk;
mod small_disk;
mod sql_server;
mod wait;

pub use agent::{Agent, AgentSetup, PeerBytes};
pub use alone::Alone;
pub use authority::{Authority, Certificate, Subject};
pub use bed::{Bed, BedSetup, Node};
pub use binaries::binary;
pub use certified::Certified;
pub use containerd::{Containerd, Release};
pub use cri::{Container, ContainerSpec, Cri, Executed, ImageRecord, MountSpec, Pod, Rights};
pub use dns::NameServer;
pub use hosts::Hosts;
pub use http::{Answer, get};
pub use https::Https;
pub use image::{Image, ImageSpec, Layer, Packing};
pub use kubernetes::{Api, Control, KubeNode, KubePaths, KubePrograms, KubeVersion, Kubernetes};
pub use netns::Netns;
pub use network::{Family, Host, Network, Plan};
pub use process::Process;
pub use rate::Rate;
pub use records::Records;
pub use registry::{AccessEntry, Gate, Refusal, Registry};
pub use rights::{STRANGER, as_stranger, is_root};
pub use run::{Run, stop_if_interrupted};
pub use server::Server;
pub use slow_disk::SlowDisk;
pub use small_disk::SmallDisk;
pub use sql_server::{Galera, Product, SqlServer};
pub use wait::wait_until;
