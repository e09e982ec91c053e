//! The network of the bed: a core bridge, a bridge per rack, shaped uplinks and shaped nodes.
//!
//! All bridges live in one namespace, the fabric; every host has a namespace with one interface.
//! Nothing has a route out. The addresses are those of RFC 2544, which are nobody's:
//! 198.18.0.0/24 for the core, 198.18.R.0/24 for rack R. Those of IPv6 are unique local ones with the
//! same numbers: fd00:198:18:R::N.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use crate::exec::run_line;
use crate::netns::Netns;
use crate::rate::Rate;
use crate::run::Run;

/// Bits per second, more than any link inside of a machine reaches.
const UNSHAPED: u64 = 100_000_000_000;

/// What the network looks like. A rate of `None` leaves the link unshaped.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many nodes each rack has.
    pub racks: Vec<u8>,
    /// The link of each node.
    pub node: Option<Rate>,
    /// The link from each rack to the core.
    pub uplink: Option<Rate>,
    /// The link of the registry.
    pub registry: Option<Rate>,
    /// Which addresses hosts have.
    pub family: Family,
}

/// Which addresses the hosts of a network have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Of IPv4.
    #[default]
    V4,
    /// Of IPv6. There is IPv4 on the loopback interface only.
    V6,
    /// Of both.
    Both,
}

/// One machine of the network.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its short name, for instance `n1`.
    pub name: String,
    /// The rack it stands in, `core` for what stands in none.
    pub rack: String,
    /// Its address, of IPv4 where it has one.
    pub address: IpAddr,
    /// Its address of IPv6 where it has one of IPv4, too.
    pub second: Option<IpAddr>,
    /// Its namespace.
    pub netns: Netns,
}

/// The built network.
#[derive(Debug)]
pub struct Network {
    run: Run,
    fabric: Netns,
    nodes: Vec<Host>,
    core_hosts: u8,
    uplink: Option<Rate>,
    family: Family,
    /// Slower ways, from one rack to another.
    pairs: BTreeMap<(u8, u8), Rate>,
}

impl Host {
    /// Gives it one more address, of which no other host knows.
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn add_address(&self, address: Ipv4Addr) -> Result<()> {
        ip(&self.netns, &format!("addr add {address}/32 dev lo"))
    }

    /// Takes its address away, and gives it another one in its place.
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn replace_address(&self, by: IpAddr) -> Result<()> {
        let (bits, more) = prefix(by);
        ip(
            &self.netns,
            &format!("addr del {}/{bits} dev eth0", self.address),
        )?;
        ip(&self.netns, &format!("addr add {by}/{bits} dev eth0{more}"))
    }

    /// Has it send packets to some addresses by way of another host, and pass on what is not for
    /// itself.
    ///
    /// # Errors
    ///
    /// When `ip` or the kernel refuse.
    pub fn route(&self, addresses: &str, via: IpAddr) -> Result<()> {
        ip(&self.netns, &format!("route replace {addresses} via {via}"))?;
        self.netns.inside(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("having packets passed on")
        })
    }

    /// Silently drops what it sends to an address.
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn lose_packets_to(&self, address: Ipv4Addr) -> Result<()> {
        let nobody = "lladdr 02:00:00:00:00:01 nud permanent";
        ip(
            &self.netns,
            &format!("neigh replace {address} {nobody} dev eth0"),
        )
    }
}

impl Plan {
    /// Racks of unshaped nodes.
    pub fn unshaped(racks: &[u8]) -> Self {
        Self {
            racks: racks.to_vec(),
            node: None,
            uplink: None,
            registry: None,
            family: Family::V4,
        }
    }
}

impl Network {
    /// Builds the racks and their nodes.
    ///
    /// # Errors
    ///
    /// When `ip` or `tc` refuse.
    pub fn build(run: &Run, plan: &Plan) -> Result<Self> {
        let fabric = Netns::create(run, "fabric")?;
        add_bridge(&fabric, "core")?;
        let mut network = Self {
            run: run.clone(),
            fabric,
            nodes: Vec::new(),
            core_hosts: 0,
            uplink: plan.uplink,
            family: plan.family,
            pairs: BTreeMap::new(),
        };
        for (rack, nodes) in (1_u8..).zip(&plan.racks) {
            network.add_rack(rack, plan.uplink)?;
            for node in 1..=*nodes {
                let name = format!("n{}", network.nodes.len() + 1);
                let bridge = format!("rack{rack}");
                let host = network.add_host(&name, &bridge, [rack, 10 + node], plan.node)?;
                network.nodes.push(host);
            }
        }
        Ok(network)
    }

