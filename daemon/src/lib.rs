//! What both processes do alike: life cycle, telemetry, readiness, listeners, HTTP client.
//!
//! Nothing here knows of images, peers or ranking.

pub mod abort;
pub mod access;
pub mod admin;
pub mod beat;
pub mod cidr;
pub mod client;
pub mod clock;
pub mod cycle;
pub mod https;
pub mod inotify;
pub mod issuer;
pub mod log_filter;
pub mod memory;
pub mod metric;
pub mod notify;
pub mod readiness;
pub mod retry;
pub mod rtnetlink;
pub mod scope;
pub mod serve;
pub mod settings;
pub mod spell;
pub mod telemetry;
pub mod tls;
pub mod whole_file;

/// Version, commit and target, as `--version` prints them.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("PICCOLO_COMMIT"),
    ", ",
    env!("PICCOLO_TARGET"),
    ")"
);
