//! One callback of one socket, as the kernel shows it.

use core::ptr;

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG,
        BPF_SOCK_OPS_RETRANS_CB_FLAG, BPF_SOCK_OPS_RTT_CB_FLAG, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG, BPF_TCP_CLOSE_WAIT, BPF_TCP_CLOSING,
        BPF_TCP_ESTABLISHED, BPF_TCP_FIN_WAIT1, BPF_TCP_FIN_WAIT2, BPF_TCP_LAST_ACK, bpf_sock,
    },
    helpers::generated::{bpf_jiffies64, bpf_sock_ops_cb_flags_set},
    programs::SockOpsContext,
};
use pi_ebpf::{PeerKey, Progress, Tcp};

const AF_INET: u32 = 2;
/// `BPF_WRITE_HDR_TCP_CURRENT_MSS`, which the bindings have in a module without a lasting name.
const CURRENT_MSS: u32 = 1;
/// A TCP header without options.
const HEADER: usize = 20;
/// Callbacks enabled on a counted connection.
///
/// - `RTT`: acknowledgements, once per round trip.
/// - `WRITE_HDR_OPT`: before every segment is sent, pure acknowledgements included. No option is
///   reserved, so nothing changes on the wire.
/// - `STATE`: the end.
/// - `PARSE_ALL_HDR_OPT`: segments off the fast path, among them every FIN.
/// - `RETRANS`: segments sent again.
const CALLBACKS: u32 = BPF_SOCK_OPS_RTT_CB_FLAG
    | BPF_SOCK_OPS_STATE_CB_FLAG
    | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG
    | BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG
    | BPF_SOCK_OPS_RETRANS_CB_FLAG;

/// One callback.
pub(crate) struct Callback {
    pub(crate) context: SockOpsContext,
}

/// Where a FIN lies in what came in.
pub(crate) struct Header {
    pub(crate) sequence: u32,
    pub(crate) payload: u32,
}

/// Reads a field of the context.
///
/// LLVM may neither move nor merge such a read with another branch's: two reads at different offsets
/// would become one at a computed offset, which the verifier refuses.
macro_rules! field {
    ($callback:expr, $($path:tt)+) => {{
        // SAFETY: the kernel hands a valid context to the program, and lets it read this field.
        unsafe { ptr::read_volatile(&raw const (*$callback.context.ops).$($path)+) }
    }};
}

impl Callback {
    pub(crate) fn new(context: SockOpsContext) -> Self {
        Self { context }
    }

    /// Which callback it is.
    #[inline(always)]
    pub(crate) fn op(&self) -> u32 {
        field!(self, op)
    }

    /// The socket; null where it is not a full one.
    #[inline(always)]
    pub(crate) fn socket(&self) -> *mut bpf_sock {
        // SAFETY: as in `field`; this one the verifier wants read once, and checked for null.
        unsafe { (*self.context.ops).__bindgen_anon_2.sk }
    }

    /// Whether one end of the connection has this port.
    #[inline(always)]
    pub(crate) fn has_port(&self, port: u32) -> bool {
        field!(self, local_port) == port || u32::from_be(field!(self, remote_port)) == port
    }

    #[inline(always)]
    pub(crate) fn peer(&self) -> PeerKey {
        let v4 = field!(self, remote_ip4);
        let v6 = [
            field!(self, remote_ip6[0]),
            field!(self, remote_ip6[1]),
            field!(self, remote_ip6[2]),
            field!(self, remote_ip6[3]),
        ];
        if field!(self, family) == AF_INET {
            PeerKey::v4(v4)
        } else {
            PeerKey::v6(v6)
        }
    }

    /// Whether it is only about how much room options leave in a segment: the kernel asks once for
    /// everything that an application writes.
    #[inline(always)]
    pub(crate) fn asks_for_room(&self) -> bool {
        field!(self, __bindgen_anon_1.args[0]) == CURRENT_MSS
    }

    /// The state the socket goes to, in a callback about its state.
    #[inline(always)]
    pub(crate) fn next_state(&self) -> u32 {
        field!(self, __bindgen_anon_1.args[1])
    }

    /// Smoothed round-trip time, microseconds.
    #[inline(always)]
    pub(crate) fn srtt_us(&self) -> u32 {
        field!(self, srtt_us) >> 3
    }

    /// Least round-trip time, microseconds.
    #[inline(always)]
    pub(crate) fn min_rtt_us(&self) -> u32 {
        field!(self, rtt_min)
    }

    #[inline(always)]
    pub(crate) fn retransmits(&self) -> u32 {
        field!(self, total_retrans)
    }

    /// Whether everything that was sent has been acknowledged.
    #[inline(always)]
    pub(crate) fn nothing_in_flight(&self) -> bool {
        field!(self, packets_out) == 0
    }