    /// The nodes, rack by rack.
    pub fn nodes(&self) -> &[Host] {
        &self.nodes
    }

    /// Adds a host that stands beside the racks, on the core.
    ///
    /// # Errors
    ///
    /// When `ip` or `tc` refuse, or there are too many.
    pub fn add_core_host(&mut self, name: &str, rate: Option<Rate>) -> Result<Host> {
        self.core_hosts = self
            .core_hosts
            .checked_add(1)
            .context("too many hosts on the core")?;
        self.add_host(name, "core", [0, self.core_hosts], rate)
    }

    /// Cuts a host's only link: packets from and to it are silently dropped.
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn unplug(&self, host: &Host) -> Result<()> {
        ip(&self.fabric, &format!("link set {} down", port(&host.name)))
    }

    /// Restores the link after [`Network::unplug`].
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn plug(&self, host: &Host) -> Result<()> {
        ip(&self.fabric, &format!("link set {} up", port(&host.name)))
    }

    /// Lets a host find no way to an address: what it sends there is refused at once, and replies to what is
    /// in flight get lost.
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn hide(&self, host: &Host, address: IpAddr) -> Result<()> {
        ip(&host.netns, &format!("route add unreachable {address}"))
    }

    /// Lets it find the way again after [`Network::hide`].
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn show(&self, host: &Host, address: IpAddr) -> Result<()> {
        ip(&host.netns, &format!("route del unreachable {address}"))
    }

    /// Cuts a rack off the core: packets get lost without a word. Racks are numbered from 1.
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn cut(&self, rack: u8) -> Result<()> {
        ip(&self.fabric, &format!("link set up{rack} down"))
    }

    /// Connects a rack again after [`Network::cut`].
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn mend(&self, rack: u8) -> Result<()> {
        ip(&self.fabric, &format!("link set up{rack} up"))
    }

