//! Faults in the middle of crowds, by seeded plans: no pull fails, and nothing is left behind.

use anyhow::{Result, ensure};
use system_tests::crowd::faults;
use testbed::Release;

/// `cargo xtask bench crowd --faults 500` runs more of them.
#[test]
fn no_pull_of_a_crowd_fails() -> Result<()> {
    let found = faults::run(Release::V1_7, 1, 10)?;
    ensure!(
        found.faults.len() > 4,
        "hardly any fault happened: {found:?}"
    );
    Ok(())
}
