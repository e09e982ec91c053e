//! The maps, and the constants that the agent sets when it loads the program.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    Global,
    bindings::{BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::{Array, HashMap, SkStorage},
    helpers::generated::bpf_sk_storage_get,
    macros::btf_map,
};
use pi_ebpf::{
    Connection, Counters, PeerKey, Policy, Promise, Word as _,
    names::{Failure, PEERS_CAPACITY},
};

use crate::shared::Shared;

#[unsafe(no_mangle)]
static PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static THINK_NS: Global<u64> = Global::new(Policy::DEFAULT.think_ns);
#[unsafe(no_mangle)]
static STALL_NS: Global<u64> = Global::new(Policy::DEFAULT.stall_ns);
#[unsafe(no_mangle)]
static MIN_BURST: Global<u64> = Global::new(Policy::DEFAULT.min_burst);

/// A plain hash: nothing is ever evicted behind the agent's back.
#[btf_map]
static PEERS: HashMap<PeerKey, Counters, { PEERS_CAPACITY as usize }> = HashMap::new();
#[btf_map]
static CONNECTIONS: SkStorage<Connection> = SkStorage::new();
#[btf_map]
static PROMISES: SkStorage<Promise> = SkStorage::new();
#[btf_map]
static FAILURES: Array<u64, { Failure::ALL.len() }> = Array::new();

/// What a new peer starts with, in read-only data: on the stack it would be a call of `memset`.
#[unsafe(no_mangle)]
static NEW: Counters = Counters::ZERO;

/// The port whose connections are counted.
#[inline(always)]
pub(crate) fn port() -> u32 {
    PORT.load()
}

#[inline(always)]
pub(crate) fn policy() -> Policy {
    Policy {
        think_ns: THINK_NS.load(),
        stall_ns: STALL_NS.load(),
        min_burst: MIN_BURST.load(),
    }
}

/// The counters of a peer, made if they are missing. `None` if there is no room.
#[inline(always)]
pub(crate) fn peer(key: PeerKey) -> Option<&'static Counters<Shared>> {
    let found = PEERS.get_ptr_mut(key).or_else(|| {
        // Another CPU may have been faster; the second look tells.
        let _ = PEERS.insert(key, &NEW, BPF_NOEXIST.into());
        PEERS.get_ptr_mut(key)
    });
    let Some(counters) = found else {
        fail(Failure::PeersFull);
        return None;
    };
    // SAFETY: `Shared` is a `u64` that may change under a shared reference, and a map's value stays
    // where it is for as long as the program runs.
    Some(unsafe { &*counters.cast::<Counters<Shared>>() })
}

/// What is known of a socket; null if it is not counted.
#[inline(always)]
pub(crate) fn connection(socket: *mut bpf_sock) -> *mut Connection {
    storage(&CONNECTIONS, socket, 0)
}

/// Zeroed storage for a socket; null if there is no memory.
#[inline(always)]
pub(crate) fn new_connection(socket: *mut bpf_sock) -> *mut Connection {
    storage(&CONNECTIONS, socket, BPF_SK_STORAGE_GET_F_CREATE)
}

/// What the agent has promised of a socket.
#[inline(always)]
pub(crate) fn promise(socket: *mut bpf_sock) -> Promise {
    // SAFETY: storage is null or the socket's own, and the agent replaces it as a whole.
    let promise = unsafe { storage(&PROMISES, socket, 0).as_ref() };
    promise.copied().unwrap_or_default()
}

#[inline(always)]
fn storage<T>(map: &'static SkStorage<T>, socket: *mut bpf_sock, flags: u32) -> *mut T {
    let map: *mut c_void = ptr::from_ref(map).cast_mut().cast();
    // SAFETY: the map and the context's own socket, checked for null, are what the helper takes.
    unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), flags.into()) }.cast()
}

/// Counts a failure.
#[inline(always)]
pub(crate) fn fail(failure: Failure) {
    if let Some(counter) = FAILURES.get_ptr_mut(failure.index()) {
        // SAFETY: as in `peer`.
        unsafe { &*counter.cast::<Shared>() }.add(1);
    }
}
