//! The reference of a program's settings, read out of its command line.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// A section with a Markdown table for each command that does something, with its flags, their
/// names in the environment, their defaults and what they are for. Hidden commands are left out.
pub fn reference(command: &Command) -> String {
    let mut text = String::new();
    section(command, command.get_name(), &mut text);
    text
}

fn section(command: &Command, path: &str, text: &mut String) {
    let mut visible = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .peekable();
    // A program's own flags are those of the command that it carries out by default.
    if visible.peek().is_some() {
        for sub in visible {
            section(sub, &format!("{path} {}", sub.get_name()), text);
        }
        return;
    }
    let about = command.get_about().map(ToString::to_string);
    let about = about.unwrap_or_default();
    // Writing to a String cannot fail, here and below.
    let _ = write!(text, "### `{path}`\n\n{}.\n\n", about.trim_end_matches('.'));
    let mut arguments = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set() && argument.get_help().is_some())
        .peekable();
    if arguments.peek().is_none() {
        return;
    }
    text.push_str("| flag | environment | default | what it is |\n|---|---|---|---|\n");
    for argument in arguments {
        row(argument, text);
    }
    text.push('\n');
}

fn row(argument: &Arg, text: &mut String) {
    let code = |text: &str| match text {
        "" => String::new(),
        text => format!("`{}`", escaped(text)),
    };
    let environment = argument.get_env().unwrap_or_default().to_string_lossy();
    let defaults: Vec<_> = argument
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    let takes_values = argument.get_action().takes_values();
    let default = if takes_values {
        code(&defaults.join(","))
    } else {
        "off".to_owned()
    };
    let _ = writeln!(
        text,
        "| {} | {} | {default} | {} |",
        code(&name(argument)),
        code(&environment),
        escaped(&help(argument)),
    );
}

/// `--flag <VALUE>`, or `<VALUE>` for what stands without a flag.
fn name(argument: &Arg) -> String {
    let values: Vec<_> = argument
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|name| format!("<{name}>"))
        .collect();
    let flag = argument.get_long().map(|long| format!("--{long}"));
    flag.into_iter().chain(values).collect::<Vec<_>>().join(" ")
}

fn help(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let mut help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    if !help.ends_with('.') {
        help.push('.');
    }
    if argument.get_action().takes_values() {
        let values: Vec<_> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if !values.is_empty() {
            let _ = write!(help, " One of {}.", values.join(", "));
        }
    }
    help
}

/// A bar would end the table's cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::reference;

    #[test]
    fn a_table_for_each_command() {
        let listen = Arg::new("listen")
            .long("listen")
            .value_name("ADDR")
            .env("DAEMON_TEST_LISTEN")
            .default_value("0.0.0.0:1")
            .help("Where a|b ask");
        let mode = Arg::new("mode")
            .long("mode")
            .value_name("MODE")
            .value_parser(["auto", "off"])
            .help("How.");
        let force = Arg::new("force")
            .long("force")
            .action(ArgAction::SetTrue)
            .help("At once.");
        let file = Arg::new("file").value_name("FILE").help("What to read.");
        let command = Command::new("program")
            .arg(listen.clone())
            .subcommand(
                Command::new("run")
                    .about("Runs")
                    .args([listen, mode, force]),
            )
            .subcommand(Command::new("check").about("Checks.").arg(file))
            .subcommand(Command::new("secret").hide(true));
        assert_eq!(
            reference(&command),
            "### `program run`\n\nRuns.\n\n\
             | flag | environment | default | what it is |\n|---|---|---|---|\n\
             | `--listen <ADDR>` | `DAEMON_TEST_LISTEN` | `0.0.0.0:1` | Where a\\|b ask. |\n\
             | `--mode <MODE>` |  |  | How. One of `auto`, `off`. |\n\
             | `--force` |  | off | At once. |\n\n\
             ### `program check`\n\nChecks.\n\n\
             | flag | environment | default | what it is |\n|---|---|---|---|\n\
             | `<FILE>` |  |  | What to read. |\n\n"
        );
    }
}
