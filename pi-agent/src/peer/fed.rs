//! Who is being given what this node is still getting itself.

use std::{collections::HashMap, net::IpAddr};

use parking_lot::Mutex;

use crate::digest::Digest;

/// Transfers in flight, by object and receiver.
#[derive(Debug, Default)]
pub(super) struct Fed(Mutex<HashMap<(Digest, IpAddr), usize>>);

/// One transfer; dropping it ends it.
#[derive(Debug)]
pub(super) struct Feeding<'a> {
    fed: &'a Fed,
    of: (Digest, IpAddr),
}

impl Fed {
    /// A transfer begins.
    pub(super) fn begin(&self, digest: &Digest, to: IpAddr) -> Feeding<'_> {
        let of = (digest.clone(), to);
        *self.0.lock().entry(of.clone()).or_default() += 1;
        Feeding { fed: self, of }
    }

    /// Who is given an object now, in order.
    pub(super) fn of(&self, digest: &Digest) -> Vec<IpAddr> {
        let fed = self.0.lock();
        let receivers = fed.keys().filter(|(object, _)| object == digest);
        let mut receivers: Vec<_> = receivers.map(|(_, to)| *to).collect();
        drop(fed);
        receivers.sort_unstable();
        receivers
    }
}

impl Drop for Feeding<'_> {
    fn drop(&mut self) {
        let mut fed = self.fed.0.lock();
        if let Some(count) = fed.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                fed.remove(&self.of);
            }
        }
    }
}
