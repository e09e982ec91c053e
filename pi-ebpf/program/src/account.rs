//! From callbacks to counters.

use core::ptr;

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB,
        BPF_SOCK_OPS_PARSE_HDR_OPT_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RTT_CB, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB, BPF_TCP_CLOSE, bpf_sock,
    },
    helpers::generated::bpf_ktime_get_ns,
};
use aya_log_ebpf::debug;
use pi_ebpf::{Callbacks, Connection, Counters, Growth, Progress as _, Word as _, names::Failure};

use crate::{context::Callback, maps, shared::Shared};

/// Handles one callback.
#[inline(always)]
pub(crate) fn handle(callback: &Callback) {
    let op = callback.op();
    let established = matches!(
        op,
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB | BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB
    );
    let progresses = matches!(
        op,
        BPF_SOCK_OPS_RTT_CB | BPF_SOCK_OPS_HDR_OPT_LEN_CB | BPF_SOCK_OPS_STATE_CB
    );
    let unsettles = matches!(op, BPF_SOCK_OPS_RETRANS_CB | BPF_SOCK_OPS_WRITE_HDR_OPT_CB);
    // Of what arrives, only a FIN matters; the rest shows in a later callback.
    let arrives = op == BPF_SOCK_OPS_PARSE_HDR_OPT_CB && callback.segment_has_fin();
    if !(established || progresses || unsettles || arrives) {
        return;
    }
    // The segment itself follows, and has a callback of its own.
    if op == BPF_SOCK_OPS_HDR_OPT_LEN_CB && callback.asks_for_room() {
        return;
    }
    let socket = callback.socket();
    if socket.is_null() {
        return;
    }
    let known = if established {
        ptr::null_mut()
    } else {
        maps::connection(socket)
    };
    // SAFETY: storage is null or the socket's own, and the socket is locked.
    match unsafe { known.as_mut() } {
        Some(connection) if arrives => note_fin(callback, connection),
        Some(connection) => {
            if progresses {
                progress(callback, op, socket, connection);
            }
            let needed = needed(callback, op, connection);
            ask(callback, connection, needed);
        }
        None if established || callback.is_connected() => take_over(callback, socket, established),
        None => {}
    }
}

/// Which callbacks a connection needs after this one.
#[inline(always)]
fn needed(callback: &Callback, op: u32, connection: &mut Connection) -> Callbacks {
    match op {
        BPF_SOCK_OPS_RTT_CB => {
            let settled = callback.is_established() && callback.misses_nothing();
            connection.round_trip(callback, settled)
        }
        BPF_SOCK_OPS_STATE_CB | BPF_SOCK_OPS_RETRANS_CB => connection.watch.wake(),
        // Another program writes options into each segment.
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB => connection.watch.share(),
        _ => Callbacks::Same,
    }
}

#[inline(always)]
fn ask(callback: &Callback, connection: &mut Connection, callbacks: Callbacks) {
    let asked = match callbacks {
        Callbacks::Same => return,
        Callbacks::All => {
            connection.rested(callback, now_ns());
            callback.watch()
        }
        Callbacks::RoundTrips => callback.rest(),
    };
    if asked.is_err() {
        maps::fail(Failure::NoCallbacks);
    }
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// A connection that is counted has moved on, or is about to send.
#[inline(always)]
fn progress(callback: &Callback, op: u32, socket: *mut bpf_sock, connection: &mut Connection) {
    if op == BPF_SOCK_OPS_STATE_CB {
        connection.stays_close();
    }
    let growth = connection.advance(callback);
    let ends = op == BPF_SOCK_OPS_STATE_CB && callback.next_state() == BPF_TCP_CLOSE;
    let sending = op == BPF_SOCK_OPS_HDR_OPT_LEN_CB;
    let payload = if sending { callback.segment_bytes() } else { 0 };
    if sending && callback.segment_has_fin() {
        connection.sent.fin.goes(callback.send_next(), payload);
    }
    // Most callbacks end here, before the clock is read.
    if growth.is_nothing() && !ends && payload == 0 {
        return;
    }
    let now_ns = now_ns();
    connection.notice(callback);
    if !growth.is_nothing() || ends {
        if let Some(peer) = maps::peer(callback.peer()) {
            credit(callback, op, connection, peer, growth, now_ns);
            let open = op != BPF_SOCK_OPS_STATE_CB && callback.is_established();
            if open && connection.is_busy_alone(peer) {
                connection.look_ahead(callback, maps::promise(socket), growth);
            } else {
                connection.stays_close();
            }
            if ends {
                peer.closed.add(1);
            }
        }
        debug!(
            &callback.context,
            "callback {}: {} received, {} acknowledged", op, growth.received, growth.sent
        );
    }
    if payload != 0 {
        connection.sends(now_ns);
    }
}

/// Begins to count a connection, if it is one of ours: one that has just been `established`, or one
/// whose callbacks an earlier run of the agent, or another program, has asked for.
#[inline(always)]
fn take_over(callback: &Callback, socket: *mut bpf_sock, established: bool) {
    if !callback.has_port(maps::port()) {
        return;
    }
    // SAFETY: as in `handle`.
    let Some(connection) = (unsafe { maps::new_connection(socket).as_mut() }) else {
        maps::fail(Failure::NoStorage);
        return;
    };
    connection.start(callback, callback.retransmits(), now_ns());
    if established && callback.is_watched() {
        connection.watch.share();
    }
    if callback.watch().is_err() {
        maps::fail(Failure::NoCallbacks);
    }
    // What completes the handshake may carry data and a FIN.
    if established && callback.segment_has_fin() {
        note_fin(callback, connection);
    }
    if let Some(peer) = maps::peer(callback.peer()) {
        // Numbers, not a choice of the counter: a chosen offset into a map's value needs
        // `CAP_PERFMON`.
        peer.opened.add(u64::from(established));
        peer.adopted.add(u64::from(!established));
    }
    debug!(
        &callback.context,
        "a connection is counted, established just now: {}",
        u32::from(established)
    );
}

#[inline(always)]
fn note_fin(callback: &Callback, connection: &mut Connection) {
    if let Some(header) = callback.segment_header() {
        connection
            .received
            .fin
            .comes(header.sequence, header.payload);
    } else {
        maps::fail(Failure::NoHeader);
    }
}

#[inline(always)]
fn credit(
    callback: &Callback,
    op: u32,
    connection: &mut Connection,
    peer: &Counters<Shared>,
    growth: Growth,
    now_ns: u64,
) {
    let policy = maps::policy();
    if growth.sent != 0 {
        let by_rtt = op == BPF_SOCK_OPS_RTT_CB;
        let at_ns = if !by_rtt && callback.nothing_in_flight() {
            connection.tail_acked_ns(callback.srtt_us(), now_ns)
        } else {
            now_ns
        };
        connection.acknowledge(peer, &policy, at_ns, growth.sent);
        if by_rtt {
            peer.srtt_us.set(u64::from(callback.srtt_us()));
            peer.min_rtt_us.set(u64::from(callback.min_rtt_us()));
        }
    }
    let repeated = connection.retransmitted(callback.retransmits());
    if repeated != 0 {
        peer.retransmits.add(repeated);
    }
    if growth.received != 0 {
        connection.receive(peer, &policy, now_ns, growth.received);
    }
}
