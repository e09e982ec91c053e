//! The ports of the agent's listeners.

use super::Run;

/// Two listeners that cannot both have what they want.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{0}-listen and --{1}-listen both want port {2}: give each a port of its own")]
pub struct SamePort(&'static str, &'static str, u16);

impl Run {
    /// Whether the listeners can be bound beside each other.
    ///
    /// # Errors
    /// Names two that cannot.
    pub fn check_ports(&self) -> Result<(), SamePort> {
        let listeners = [
            ("mirror", self.mirror_listen),
            ("peer", self.peer_listen),
            ("admin", self.admin_listen),
        ];
        for (index, (name, addr)) in listeners.iter().enumerate() {
            for (other, beside) in listeners.iter().take(index) {
                let meet = addr.ip() == beside.ip()
                    || addr.ip().is_unspecified()
                    || beside.ip().is_unspecified();
                if meet && addr.port() == beside.port() && addr.port() != 0 {
                    return Err(SamePort(other, name, addr.port()));
                }
            }
        }
        Ok(())
    }
}
