//! The calls that are measured, with what the Go server did where that is known.

use measure::Workload;

/// One kind of call.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) workload: Workload,
    /// Fewer than the option says.
    pub(super) connections: Option<u32>,
    /// Whether the server keeps the answers to finds for a moment.
    pub(super) cached: bool,
    /// Seconds of the load that are not measured.
    pub(super) warm_up: f64,
    pub(super) go: Option<Go>,
}

/// The Go server with 20 M rows, 32 connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Go {
    pub(super) per_second: f64,
    /// In milliseconds.
    pub(super) p99: f64,
    /// Processor seconds of server and database for 1,000 requests.
    pub(super) cpu: Option<f64>,
}

const MIX: Go = go(1141.0, 82.0, 1.58);
const POPULAR: Go = go(997.0, 91.0, 1.79);
const TAIL: Go = go(6227.0, 31.0, 0.29);

pub(super) const CASES: &[Case] = &[
    Case::new("find, mix", Workload::FindMix, Some(MIX)).warmed(),
    Case::new("find, popular", Workload::FindPopular, Some(POPULAR)),
    Case::new("find, tail", Workload::FindTail, Some(TAIL)),
    Case::new("find, mix, no cache", Workload::FindMix, Some(MIX)).uncached(),
    Case::new(
        "find, popular, no cache",
        Workload::FindPopular,
        Some(POPULAR),
    )
    .uncached(),
    Case::new("find, tail, no cache", Workload::FindTail, Some(TAIL)).uncached(),
    Case {
        connections: Some(1),
        ..Case::new(
            "find, mix, one connection",
            Workload::FindMix,
            Some(Go {
                per_second: 646.0,
                p99: 4.6,
                cpu: None,
            }),
        )
    },
    Case::new("find of 8 keys", Workload::FindBatch, None),
    Case::new(
        "keepalive",
        Workload::Keepalive,
        Some(go(3875.0, 38.0, 0.38)),
    ),
    Case::new(
        "advertise 10 present",
        Workload::AdvertisePresent,
        Some(go(2299.0, 49.0, 0.67)),
    ),
    Case::new(
        "advertise 10 new",
        Workload::AdvertiseNew,
        Some(go(856.0, 298.0, 1.27)),
    ),
    Case::new(
        "sync 400 unchanged",
        Workload::SyncSame,
        Some(go(758.0, 209.0, 1.43)),
    ),
    Case::new(
        "sync, 40 of 400 changed",
        Workload::SyncChanged,
        Some(go(306.0, 405.0, 5.04)),
    ),
];

impl Case {
    const fn new(name: &'static str, workload: Workload, go: Option<Go>) -> Self {
        Self {
            name,
            workload,
            connections: None,
            cached: true,
            warm_up: 1.0,
            go,
        }
    }

    /// As much as it takes until a server has in memory what it has all day.
    const fn warmed(mut self) -> Self {
        self.warm_up = 60.0;
        self
    }

    const fn uncached(mut self) -> Self {
        self.cached = false;
        self
    }
}

const fn go(per_second: f64, p99: f64, cpu: f64) -> Go {
    Go {
        per_second,
        p99,
        cpu: Some(cpu),
    }
}