    /// Bytes of the segment the callback is about: payload where it is about to be sent, header and
    /// payload where it came in, 0 where there is none.
    #[inline(always)]
    pub(crate) fn segment_bytes(&self) -> u32 {
        field!(self, skb_len)
    }

    /// Whether that segment carries a FIN.
    #[inline(always)]
    pub(crate) fn segment_has_fin(&self) -> bool {
        field!(self, skb_tcp_flags) & Tcp::FIN != 0
    }

    /// The header of the segment that came in.
    #[inline(always)]
    pub(crate) fn segment_header(&self) -> Option<Header> {
        let start = field!(self, __bindgen_anon_3.skb_data)
            .cast_const()
            .cast::<u8>();
        let end = field!(self, __bindgen_anon_4.skb_data_end)
            .cast_const()
            .cast::<u8>();
        // SAFETY: the verifier knows these as the bounds of a packet, and the comparison makes the
        // header readable.
        if unsafe { start.add(HEADER) } > end {
            return None;
        }
        // SAFETY: within the header; a volatile byte-wise read asks for no alignment.
        let sequence = unsafe { ptr::read_volatile(start.add(4).cast::<u32>()) };
        // SAFETY: within the header.
        let words = unsafe { ptr::read_volatile(start.add(12)) } >> 4;
        let payload = self.segment_bytes().wrapping_sub(u32::from(words) * 4);
        Some(Header {
            sequence: u32::from_be(sequence),
            payload,
        })
    }

    /// Whether both directions are open.
    #[inline(always)]
    pub(crate) fn is_established(&self) -> bool {
        field!(self, state) == BPF_TCP_ESTABLISHED
    }

    /// Whether nothing that was sent is missing, or has to be sent again.
    #[inline(always)]
    pub(crate) fn misses_nothing(&self) -> bool {
        field!(self, retrans_out) == 0
            && field!(self, lost_out) == 0
            && field!(self, sacked_out) == 0
    }

    /// Whether it was established, and has not ended.
    #[inline(always)]
    pub(crate) fn is_connected(&self) -> bool {
        let state = field!(self, state);
        state == BPF_TCP_ESTABLISHED
            || state == BPF_TCP_FIN_WAIT1
            || state == BPF_TCP_FIN_WAIT2
            || state == BPF_TCP_CLOSE_WAIT
            || state == BPF_TCP_LAST_ACK
            || state == BPF_TCP_CLOSING
    }

    /// Whether somebody has asked for the callbacks before each segment.
    #[inline(always)]
    pub(crate) fn is_watched(&self) -> bool {
        field!(self, bpf_sock_ops_cb_flags) & BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG != 0
    }

    /// Asks for the callbacks of this socket, beside those that others have asked for.
    #[inline(always)]
    pub(crate) fn watch(&self) -> Result<(), Refused> {
        self.ask(field!(self, bpf_sock_ops_cb_flags) | CALLBACKS)
    }

    /// Asks for them without those before each segment.
    #[inline(always)]
    pub(crate) fn rest(&self) -> Result<(), Refused> {
        self.ask(field!(self, bpf_sock_ops_cb_flags) & !BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG)
    }

    #[inline(always)]
    fn ask(&self, flags: u32) -> Result<(), Refused> {
        // SAFETY: the context is the kernel's own.
        match unsafe { bpf_sock_ops_cb_flags_set(self.context.ops, flags.cast_signed()) } {
            0 => Ok(()),
            _ => Err(Refused),
        }
    }
}

impl Progress for Callback {
    #[inline(always)]
    fn bytes_received(&self) -> u64 {
        field!(self, bytes_received)
    }

    #[inline(always)]
    fn receive_next(&self) -> u32 {
        field!(self, rcv_nxt)
    }

    #[inline(always)]
    fn bytes_acked(&self) -> u64 {
        field!(self, bytes_acked)
    }

    #[inline(always)]
    fn send_unacked(&self) -> u32 {
        field!(self, snd_una)
    }

    #[inline(always)]
    fn send_next(&self) -> u32 {
        field!(self, snd_nxt)
    }

    #[inline(always)]
    fn window(&self) -> u64 {
        u64::from(field!(self, snd_cwnd)) * u64::from(field!(self, mss_cache))
    }

    /// What is in flight will be acknowledged, which shows at the next round trip.
    #[inline(always)]
    fn goes_on(&self) -> bool {
        self.op() == BPF_SOCK_OPS_HDR_OPT_LEN_CB && !self.nothing_in_flight()
    }

    #[inline(always)]
    fn ticks(&self) -> u64 {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_jiffies64() }
    }
}

/// The kernel does not know all the callbacks.
pub(crate) struct Refused;
