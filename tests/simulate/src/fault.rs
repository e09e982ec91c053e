//! What goes wrong in a simulated pull.

use std::time::Duration;

use crate::units::Rate;

/// Everything that goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// The share of nodes that die without a word while they pull.
    pub silent: f64,
    /// How long a node that takes from a dead one waits before it acts.
    pub noticed: Duration,
    /// Nodes whose containerd is slow.
    pub slow: Option<Slow>,
    /// The server is started again.
    pub restart: Option<Restart>,
    /// There is no server: each rack coordinates itself.
    pub server_away: bool,
    /// A rack's uplink is cut.
    pub cut: Option<Cut>,
    /// The first node to ask dies when it has two fifths.
    pub first_dies: bool,
}

/// Nodes whose containerd is slow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slow {
    pub share: f64,
    pub rate: Rate,
    /// Whether they notice and say so.
    pub says_so: bool,
}

/// The server is started again, and remembers nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Restart {
    pub at: Duration,
    /// How long nobody is answered.
    pub away: Duration,
}

/// Nothing comes into a rack or out of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    pub rack: usize,
    pub at: Duration,
    pub lasts: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            silent: 0.0,
            noticed: Duration::from_millis(250),
            slow: None,
            restart: None,
            server_away: false,
            cut: None,
            first_dies: false,
        }
    }
}
