//! The kernel's half of the per-peer accounting: one `sock_ops` program.
//!
//! It is attached to the agent's own cgroup. It takes a connection over when it is established, if
//! one of its ports is the peers' port, and asks for the callbacks of that one socket. What it knows
//! of a socket lies in the socket's storage; every callback runs with the socket locked, so that only
//! the counters per peer are shared between CPUs, and those are only added to.
#![no_std]
#![no_main]
#![expect(
    internal_features,
    reason = "the target has no compare-and-swap, so core has no fetch_add for it"
)]
#![feature(core_intrinsics)]

mod account;
mod context;
mod maps;
mod shared;

use aya_ebpf::{macros::sock_ops, programs::SockOpsContext};

use crate::context::Callback;

/// The entry point. The kernel ignores what a callback returns, except that 0 is a refusal.
#[sock_ops]
fn account(context: SockOpsContext) -> u32 {
    let callback = Callback::new(context);
    account::handle(&callback);
    1
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
