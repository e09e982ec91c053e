//! From callbacks to counters.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB,
        BPF_SOCK_OPS_PARSE_HDR_OPT_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTT_CB,
        BPF_SOCK_OPS_STATE_CB, BPF_TCP_CLOSE, bpf_sock,
    },
    helpers::generated::bpf_ktime_get_ns,
};
use aya_log_ebpf::debug;
use pi_ebpf::{Connection, Counters, Growth, Word as _, names::Failure};

use crate::{context::Callback, maps, shared::Shared};

/// Takes part in one callback.
#[inline(always)]
pub(crate) fn handle(callback: &Callback) {
    match callback.op() {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB | BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            established(callback);
        }
        BPF_SOCK_OPS_PARSE_HDR_OPT_CB => arrives(callback),
        op @ (BPF_SOCK_OPS_RTT_CB | BPF_SOCK_OPS_HDR_OPT_LEN_CB | BPF_SOCK_OPS_STATE_CB) => {
            progress(callback, op);
        }
        _ => {}
    }
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn established(callback: &Callback) {
    let socket = callback.socket();
    if socket.is_null() {
        return;
    }
    let Some(connection) = take_over(callback, socket, 1) else {
        return;
    };
    // What completes the handshake may carry data and a FIN.
    if callback.segment_has_fin() {
        note_fin(callback, connection);
    }
}

/// A segment came in, and has not been looked at yet.
#[inline(always)]
fn arrives(callback: &Callback) {
    if !callback.segment_has_fin() {
        return;
    }
    let socket = callback.socket();
    if socket.is_null() {
        return;
    }
    // SAFETY: storage is null or the socket's own, and the socket is locked.
    if let Some(connection) = unsafe { maps::connection(socket).as_mut() } {
        note_fin(callback, connection);
    }
}

#[inline(always)]
fn progress(callback: &Callback, op: u32) {
    let socket = callback.socket();
    if socket.is_null() {
        return;
    }
    // SAFETY: as in `arrives`.
    let Some(connection) = (unsafe { maps::connection(socket).as_mut() }) else {
        // An earlier run of the agent, or another program, asked for its callbacks.
        take_over(callback, socket, 0);
        return;
    };
    let position = callback.position();
    let growth = connection.advance(&position);
    let ends = op == BPF_SOCK_OPS_STATE_CB && callback.next_state() == BPF_TCP_CLOSE;
    let sending = op == BPF_SOCK_OPS_HDR_OPT_LEN_CB;
    let payload = if sending { callback.segment_bytes() } else { 0 };
    if sending && callback.segment_has_fin() {
        connection.sent.fin.goes(position.send_next, payload);
    }
    // Most callbacks end here, before the clock is read.
    if growth.is_nothing() && !ends && payload == 0 {
        return;
    }
    let now_ns = now_ns();
    connection.notice(&position);
    if !growth.is_nothing() || ends {
        if let Some(peer) = maps::peer(callback.peer()) {
            credit(callback, op, connection, peer, growth, now_ns);
            peer.closed.add(u64::from(ends));
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

/// Begins to count a connection, if it is one of ours. `opened` is 1 where it has just been
/// established, 0 where it was open already; a number and not a choice of the counter, because a
/// chosen offset into a map's value needs `CAP_PERFMON`.
#[inline(always)]
fn take_over(
    callback: &Callback,
    socket: *mut bpf_sock,
    opened: u64,
) -> Option<&'static mut Connection> {
    if !callback.has_port(maps::port()) {
        return None;
    }
    // SAFETY: as in `arrives`.
    let Some(connection) = (unsafe { maps::new_connection(socket).as_mut() }) else {
        maps::fail(Failure::NoStorage);
        return None;
    };
    connection.start(&callback.position(), callback.retransmits(), now_ns());
    if callback.watch().is_err() {
        maps::fail(Failure::NoCallbacks);
    }
    if let Some(peer) = maps::peer(callback.peer()) {
        peer.opened.add(opened);
        peer.adopted.add(1 - opened);
    }
    debug!(
        &callback.context,
        "a connection is counted, established just now: {}", opened
    );
    Some(connection)
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
