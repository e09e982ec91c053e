//! Address prefixes, strictly: no bits behind the prefix, no family in disguise.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::file::problem::Problem;

pub(crate) fn cidr(text: &str) -> Result<IpNetwork, Problem> {
    let not = || Problem::Not {
        wanted: "an address prefix",
        example: "10.0.1.0/24",
    };
    let text = text.trim();
    let Some((ip, bits)) = text.split_once('/') else {
        let host = text
            .parse::<IpAddr>()
            .ok()
            .map(IpNetwork::from)
            .ok_or_else(not)?;
        let bits = if host.is_ipv4() { 24 } else { 64 };
        let around = IpNetwork::new(host.ip(), bits).map_or(host, network);
        return Err(Problem::BareAddress { host, around });
    };
    // `FromStr` of the crate takes netmasks too, and a length with a sign.
    let ip: IpAddr = ip.parse().ok().ok_or_else(not)?;
    let digits = bits.len() <= 3 && bits.chars().all(|c| c.is_ascii_digit());
    let bits: u8 = bits.parse().ok().filter(|_| digits).ok_or_else(not)?;
    let cidr = IpNetwork::new(ip, bits).ok().ok_or_else(not)?;
    if ip.to_canonical() != ip {
        return Err(Problem::MappedCidr);
    }
    if bits == 0 {
        return Err(Problem::EveryAddress);
    }
    match network(cidr) {
        network if network.ip() == ip => Ok(cidr),
        network => Err(Problem::HostBits { network, ip }),
    }
}

fn network(cidr: IpNetwork) -> IpNetwork {
    IpNetwork::new(cidr.network(), cidr.prefix()).unwrap_or(cidr)
}
