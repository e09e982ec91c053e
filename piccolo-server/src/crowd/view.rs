//! What a crowd looks like, for operators.

use std::{collections::HashMap, fmt, net::SocketAddr};

use piccolo_api::Holder;
use serde::Serialize;
use swarm::{Explanation, MemberView, Phase, Rack, Reason};
use topology::Topology;

/// The nodes that fetch one key.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    /// The instance that this is the view of, where there may be others.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<SocketAddr>,
    #[serde(flatten)]
    sums: Sums,
    /// The racks in the order of the tree.
    racks: Vec<RackLine>,
    /// The path from the requested node to the root of its sources.
    path: Vec<NodeLine>,
}

#[derive(Debug, Serialize)]
struct Sums {
    seconds: f64,
    waiting: usize,
    fetching: usize,
    complete: usize,
    out: usize,
    slow: usize,
    permits: Vec<Permitted>,
    permitted: u64,
    permits_lost: u64,
    copies_saved: u64,
    depth: u16,
}

#[derive(Debug, Serialize)]
struct Permitted {
    node: Holder,
    reason: Reason,
}

#[derive(Debug, Serialize)]
struct RackLine {
    rack: String,
    number: Option<u32>,
    level: u16,
    members: usize,
    complete: usize,
    gateway: Option<Holder>,
    parent: Option<String>,
    feeds: usize,
}

#[derive(Debug, Serialize)]
struct NodeLine {
    node: Holder,
    rack: String,
    rank: Option<String>,
    phase: Phase,
    takes_from: Vec<Holder>,
    feeds: Vec<Holder>,
    bytes: u64,
    depth: u16,
    permit: Option<Reason>,
    slow: bool,
}

impl View {
    pub(super) fn new(
        herd: &Explanation<Holder>,
        path: Vec<MemberView<Holder>>,
        topology: &Topology,
    ) -> Self {
        let rack_of = |node: Holder| topology.rack_name(topology.locate(node.ip())).into_owned();
        let mut names: HashMap<Rack, String> = HashMap::new();
        for rack in &herd.racks {
            if let Some(gateway) = rack.gateway {
                names.insert(rack.rack, rack_of(gateway));
            }
        }
        let name = |rack: Rack| {
            let name = names.get(&rack).cloned();
            name.unwrap_or_else(|| format!("#{:016x}", rack.0))
        };
        let racks = herd.racks.iter().map(|rack| RackLine {
            rack: name(rack.rack),
            number: rack.number,
            level: rack.level,
            members: rack.members,
            complete: rack.complete,
            gateway: rack.gateway,
            parent: rack.parent.map(name),
            feeds: rack.fan,
        });
        let path = path.into_iter().map(|member| NodeLine {
            node: member.node,
            rack: rack_of(member.node),
            rank: member.rank.map(|rank| rank.to_string()),
            phase: member.phase,
            takes_from: member.sources,
            feeds: member.feeds,
            bytes: member.bytes,
            depth: member.depth,
            permit: member.permit,
            slow: member.slow,
        });
        let permits = herd.permits.iter();
        let permits = permits.map(|&(node, reason)| Permitted { node, reason });
        Self {
            instance: None,
            racks: racks.collect(),
            path: path.collect(),
            sums: Sums {
                seconds: herd.seconds,
                waiting: herd.waiting,
                fetching: herd.fetching,
                complete: herd.complete,
                out: herd.out,
                slow: herd.slow,
                permits: permits.collect(),
                permitted: herd.permitted,
                permits_lost: herd.permits_lost,
                copies_saved: herd.copies_saved,
                depth: herd.deepest,
            },
        }
    }

    /// With the address of the instance that decided.
    pub(crate) fn by(self, instance: Option<SocketAddr>) -> Self {
        Self { instance, ..self }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sums = &self.sums;
        if let Some(instance) = self.instance {
            writeln!(f, "decided by the instance at {instance}")?;
        }
        writeln!(
            f,
            "for {:.0} s: {} wait, {} fetch, {} have it, {} are out; {} hops deep",
            sums.seconds, sums.waiting, sums.fetching, sums.complete, sums.out, sums.depth
        )?;
        if sums.slow > 0 {
            writeln!(f, "{} of them are slow, and feed nobody", sums.slow)?;
        }
        writeln!(
            f,
            "the registry: {} permits so far, {} of them lost; {} copies saved",
            sums.permitted, sums.permits_lost, sums.copies_saved
        )?;
        for Permitted { node, reason } in &sums.permits {
            let why = match reason {
                Reason::Turn => "its turn",
                Reason::Patience => "it had waited too long",
            };
            writeln!(f, "  {node} asks it now ({why})")?;
        }
        for rack in &self.racks {
            let indent = usize::from(rack.level).min(16) * 2;
            write!(f, "{:indent$}{}", "", rack.rack)?;
            match &rack.parent {
                Some(parent) => write!(f, " <- {parent}")?,
                None if rack.number.is_none() => f.write_str(" (has nobody to take from yet)")?,
                None => {}
            }
            if let Some(gateway) = rack.gateway {
                write!(f, " by {gateway}")?;
            }
            writeln!(
                f,
                ": {} of {} nodes have it, feeds {} racks",
                rack.complete, rack.members, rack.feeds
            )?;
        }
        for node in &self.path {
            writeln!(f, "{node}")?;
        }
        Ok(())
    }
}

impl fmt::Display for NodeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Waiting => "waits",
            Phase::Fetching => "fetches",
            Phase::Complete => "has it all",
            Phase::Out => "is out",
        };
        let rank = self.rank.as_deref().unwrap_or("none");
        write!(
            f,
            "{} in {}: {phase}, {} bytes, rank {rank}, {} hops",
            self.node, self.rack, self.bytes, self.depth
        )?;
        if self.permit.is_some() {
            f.write_str(", from the registry")?;
        }
        for source in &self.takes_from {
            write!(f, ", takes from {source}")?;
        }
        for child in &self.feeds {
            write!(f, ", feeds {child}")?;
        }
        if self.slow {
            f.write_str(", slow")?;
        }
        Ok(())
    }
}
