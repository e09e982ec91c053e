//! Settings that do not fit the database's server: certificates, passwords, encryption.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use piccolo_api::path;
use serde_json::json;
use tempfile::TempDir;
use testbed::{Product, SqlServer};

use crate::{
    engine::{Engine, on_engines},
    process::{Process, program},
    server::{Server, eventually},
};

on_engines!(
    servers: what_does_not_fit_ends_the_server_and_says_what_to_set,
    a_certificate_that_turns_bad_is_an_outage_that_says_why,
);

/// Two authorities, and certificates for db.example and for 127.0.0.1 by the first.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let make = |arguments: &[&str]| {
            let output = Command::new("openssl")
                .current_dir(directory.path())
                .args(["req", "-x509", "-nodes", "-days", "30"])
                .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
                .args(arguments)
                .output()
                .expect("openssl runs");
            assert!(output.status.success(), "{output:?}");
        };
        for name in ["ca", "other"] {
            let (key, file) = (format!("{name}.key"), format!("{name}.pem"));
            make(&["-subj", "/CN=authority", "-keyout", &key, "-out", &file]);
        }
        for (file, by, name) in [
            ("name", "ca", "DNS:db.example"),
            ("good", "ca", "IP:127.0.0.1"),
            ("foreign", "other", "IP:127.0.0.1"),
        ] {
            let (key, certificate) = (format!("{file}.key"), format!("{file}.pem"));
            let (by, by_key) = (format!("{by}.pem"), format!("{by}.key"));
            let name = format!("subjectAltName={name}");
            make(&[
                "-subj",
                "/CN=database",
                "-addext",
                &name,
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-CA",
                &by,
                "-CAkey",
                &by_key,
                "-keyout",
                &key,
                "-out",
                &certificate,
            ]);
        }
        Self(directory)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Settings of a database server that shows this certificate.
    fn settings(&self, certificate: &str) -> [String; 3] {
        [
            "--innodb-buffer-pool-size=32M".to_owned(),
            format!("--ssl-cert={}", self.file(&format!("{certificate}.pem"))),
            format!("--ssl-key={}", self.file(&format!("{certificate}.key"))),
        ]
    }

    fn server(&self, engine: Engine, certificate: &str) -> SqlServer {
        let settings = self.settings(certificate);
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let server = SqlServer::start_with(engine.product(), &settings).expect("it starts");
        server.create("piccolo").expect("a database");
        server
    }
}

/// What the server says when it ends at its start, which it has to do soon.
fn last_words(url: &str) -> String {
    let begin = Instant::now();
    let server = program(&["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let output = Command::new("timeout")
        .arg("30")
        .arg(server.get_program())
        .args(server.get_args())
        .args(["--database", url])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(
        begin.elapsed() < Duration::from_secs(25),
        "it waits: {said}"
    );
    said
}

async fn what_does_not_fit_ends_the_server_and_says_what_to_set(engine: Engine) {
    let authority = Authority::new();
    let server = authority.server(engine, "name");
    let secure = "CREATE USER 'agent'@'127.0.0.1' IDENTIFIED BY 'secret'; \
        GRANT ALL ON piccolo.* TO 'agent'@'127.0.0.1'";
    server.execute(secure).expect("a user");
    let url = server.url("piccolo");
    let agent = url.replace("root@", "agent:secret@");
    let ca = authority.file("ca.pem");
    let mut cases = vec![
        (
            format!("{url}?ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"),
            ["is for another name", "ssl-mode=VERIFY_CA"],
        ),
        (
            format!("{url}?ssl-mode=VERIFY_CA"),
            ["comes from no authority that is known", "ssl-ca=FILE"],
        ),
        (
            format!("{url}?ssl-mode=VERIFY_CA&ssl-ca=/no/such/file"),
            ["cannot read the file of ssl-ca", "/no/such/file"],
        ),
        (
            agent.replace("secret", "wrong"),
            ["does not let its user in", "the password"],
        ),
    ];
    if let Product::MySql(_) = engine.product() {
        cases.push((
            format!("{agent}?ssl-mode=DISABLED"),
            ["caching_sha2_password", "set ssl-mode=REQUIRED"],
        ));
    }
    for (url, says) in &cases {
        let said = last_words(url);
        assert!(
            says.iter().all(|words| said.contains(words)),
            "{url}: {said}"
        );
        assert!(!said.contains("is away"), "{said}");
    }
    let require = "SET GLOBAL require_secure_transport = ON";
    server.execute(require).expect("it is set");
    let said = last_words(&format!("{url}?ssl-mode=DISABLED"));
    // MariaDB says no more than that the user is not let in.
    assert!(said.contains("set ssl-mode=REQUIRED"), "{said}");
    // And what fits is taken.
    for (options, user) in [
        (format!("ssl-mode=VERIFY_CA&ssl-ca={ca}"), &url),
        ("ssl-mode=REQUIRED".to_owned(), &agent),
    ] {
        let server = Server::start(&["--database", &format!("{user}?{options}")]).await;
        server.advertise("10.0.0.1:1", &["k"]).await;
    }
}

/// It may be one of several servers, or be mended there: finds go on, and nothing ends.
async fn a_certificate_that_turns_bad_is_an_outage_that_says_why(engine: Engine) {
    let authority = Authority::new();
    let mut database = authority.server(engine, "good");
    let ca = authority.file("ca.pem");
    let url = format!(
        "{}?ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}",
        database.url("piccolo")
    );
    let server = Process::start(&["--database", &url]);
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    assert_eq!(server.find("k").await, Some(200));
    let mut restart = |certificate: &str| {
        let settings = authority.settings(certificate);
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        database.restart_with(&settings).expect("it starts again");
    };
    for (certificate, says) in [
        ("foreign", "comes from no authority that is known"),
        ("name", "is for another name"),
    ] {
        restart(certificate);
        eventually("it says what does not fit", async || {
            let refused = server.advertise("10.0.0.1:1", "l").await;
            assert_eq!(refused, Some(503));
            let (status, page) = server.admin("/readyz?verbose").await;
            status == 200 && page.contains("[!]database default degraded: ") && page.contains(says)
        })
        .await;
        assert_eq!(server.find("k").await, Some(200));
        let alive = json!({"host": "10.0.0.1:1", "Group": "g"});
        assert_eq!(server.post(path::KEEPALIVE, &alive).await, Some(201));
        restart("good");
        eventually("it goes on by itself", async || {
            server.advertise("10.0.0.1:1", "l").await == Some(201)
        })
        .await;
    }
}
