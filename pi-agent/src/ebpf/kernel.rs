//! The eBPF program in the kernel: loading, attaching, reading.
#![expect(
    unsafe_code,
    reason = "the map's key and value have to be declared plain data"
)]

use std::{collections::BTreeMap, fs::File, net::IpAddr, path::Path};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, MapData},
    programs::{CgroupAttachMode, SockOps},
};
use pi_ebpf::{
    Counters, PeerKey,
    names::{self, Failure},
};

use super::{error::AccountingError, log, promises::Promises};

/// Built by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../pi-ebpf/object/account.bpf.o");

/// The program, attached for as long as this lives; the kernel detaches it when the process ends,
/// however it ends.
#[derive(Debug)]
pub(crate) struct Kernel {
    ebpf: Ebpf,
    log: Option<log::Reader>,
}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Key(PeerKey);

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Value(Counters);

// SAFETY: four words; no padding, no pointers, every value valid.
unsafe impl Pod for Key {}
// SAFETY: words only, as above.
unsafe impl Pod for Value {}

impl Kernel {
    /// Loads the program for connections of `port` and attaches it to the control group at `group`.
    /// Sockets of the group are counted if they are established from now on.
    pub(crate) fn attach(group: &Path, port: u16, capacity: u32) -> Result<Self, AccountingError> {
        let open = |source| AccountingError::Open {
            path: group.to_owned(),
            source,
        };
        let directory = File::open(group).map_err(open)?;
        let mut ebpf = load(port, capacity)?;
        let log = log::Reader::open(&mut ebpf);
        let program = ebpf.program_mut(names::PROGRAM);
        let program: &mut SockOps = program
            .and_then(|program| program.try_into().ok())
            .ok_or(AccountingError::Part(names::PROGRAM))?;
        program
            .load()
            .map_err(|source| AccountingError::Program(Box::new(source)))?;
        // `Single` is what a link takes for "one of many": the kernel refuses the flag that
        // `AllowMultiple` would set.
        program
            .attach(&directory, CgroupAttachMode::Single)
            .map_err(|source| AccountingError::Attach {
                path: group.to_owned(),
                source: Box::new(source),
            })?;
        Ok(Self { ebpf, log })
    }

    /// The counters of all peers, in one pass over the map.
    pub(crate) fn read(&self) -> Result<BTreeMap<IpAddr, Counters>, AccountingError> {
        let read = |source| AccountingError::Read(Box::new(source));
        let entry = |entry| match entry {
            Ok((Key(key), Value(value))) => Ok((key.address(), value)),
            Err(source) => Err(read(source)),
        };
        self.peers()?.iter().map(entry).collect()
    }

    /// How many connections with `peer` were seen to be established.
    pub(crate) fn opened(&self, peer: IpAddr) -> Result<u64, AccountingError> {
        let found = self.peers()?.get(&Key(peer.into()), 0);
        Ok(found.map_or(0, |Value(counters)| counters.opened))
    }

    /// Forgets a peer. Its next byte brings it back, counting from zero.
    pub(crate) fn remove(&mut self, peer: IpAddr) {
        let map = self.ebpf.map_mut(names::PEERS);
        let map = map.and_then(|map| HashMap::<_, Key, Value>::try_from(map).ok());
        if let Some(mut map) = map {
            // It may be gone already, which is as good.
            let _ = map.remove(&Key(peer.into()));
        }
    }

    /// How often the program could not do something.
    pub(crate) fn failures(&self) -> Result<[(Failure, u64); 4], AccountingError> {
        let map = self.ebpf.map(names::FAILURES);
        let map: Array<_, u64> = map
            .and_then(|map| map.try_into().ok())
            .ok_or(AccountingError::Part(names::FAILURES))?;
        Ok(Failure::ALL.map(|kind| (kind, map.get(&kind.index(), 0).unwrap_or(0))))
    }

    /// Where the program finds what is promised of a socket; there is one.
    pub(crate) fn take_promises(&mut self) -> Result<Promises, AccountingError> {
        let map = self.ebpf.take_map(names::PROMISES);
        map.and_then(Promises::new)
            .ok_or(AccountingError::Part(names::PROMISES))
    }

    /// The reader of what the program logs, where that is switched on; there is one.
    pub(crate) fn take_log(&mut self) -> Option<log::Reader> {
        self.log.take()
    }

    fn peers(&self) -> Result<HashMap<&MapData, Key, Value>, AccountingError> {
        let map = self.ebpf.map(names::PEERS);
        map.and_then(|map| map.try_into().ok())
            .ok_or(AccountingError::Part(names::PEERS))
    }
}

fn load(port: u16, capacity: u32) -> Result<Ebpf, AccountingError> {
    let port = u32::from(port);
    let level = log::level();
    EbpfLoader::new()
        // The program touches no kernel structure, so it needs no description of them.
        .btf(None)
        .override_global(names::PORT, &port, true)
        .override_global(log::LEVEL, &level, true)
        .map_max_entries(names::PEERS, capacity)
        .load(OBJECT)
        .map_err(|source| AccountingError::Load(Box::new(source)))
}
