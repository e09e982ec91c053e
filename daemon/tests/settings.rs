//! Flags over environment over file.

use std::{ffi::OsString, io::Write as _, path::PathBuf};

use clap::{Arg, ArgAction, Command, value_parser};
use daemon::settings::{self, SettingsError};
use tempfile::NamedTempFile;

fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_parser(value_parser!(PathBuf));
    let group = Arg::new("group")
        .long("group")
        .env("DAEMON_TEST_GROUP")
        .default_value("default");
    let server = Arg::new("server").long("server").action(ArgAction::Append);
    let run = Command::new("run").arg(config).arg(group).arg(server);
    Command::new("program").subcommand(run)
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes())
        .expect("room for a few bytes");
    file
}

fn group(file: &NamedTempFile, more: &[&str]) -> Result<(String, Vec<String>), SettingsError> {
    let mut args: Vec<OsString> = vec!["program".into(), "run".into(), "--config".into()];
    args.push(file.path().into());
    args.extend(more.iter().map(OsString::from));
    let matches = settings::matches(command(), args)?;
    let (_, run) = matches.subcommand().expect("run was given");
    let group = run.get_one::<String>("group").cloned().unwrap_or_default();
    Ok((
        group,
        run.get_many("server")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
    ))
}

#[test]
fn flags_win_over_the_file() {
    let file = file("group = 'from-file'\nserver = ['a', 'b']\n");
    assert_eq!(
        group(&file, &[]).expect("valid"),
        ("from-file".into(), vec!["a".into(), "b".into()])
    );
    let (name, servers) = group(&file, &["--group", "flag", "--server", "c"]).expect("valid");
    assert_eq!(
        (name.as_str(), servers.as_slice()),
        ("flag", ["c".to_owned()].as_slice())
    );
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let error = group(&file("gruop = 'x'\n"), &[]).unwrap_err().to_string();
    assert!(
        error.contains("\"gruop\"") && error.contains("\"group\""),
        "{error}"
    );
}

#[test]
fn a_value_that_is_no_scalar_is_refused() {
    let error = group(&file("[group]\na = 1\n"), &[]).unwrap_err();
    assert!(matches!(error, SettingsError::Value { .. }), "{error}");
}

#[test]
fn bad_toml_says_where() {
    let error = group(&file("group = \n"), &[]).unwrap_err();
    let text = daemon::telemetry::chain(&error).to_string();
    assert!(text.contains("line 1"), "{text}");
}

#[test]
fn a_missing_file_is_named() {
    let args = ["program", "run", "--config", "/nonexistent/settings"].map(OsString::from);
    let error = settings::matches(command(), args).unwrap_err();
    assert!(matches!(error, SettingsError::Read { .. }), "{error}");
}
