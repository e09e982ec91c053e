//! Lets things break, and puts them right again.

use std::{fs::File, net::IpAddr};

use anyhow::{Context as _, Result};
use testbed::{Agent, Host, Rate};

use super::{AGENT, Fault, LINKS, Lab, Place};
use crate::crowd::{
    SERVER,
    disk::{arrived, damage},
    permits_of,
};

/// The damage of one file: a byte of each mebibyte.
#[derive(Debug)]
pub(super) struct Damage {
    data: File,
    bytes: Vec<u64>,
}

const MIB: u64 = 1 << 20;
/// Where in its mebibyte a byte is wrong.
const SPOT: u64 = 4711;

impl Damage {
    /// Damages what came so far.
    fn make(data: File, size: u64) -> Result<Self> {
        let bytes: Vec<_> = (0..size / MIB).map(|number| number * MIB + SPOT).collect();
        let damage = Self { data, bytes };
        damage.turn()?;
        Ok(damage)
    }

    /// Turns the bytes; a second time that is undone.
    fn turn(&self) -> Result<()> {
        self.bytes.iter().try_for_each(|at| damage(&self.data, *at))
    }
}

impl Lab {
    /// Whom a fault strikes that is meant for `node`; `None` where there is nobody. Who takes bytes from
    /// the registry makes the chunk list of them, and would make a false one; agents of `broken` nodes may not
    /// say whether they do.
    pub(super) fn victim(
        &self,
        fault: Fault,
        node: usize,
        permits: &[u64],
        broken: &[usize],
    ) -> Result<Option<usize>> {
        if fault != Fault::WrongByte {
            return Ok(Some(node));
        }
        let nodes = self.crowd.bed.nodes.len();
        for number in (node..nodes).chain(0..node) {
            if broken.contains(&number) {
                continue;
            }
            let node = crate::node(&self.crowd.bed, number)?;
            let is_middle = permits.get(number) == Some(&permits_of(node));
            if is_middle && arrived(node)?.is_some() {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// What a fault breaks.
    pub(super) fn place(&self, fault: Fault, node: usize) -> Result<Place> {
        Ok(match fault {
            Fault::ServerKilled | Fault::ServerHalts | Fault::DatabaseAway => Place::Server,
            Fault::UplinkDown => Place::Rack(self.rack(node)?),
            _ => Place::Node(node),
        })
    }

    pub(super) fn strike(&mut self, fault: Fault, number: usize) -> Result<()> {
        match fault {
            Fault::AgentKilled => self.kill_agent(number)?,
            Fault::AgentHalts => self.agent(number)?.process().freeze()?,
            Fault::ContainerdKilled => self.node_mut(number)?.containerd.kill(),
            Fault::NodeGone => {
                self.unplug(number)?;
                self.kill_agent(number)?;
                self.node_mut(number)?.containerd.kill();
            }
            Fault::LinkDown => self.unplug(number)?,
            Fault::LinkSlow => self.shape(number, LINKS.node / 10)?,
            Fault::UplinkDown => {
                let rack = self.rack(number)?;
                self.crowd.bed.network().cut(rack)?;
            }
            Fault::RegistryHidden => {
                let (host, registry) = self.way_to_registry(number)?;
                self.crowd.bed.network().hide(&host, registry)?;
            }
            Fault::ServerKilled => {
                if let Some(server) = self.crowd.bed.server.take() {
                    server.kill();
                }
            }
            Fault::ServerHalts => self.server()?.process().freeze()?,
            Fault::DatabaseAway => self.database()?.freeze()?,
            Fault::DiskFull => self.disks.get(number).context("no such disk")?.fill()?,
            Fault::WrongByte => {
                if let Some((data, size)) = arrived(crate::node(&self.crowd.bed, number)?)? {
                    self.damages.insert(number, Damage::make(data, size)?);
                }
            }
            Fault::RegistryDenies
            | Fault::RegistryForbids
            | Fault::RegistryLimits
            | Fault::RegistryFails
            | Fault::RegistrySlow
            | Fault::RegistrySilent => {
                if let Some(refusal) = fault.refusal() {
                    self.gate.refuse(self.address(number)?, refusal);
                }
            }
        }
        Ok(())
    }

    pub(super) fn repair(&mut self, fault: Fault, number: usize) -> Result<()> {
        match fault {
            Fault::AgentKilled => self.crowd.bed.start_agent(number, AGENT)?,
            Fault::AgentHalts => self.agent(number)?.process().thaw()?,
            Fault::ContainerdKilled => self.node_mut(number)?.containerd.start()?,
            Fault::NodeGone => {
                self.plug(number)?;
                self.node_mut(number)?.containerd.start()?;
                self.crowd.bed.start_agent(number, AGENT)?;
            }
            Fault::LinkDown => self.plug(number)?,
            Fault::LinkSlow => self.shape(number, LINKS.node)?,
            Fault::UplinkDown => {
                let rack = self.rack(number)?;
                self.crowd.bed.network().mend(rack)?;
            }
            Fault::RegistryHidden => {
                let (host, registry) = self.way_to_registry(number)?;
                self.crowd.bed.network().show(&host, registry)?;
            }
            Fault::ServerKilled => self.crowd.bed.start_server(&SERVER)?,
            Fault::ServerHalts => self.server()?.process().thaw()?,
            Fault::DatabaseAway => self.database()?.thaw()?,
            Fault::DiskFull => self.disks.get(number).context("no such disk")?.free()?,
            Fault::WrongByte => {
                if let Some(damage) = self.damages.remove(&number) {
                    damage.turn()?;
                }
            }
            Fault::RegistryDenies
            | Fault::RegistryForbids
            | Fault::RegistryLimits
            | Fault::RegistryFails
            | Fault::RegistrySlow
            | Fault::RegistrySilent => self.gate.serve(self.address(number)?),
        }
        Ok(())
    }

    fn kill_agent(&mut self, number: usize) -> Result<()> {
        let agent = self.node_mut(number)?.agent.take();
        agent.map(Agent::kill).unwrap_or_default();
        Ok(())
    }

    fn unplug(&mut self, number: usize) -> Result<()> {
        let host = self.node_mut(number)?.host.clone();
        self.crowd.bed.network().unplug(&host)
    }

    fn plug(&mut self, number: usize) -> Result<()> {
        let host = self.node_mut(number)?.host.clone();
        self.crowd.bed.network().plug(&host)
    }

    fn shape(&mut self, number: usize, megabits: u32) -> Result<()> {
        let host = self.node_mut(number)?.host.clone();
        let rate = Rate::megabits(megabits);
        self.crowd.bed.network().reshape(&host, rate)
    }

    fn way_to_registry(&mut self, number: usize) -> Result<(Host, IpAddr)> {
        let registry = self.crowd.bed.registry.address();
        Ok((self.node_mut(number)?.host.clone(), registry))
    }

    fn address(&self, number: usize) -> Result<IpAddr> {
        Ok(crate::node(&self.crowd.bed, number)?.host.address)
    }

    fn database(&self) -> Result<&testbed::SqlServer> {
        self.crowd.database().context("no database")
    }
}
