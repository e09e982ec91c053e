//! Readiness: what the process waits for at start, and its failing conditions afterwards.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, sync::Arc};

use parking_lot::Mutex;

/// Ready means: every guard was dropped, and no condition is failing. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<Cow<'static, str>, Condition>>>);

/// Holds readiness back until it is dropped.
#[derive(Debug)]
pub struct Guard {
    name: &'static str,
    readiness: Readiness,
}

#[derive(Debug, Clone)]
enum Condition {
    Pending,
    Good(String),
    /// Degraded: an operator should look, and the process stays in service.
    Degraded(String),
    Bad(String),
}

impl Readiness {
    /// Holds readiness back, under a name, until the guard is dropped.
    pub fn guard(&self, name: &'static str) -> Guard {
        self.put(name, Condition::Pending);
        Guard {
            name,
            readiness: self.clone(),
        }
    }

    /// A condition is good.
    pub fn good(&self, name: impl Into<Cow<'static, str>>, message: impl Into<String>) {
        self.put(name, Condition::Good(message.into()));
    }

    /// A condition is degraded; the process stays ready.
    pub fn degraded(&self, name: impl Into<Cow<'static, str>>, message: impl Into<String>) {
        self.put(name, Condition::Degraded(message.into()));
    }

    /// A condition fails; the process is not ready until it is good or degraded.
    pub fn bad(&self, name: impl Into<Cow<'static, str>>, message: impl Into<String>) {
        self.put(name, Condition::Bad(message.into()));
    }

    /// Whether every guard was dropped and nothing fails.
    pub fn is_ready(&self) -> bool {
        let conditions = self.0.lock();
        !conditions
            .values()
            .any(|c| matches!(c, Condition::Pending | Condition::Bad(_)))
    }

    /// One line for each condition, as Kubernetes' own endpoints write them.
    pub fn verbose(&self) -> String {
        let conditions = self.0.lock();
        let mut text = String::new();
        for (name, condition) in conditions.iter() {
            let (sign, state, message) = match condition {
                Condition::Pending => ("-", "pending", ""),
                Condition::Good(message) => ("+", "ok", message.as_str()),
                Condition::Degraded(message) => ("!", "degraded", message.as_str()),
                Condition::Bad(message) => ("-", "failed", message.as_str()),
            };
            // Writing to a String cannot fail.
            let _ = write!(text, "[{sign}]{name} {state}");
            if !message.is_empty() {
                let _ = write!(text, ": {message}");
            }
            text.push('\n');
        }
        text
    }

    fn put(&self, name: impl Into<Cow<'static, str>>, condition: Condition) {
        self.0.lock().insert(name.into(), condition);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.readiness.good(self.name, "");
    }
}
