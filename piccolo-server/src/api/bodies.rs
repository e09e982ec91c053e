//! Room for the bodies that are being read, and each address's share of it.
//!
//! The first bytes of a body need no room: most calls are short, so keepalives get through even
//! when all the room is taken.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use daemon::serve::network;
use parking_lot::{Mutex, MutexGuard};

/// Bytes of each body that need no room.
const FREE: usize = 4 << 10;

/// The bodies of all calls.
#[derive(Debug)]
pub(crate) struct Bodies {
    all: usize,
    of_one: usize,
    taken: Mutex<Taken>,
}

/// Room of one body; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    bodies: &'a Bodies,
    caller: IpAddr,
    length: usize,
}

/// Bytes in use, in all and per address.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

impl Bodies {
    /// Room for `all` bytes, of which one address gets at most `of_one`.
    pub(crate) fn new(all: usize, of_one: usize) -> Self {
        Self {
            all,
            of_one,
            taken: Mutex::default(),
        }
    }

    /// No room yet.
    pub(super) fn room(&self, caller: Option<SocketAddr>) -> Room<'_> {
        let caller = caller.map_or(Ipv4Addr::UNSPECIFIED.into(), |caller| caller.ip());
        Room {
            bodies: self,
            caller: network(caller),
            length: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }
}

impl Room<'_> {
    /// Reserves room for a body that has grown to this length; false where there is none.
    pub(super) fn grow(&mut self, length: usize) -> bool {
        let more = paid(length).saturating_sub(paid(self.length));
        if more > 0 {
            let mut taken = self.bodies.lock();
            let of_one = taken.by.get(&self.caller).copied().unwrap_or_default();
            if taken.all + more > self.bodies.all || of_one + more > self.bodies.of_one {
                return false;
            }
            taken.all += more;
            taken.by.insert(self.caller, of_one + more);
        }
        self.length = length;
        true
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let bytes = paid(self.length);
        if bytes == 0 {
            return;
        }
        let mut taken = self.bodies.lock();
        taken.all = taken.all.saturating_sub(bytes);
        if let Some(of_one) = taken.by.get_mut(&self.caller) {
            *of_one = of_one.saturating_sub(bytes);
            if *of_one == 0 {
                taken.by.remove(&self.caller);
            }
        }
    }
}

fn paid(length: usize) -> usize {
    length.saturating_sub(FREE)
}
