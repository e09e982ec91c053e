//! What goes over the wire to the database is SQL that all databases know, the driver's own included.

use serde_json::json;

use crate::{
    engine::{Engine, on_engines},
    process::program,
    server::Server,
};

on_engines!(servers: all_that_is_sent_is_known_to_all_databases);

async fn all_that_is_sent_is_known_to_all_databases(engine: Engine) {
    let (database, url) = engine.server();
    let user = "CREATE USER agent@'127.0.0.1'; GRANT ALL ON piccolo.* TO agent@'127.0.0.1'; \
        SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON";
    database.execute(user).expect("a user, and a log");
    let url = url.replace("root@", "agent@");
    let flags = ["--database", url.as_str()];
    let migrated = program(&["migrate"]).args(flags).output().expect("it runs");
    assert!(migrated.status.success(), "{migrated:?}");
    let server = Server::start(&flags).await;
    let sync = |keys: &[&str], seq: u64| json!({"holder": "10.0.0.1:1", "keys": keys, "group": "g", "epoch": 1, "seq": seq});
    for (seq, keys) in [(1, ["a", "b"]), (2, ["b", "c"])] {
        let (status, reply) = server
            .post(piccolo_api::path::SYNC, &sync(&keys, seq))
            .await;
        assert_eq!(status, 201, "{reply}");
    }
    server.advertise("10.0.0.2:1", &["a"]).await;
    server.holders("a", "10.0.0.9").await;
    server.stop().await;
    let sent = "SELECT DISTINCT REPLACE(CONVERT(argument USING utf8mb4), '\\n', CHAR(1)) \
        FROM mysql.general_log WHERE user_host LIKE 'agent%' AND command_type IN ('Query', 'Prepare')";
    let sent = database.execute(sent).expect("an answer");
    let mut count = 0;
    for statement in sent.lines().filter(|line| !line.trim().is_empty()) {
        let statement = statement.replace('\u{1}', "\n");
        testbed::portable_sql::check(&statement).unwrap_or_else(|refused| panic!("{refused}"));
        count += 1;
    }
    assert!(count > 20, "{sent}");
    for of_each in [
        "GET_LOCK",
        "CREATE TABLE",
        "SET ",
        "COMMIT",
        "INSERT IGNORE",
        "GROUP_CONCAT",
    ] {
        assert!(sent.contains(of_each), "no {of_each} in {sent}");
    }
}
