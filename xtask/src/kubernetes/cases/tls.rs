//! TLS by the chart's own signer.

use anyhow::{Result, ensure};

use crate::kubernetes::{objects::NAMESPACE, stage::Stage};

const AUTHORITY: &str = "piccolo-authority";
const PUBLIC: &str = "piccolo-authority-public";
const TOKEN: &str = "operators";

/// From off to required and back; the authority outlasts upgrades and the release.
pub(super) fn issued(stage: &mut Stage) -> Result<Vec<String>> {
    let permissive = ["tls.enabled=true", "tls.mode=permissive"];
    stage.have(&[])?;
    stage.have(&permissive)?;
    let first = authority(stage)?;
    ensure!(!first.is_empty(), "the signer made no authority");
    let token = [
        "create",
        "secret",
        "generic",
        TOKEN,
        "--from-literal=token=t",
    ];
    kubectl(stage, &token)?;
    stage.have(&["tls.enabled=true", "monitoring.tokenSecret=operators"])?;
    let shared = stage.check_sharing()?;
    stage.restart_agents()?;
    stage.wait_until_rolled_out()?;
    ensure!(
        authority(stage)? == first,
        "an upgrade made another authority"
    );
    // Nobody without a certificate is answered.
    let plain = stage.server(7789, "/api/v1/topology");
    ensure!(plain.is_err(), "a plain call was answered: {plain:?}");
    stage.uninstall()?;
    stage.have(&["tls.enabled=true"])?;
    ensure!(
        authority(stage)? == first,
        "another release made another authority"
    );
    let again = stage.check_sharing()?;
    stage.have(&permissive)?;
    stage.have(&[])?;
    for (kind, name) in [
        ("secret", AUTHORITY),
        ("configmap", PUBLIC),
        ("secret", TOKEN),
    ] {
        kubectl(stage, &["delete", kind, name])?;
    }
    Ok(vec![shared, again])
}

fn authority(stage: &Stage) -> Result<String> {
    let path = r"jsonpath={.data.ca\.crt}";
    kubectl(stage, &["get", "secret", AUTHORITY, "-o", path])
}

fn kubectl(stage: &Stage, arguments: &[&str]) -> Result<String> {
    let arguments = [&["-n", NAMESPACE], arguments].concat();
    stage.cluster.control.kubectl(&arguments)
}
