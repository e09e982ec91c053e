//! The server's image with what the chart gives it: a database by its name and over TLS, whose authority and
//! topology file are mounted.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;
use serde_json::json;
use system_tests::chart::{Schema, render};
use system_tests::{bed, images, node};
use testbed::{Authority, NameServer, Pod, Release, SqlServer, get, wait_until};

use super::{
    SOON,
    manifest::ServerPod,
    server::{ADMIN, is_ready},
};

/// Known to the name server alone.
const DATABASE: &str = "db.corp";
const TOPOLOGY: &str = "tree:\n  - {name: one, kind: rack, cidrs: [10.0.0.0/8], uplink: 1Gbit}\n";

#[test]
fn a_database_is_reached_by_its_name_and_over_tls() -> Result<()> {
    let bed = bed(Release::Installed, &[1])?;
    let node = node(&bed, 0)?;
    node.containerd.prepare_pods()?;
    let image = images::import(node, "piccolo-server")?;
    let authority = Authority::new(bed.run())?;
    let certificate = authority.certify(DATABASE, &[])?;
    let settings = [
        format!("--ssl-cert={}", certificate.certificate.display()),
        format!("--ssl-key={}", certificate.key.display()),
        "--require-secure-transport=ON".to_owned(),
    ];
    let (_database, url) = SqlServer::serve_with(bed.run(), &node.host, &settings)?;
    let _names = NameServer::start(&node.host.netns, &[(DATABASE, node.host.address)])?;
    let url = url.replace(&node.host.address.to_string(), DATABASE);
    let url = format!("{url}?ssl-mode=VERIFY_IDENTITY&ssl-ca=/trust/ca.crt");

    let values = json!({"server": {
        "database": {"secret": "db", "key": "url"},
        "topologyConfigMap": "racks",
        "extraVolumes": [{"name": "trust", "hostPath": {"path": authority.public()?}}],
        "extraVolumeMounts": [{"name": "trust", "mountPath": "/trust", "readOnly": true}],
        "extraEnv": [{"name": "PICCOLO_NODE_TIMEOUT", "value": "3m"}],
    }});
    let rendered = render(&values, Schema::InForce)?.map_err(anyhow::Error::msg)?;
    // What the kubelet makes of a ConfigMap and of a Secret.
    let topology = bed.run().make_directory("topology")?;
    fs::set_permissions(&topology, Permissions::from_mode(0o755))?;
    fs::write(topology.join("topology.yaml"), TOPOLOGY)?;
    let rendered = rendered
        .replace(
            "configMap: {name: racks}",
            &format!("hostPath: {{path: {}}}", topology.display()),
        )
        .replace(
            "valueFrom:\n                secretKeyRef: {name: db, key: url}",
            &format!("value: {url:?}"),
        );
    let charted = ServerPod::of(&rendered, node, &image)?;
    let pod = Pod::start_with(bed.run(), &node.containerd.cri(), "server", &["127.0.0.1"])?;
    let server = pod.run(&charted.container)?;
    is_ready(&bed, &pod, &server, &charted)?;
    let log = server.log();
    assert!(log.contains("the topology file is in force"), "{log}");
    let admin = ADMIN.parse()?;
    wait_until("the database to be looked at", SOON, || {
        let metrics = get(&node.host.netns, admin, "/metrics")?.text();
        let is_up = metrics.contains("piccolo_server_database_up{database=\"default\"} 1");
        Ok(is_up.then_some(()))
    })?;
    assert_eq!(pod.stop(&server)?, 0, "{}", server.log());
    Ok(())
}
