//! For how long a node may be silent: that depends on how often its agent gives a keepalive.

use std::time::Duration;

use daemon::clock::as_ms;

/// What a node's agent is, as its calls tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Agent {
    /// It numbers the changes of its set, and gives a keepalive at least twice a minute.
    #[default]
    Own,
    /// It numbers none, as the Go agents, which give a keepalive every ten minutes.
    Go,
}

/// For how long nodes may be silent, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    own: i64,
    /// How much longer than the others a Go agent may be.
    more: i64,
}

/// Since when a node must have been heard of, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since {
    pub(crate) own: i64,
    pub(crate) go: i64,
}

impl Patience {
    /// With Go agents as much as with others, at least.
    pub(crate) fn new(own: Duration, go: Duration) -> Self {
        Self {
            own: as_ms(own),
            more: as_ms(go.saturating_sub(own)),
        }
    }

    /// With nodes whose agents are no Go agents.
    pub(crate) fn own(self) -> i64 {
        self.own
    }

    /// How much longer a Go agent's node may be silent than others.
    pub(crate) fn more(self) -> i64 {
        self.more
    }

    /// A node that was last heard of before then was silent at `now` for as long as it may be, and for
    /// `more` timeouts of the others beyond that.
    pub(crate) fn over(self, now: i64, more: i64) -> Since {
        let timeouts = more.saturating_add(1);
        let own = now.saturating_sub(self.own.saturating_mul(timeouts));
        Since {
            own,
            go: own.saturating_sub(self.more),
        }
    }
}

impl Since {
    pub(crate) fn of(self, agent: Agent) -> i64 {
        match agent {
            Agent::Own => self.own,
            Agent::Go => self.go,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_agent_may_be_silent_for_longer_by_a_constant() {
        let minutes = |n: u64| Duration::from_mins(n);
        let patience = Patience::new(minutes(2), minutes(31));
        let minute = as_ms(minutes(1));
        let ages = |since: Since| [-since.own / minute, -since.go / minute];
        assert_eq!(ages(patience.over(0, 0)), [2, 31]);
        assert_eq!(ages(patience.over(0, 2)), [6, 35]);
        let longer = Patience::new(minutes(60), minutes(31));
        assert_eq!(ages(longer.over(0, 0)), [60, 60]);
    }
}
