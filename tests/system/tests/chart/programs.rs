//! What the programs say to the containers that the chart gives them.

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgAction, Command, CommandFactory as _, FromArgMatches as _};
use pi_agent::config::{Cli as Agent, Command as AgentCommand, Run};
use piccolo_server::config::Cli as Server;
use saphyr::Yaml;

use crate::render::{each_container, items, text};

/// Reads the arguments and the environment of all containers as the programs would.
pub(crate) fn take(manifest: &str) -> Result<()> {
    each_container(manifest, |kind, container| match kind {
        "DaemonSet" => {
            if let Some(run) = agent(container)? {
                run.check_ports()?;
            }
            Ok(())
        }
        "Deployment" => {
            let arguments = flags(&Server::command(), container, "PICCOLO_")?;
            Server::command().try_get_matches_from(arguments)?;
            Ok(())
        }
        _ => bail!("a container of a {kind}"),
    })
}

/// The settings of an agent with these flags.
pub(crate) fn run_flags(flags: &[&str]) -> Result<Run> {
    let words = ["pi-agent", "run"].iter().chain(flags);
    let matches = Agent::command().try_get_matches_from(words)?;
    match Agent::from_arg_matches(&matches)?.command {
        Some(AgentCommand::Run(run)) => Ok(*run),
        other => bail!("no run: {other:?}"),
    }
}

fn agent(container: &Yaml<'_>) -> Result<Option<Run>> {
    let arguments = flags(&Agent::command(), container, "PI_AGENT_")?;
    let matches = Agent::command().try_get_matches_from(arguments)?;
    Ok(match Agent::from_arg_matches(&matches)?.command {
        Some(AgentCommand::Run(run)) => Some(*run),
        _ => None,
    })
}

/// The container's command line, with the environment as flags: tests share one environment.
fn flags(program: &Command, container: &Yaml<'_>, prefix: &str) -> Result<Vec<String>> {
    let mut words = vec![program.get_name().to_owned()];
    words.extend(items(container, "args").filter_map(|arg| arg.as_str().map(str::to_owned)));
    let name = words.get(1).context("a container without a command")?;
    let mut command = program.find_subcommand(name).context("no such command")?;
    if let Some(within) = words.get(2).and_then(|name| command.find_subcommand(name)) {
        command = within;
    }
    for variable in items(container, "env") {
        let name = text(variable, &["name"]).context("a variable without a name")?;
        // The cluster's word is not known here.
        let Some(value) = text(variable, &["value"]) else {
            continue;
        };
        let all = program.get_subcommands().chain([command]);
        let mut all = all.flat_map(Command::get_arguments);
        ensure!(
            !name.starts_with(prefix) || all.any(|arg| arg.get_env() == Some(name.as_ref())),
            "no command reads {name}"
        );
        let mut own = command.get_arguments();
        let Some(arg) = own.find(|arg| arg.get_env() == Some(name.as_ref())) else {
            continue;
        };
        let long = arg.get_long().context("a setting without a flag")?;
        match (arg.get_action(), value) {
            (ArgAction::SetTrue, "true") => words.push(format!("--{long}")),
            (ArgAction::SetTrue, "false") => {}
            _ => words.push(format!("--{long}={value}")),
        }
    }
    Ok(words)
}
