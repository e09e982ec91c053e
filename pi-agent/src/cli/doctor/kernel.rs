//! What counting peers in the kernel needs: cgroup, kernel, rights.

use super::{Check, Verdict};
use crate::{
    config::Doctor,
    ebpf::{Choice, InForce, Reason, needs},
    status::Status,
};

pub(super) fn checks(settings: &Doctor, status: Option<&Status>) -> Vec<Check> {
    // Other ways of counting need none of this.
    let without = match status {
        Some(status) => {
            let mode = &status.accounting;
            (mode.reason, mode.in_force != InForce::Ebpf) == (Reason::Asked, true)
        }
        None => matches!(settings.accounting, Choice::TcpInfo | Choice::Off),
    };
    if without {
        return status.map(accounting).into_iter().collect();
    }
    // The agent's rights differ from this process's, and so does its control group in a container.
    // Without a running agent, this process's are checked instead.
    let told = status.map(|status| status.accounting_needs.clone());
    let needs = told.filter(|needs| !needs.is_empty()).unwrap_or_else(needs);
    let mut checks: Vec<_> = needs
        .into_iter()
        .map(|need| {
            if need.met {
                Check::good(need.what, need.found)
            } else {
                // Without the kernel, peers are counted in user space.
                Check::new(need.what, Verdict::Warning, need.found, need.remedy)
            }
        })
        .collect();
    if let Some(status) = status {
        checks.push(accounting(status));
    }
    checks
}

fn accounting(status: &Status) -> Check {
    let mode = &status.accounting;
    match (mode.in_force, mode.reason) {
        (InForce::Ebpf, _) | (_, Reason::Asked) => Check::good("accounting", mode.to_string()),
        _ => Check::new(
            "accounting",
            Verdict::Warning,
            mode.to_string(),
            "see kernel, rights and cgroup above; bandwidth is then known less exactly",
        ),
    }
}