    /// Has the nodes speak TCP with CUBIC from now on, where the kernel has it: nodes have that unless somebody chose
    /// another, and this machine has BBR. All flows of a link share one queue here, where BBR gave one of two flows
    /// five times as much as the other for ten seconds.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn use_cubic(&self) -> Result<()> {
        self.nodes
            .iter()
            .try_for_each(|host| host.netns.use_cubic())
    }

    /// Gives a host's link another rate.
    ///
    /// # Errors
    ///
    /// When `tc` refuses.
    pub fn reshape(&self, host: &Host, rate: Rate) -> Result<()> {
        shape(&self.fabric, &port(&host.name), Some(rate))?;
        shape(&host.netns, "eth0", Some(rate))
    }

    /// Makes the way from one rack to another slower than the racks' own links, or as fast as they
    /// are again. Racks are numbered from 1.
    ///
    /// # Errors
    ///
    /// When `tc` refuses, or there is no such rack.
    pub fn shape_pair(&mut self, from: u8, to: u8, rate: Option<Rate>) -> Result<()> {
        match rate {
            Some(rate) => self.pairs.insert((from, to), rate),
            None => self.pairs.remove(&(from, to)),
        };
        let interface = format!("down{to}");
        let tc = |arguments: String| {
            let name = self.fabric.name();
            run_line(&format!("tc -n {name} {arguments}")).map(drop)
        };
        // The old discipline goes with all its classes.
        let _ = tc(format!("qdisc del dev {interface} root"));
        let slower = self.pairs.iter().filter(|((_, into), _)| *into == to);
        let slower: Vec<_> = slower.map(|((from, _), rate)| (*from, *rate)).collect();
        if slower.is_empty() {
            return shape(&self.fabric, &interface, self.uplink);
        }
        let whole = self.uplink.map_or(UNSHAPED, Rate::bits_per_second);
        tc(format!(
            "qdisc add dev {interface} root handle 1: htb default 255"
        ))?;
        let class = |number: u8, bits: u64| {
            format!(
                "class add dev {interface} parent 1: classid 1:{number} htb rate {bits}bit burst 256k cburst 256k"
            )
        };
        tc(class(255, whole))?;
        for (from, rate) in slower {
            tc(class(from, rate.bits_per_second()))?;
            // A short queue: segments are as long as offloading makes them.
            tc(format!(
                "qdisc add dev {interface} parent 1:{from} pfifo limit 8"
            ))?;
            tc(format!(
                "filter add dev {interface} parent 1: protocol ip u32 match ip src 198.18.{from}.0/24 flowid 1:{from}"
            ))?;
        }
        Ok(())
    }

    fn add_rack(&self, rack: u8, uplink: Option<Rate>) -> Result<()> {
        let bridge = format!("rack{rack}");
        add_bridge(&self.fabric, &bridge)?;
        // Each end of the pair shapes what leaves its bridge: up to the core, and down to the rack.
        let (up, down) = (format!("up{rack}"), format!("down{rack}"));
        let fabric = &self.fabric;
        ip(fabric, &format!("link add {up} type veth peer name {down}"))?;
        for (interface, master) in [(&up, bridge.as_str()), (&down, "core")] {
            ip(fabric, &format!("link set {interface} master {master} up"))?;
            shape(fabric, interface, uplink)?;
        }
        Ok(())
    }

    fn add_host(
        &self,
        name: &str,
        rack: &str,
        [network, number]: [u8; 2],
        rate: Option<Rate>,
    ) -> Result<Host> {
        let netns = Netns::create(&self.run, name)?;
        let port = port(name);
        let peer = netns.name();
        ip(
            &self.fabric,
            &format!("link add {port} type veth peer name eth0 netns {peer}"),
        )?;
        ip(&self.fabric, &format!("link set {port} master {rack} up"))?;
        let v4 = IpAddr::V4(Ipv4Addr::new(198, 18, network, number));
        let [network, number] = [network, number].map(u16::from);
        let v6 = Ipv6Addr::new(0xfd00, 0x198, 0x18, network, 0, 0, 0, number).into();
        let (address, second) = match self.family {
            Family::V4 => (v4, None),
            Family::V6 => (v6, None),
            Family::Both => (v4, Some(v6)),
        };
        for address in [Some(address), second].into_iter().flatten() {
            let (bits, more) = prefix(address);
            ip(&netns, &format!("addr add {address}/{bits} dev eth0{more}"))?;
        }
        ip(&netns, "link set eth0 up")?;
        shape(&self.fabric, &port, rate)?;
        shape(&netns, "eth0", rate)?;
        let (name, rack) = (name.to_owned(), rack.to_owned());
        Ok(Host {
            name,
            rack,
            address,
            second,
            netns,
        })
    }
}

/// How long the network's part of an address is, and what else is said when it is added.
fn prefix(address: IpAddr) -> (u8, &'static str) {
    match address {
        IpAddr::V4(_) => (16, ""),
        // Nobody else has it: there is no wait until that is known.
        IpAddr::V6(_) => (48, " nodad"),
    }
}

/// A host's port on its bridge.
fn port(host: &str) -> String {
    format!("p-{host}")
}

fn add_bridge(netns: &Netns, name: &str) -> Result<()> {
    ip(netns, &format!("link add {name} type bridge"))?;
    ip(netns, &format!("link set {name} up"))
}

fn ip(netns: &Netns, arguments: &str) -> Result<()> {
    run_line(&format!("ip -n {} {arguments}", netns.name())).map(drop)
}

fn shape(netns: &Netns, interface: &str, rate: Option<Rate>) -> Result<()> {
    let Some(rate) = rate else { return Ok(()) };
    let (name, bits) = (netns.name(), rate.bits_per_second());
    // The burst has to hold the largest segment that offloading builds (64 KiB) several times.
    let filter = format!("root tbf rate {bits}bit burst 256k latency 50ms");
    run_line(&format!(
        "tc -n {name} qdisc replace dev {interface} {filter}"
    ))
    .map(drop)
}
