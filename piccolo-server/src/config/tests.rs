//! The command line, as people and manifests write it.

use super::*;

fn serve(args: &[&str]) -> Serve {
    let args = std::iter::once("piccolo-server").chain(args.iter().copied());
    let cli = Cli::try_parse_from(args).expect("a valid command line");
    match cli.command {
        None => cli.serve,
        Some(Command::Serve(serve)) => *serve,
        Some(other) => panic!("{other:?}"),
    }
}

#[test]
fn serve_is_the_default_command() {
    for args in [
        ["--listen", "127.0.0.1:0"].as_slice(),
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        assert_eq!(
            serve(args).listen,
            "127.0.0.1:0".parse().expect("an address")
        );
    }
}

#[test]
fn what_looks_at_the_topology_needs_no_word_before_it() {
    for words in [
        ["locate", "10.0.0.1"].as_slice(),
        &["topology", "locate", "10.0.0.1"],
    ] {
        let args = std::iter::once("piccolo-server").chain(words.iter().copied());
        let cli =
            Cli::read(args.map(OsString::from).collect::<Vec<_>>()).expect("no settings file");
        assert!(
            matches!(
                &cli.command,
                Some(Command::Topology(TopologyCommand::Locate { .. }))
            ),
            "{:?}",
            cli.command
        );
    }
}

#[test]
fn without_a_database_there_is_a_file() {
    let [database] = serve(&["--state-dir", "/tmp/x"])
        .data
        .databases()
        .try_into()
        .expect("one");
    assert_eq!(database.address.to_string(), "sqlite:/tmp/x/piccolo.sqlite");
    assert_eq!(database.group, None);
}

#[test]
fn groups_have_databases_of_their_own() {
    let args = ["--database", "sqlite:/a", "--database", "g=sqlite:///b?x=y"];
    let databases = serve(&args).data.databases();
    let shown: Vec<_> = databases
        .iter()
        .map(|d| (d.group.clone(), d.address.to_string()))
        .collect();
    let group = "g".parse().expect("a group");
    assert_eq!(
        shown,
        [
            (None, "sqlite:/a".to_owned()),
            (Some(group), "sqlite:/b?x=y".to_owned())
        ]
    );
}

#[test]
fn passwords_are_not_shown() {
    let args = ["--database", "mysql://piccolo:secret@db:3307/p"];
    let databases = serve(&args).data.databases();
    assert_eq!(format!("{:?}", databases[0].address), "mysql://db:3307/p");
}

/// Escaped, each of them is a part of it.
#[test]
fn a_password_may_have_any_characters() {
    let url = "mysql://u:%2Fse%3F%23%40@db/p";
    let databases = serve(&["--database", url]).data.databases();
    assert_eq!(format!("{:?}", databases[0].address), "mysql://db:3306/p");
    for url in ["mysql://u:/se@db/p", "mysql://u@db/p@q", "mysql://db/p?x=@"] {
        let error = Cli::try_parse_from(["piccolo-server", "--database", url]).expect_err(url);
        assert!(error.to_string().contains("%2F"), "{error}");
    }
}

#[test]
fn an_error_shows_no_password() {
    for flag in ["--database", "--replica"] {
        for url in [
            "mysqlx://u:secret@db/p",
            "mysql://u:secret@db:99999/p",
            "mysql://u:secret@db/p?ssl-mode=secret",
            "a group=mysql://u:secret@db/p",
            // Without the slashes all of it would be the name of a database, which is no secret.
            "mysql:u:secret@db/p",
            "mariadb:u:secret@db/p",
            "mysql://u:secret@db",
            "secret",
            // The host would end at the first of these, and what follows be the database's name.
            "mysql://u:/secret@db/p",
            "mysql://u:1/u:secret@db/p",
            "mysql://u:se/u:secret@db/p",
            "mysql://u:?u:secret@db/p",
            "mysql://u:#u:secret@db/p",
            "mysql://u:a@/u:secret@db/p",
            "mysql:///u:secret@db/p",
        ] {
            let error = Cli::try_parse_from(["piccolo-server", flag, url]).expect_err(url);
            let error = error.to_string();
            assert!(
                !error.contains("u:secret") && !error.contains("/secret") && error.contains(flag),
                "{error}"
            );
        }
    }
}

#[test]
fn databases_may_stand_in_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("databases");
    let path = file.to_str().expect("a path");
    let parse = |text: &str| {
        std::fs::write(&file, text).expect("writing a file");
        Cli::try_parse_from(["piccolo-server", "--database-file", path])
    };
    let text = "# Two of them.\n\nmysql://piccolo:secret@db:3307/p\n  other=sqlite:/b\n";
    let named = parse(text).expect("a valid file").serve.data.databases();
    let shown: Vec<_> = named
        .iter()
        .map(|one| format!("{:?}", one.address))
        .collect();
    assert_eq!(shown, ["mysql://db:3307/p", "sqlite:/b"]);
    assert_eq!(named[1].group, Some("other".parse().expect("a group")));

    for (text, says) in [
        ("sqlite:/a\nmysql://u:secret@db:99999/p\n", "line 2: "),
        ("\n# nothing\n", "no database stands in it"),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(says) && error.contains(path), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    std::fs::remove_file(&file).expect("removing the file");
    let gone = Cli::try_parse_from(["piccolo-server", "--database-file", path]);
    assert!(
        gone.expect_err("no file")
            .to_string()
            .contains("No such file")
    );
}

#[test]
fn an_unknown_flag_names_the_nearest() {
    let error = Cli::try_parse_from(["piccolo-server", "--lissten", "x"]).expect_err("unknown");
    assert!(error.to_string().contains("--listen"), "{error}");
}

#[test]
fn an_unknown_database_says_what_is_known() {
    let error = Cli::try_parse_from(["piccolo-server", "--database", "postgres://x"]);
    assert!(error.expect_err("unknown").to_string().contains("mysql://"));
}

#[test]
fn explain_needs_holders_or_a_key_and_its_group() {
    let base = ["piccolo-server", "topology", "explain", "--from=10.0.0.1"];
    let parses = |more: &[&str]| Cli::try_parse_from(base.iter().chain(more)).is_ok();
    assert!(parses(&["--to=10.0.0.2,10.0.0.3"]) && parses(&["--to", "10.0.0.2", "fd00::1"]));
    assert!(parses(&["--key=k", "--group=g"]));
    assert!(
        !parses(&[]) && !parses(&["--key=k"]) && !parses(&["--key=k", "--group=g", "--to=::1"])
    );
    // A file alone knows of no keys, and asks no server.
    assert!(parses(&["--topology=f", "--to=::1"]));
    assert!(!parses(&["--topology=f", "--key=k", "--group=g"]));
    assert!(!parses(&["--topology=f", "--server=http://x", "--to=::1"]));
}
