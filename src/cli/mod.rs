//! The command line: what can be said, and which file does it.

mod config;
mod journal;
mod logs;
mod names;
mod needs;
mod orders;
mod reload;
mod run;
mod service;
mod shutdown;
mod status;
mod table;
mod up;
mod upgrade;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use allexmaster_protocol::vocabulary::method;
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use crate::client::{self, AskError};
use crate::config::Overrides;
use crate::exit_code;
use crate::local::sockets::DEFAULT_FOLDER;
use crate::status::{ServiceDocument, StatusDocument};
use crate::telemetry::LogFormat;
use allexmaster_keeper::keeper::{Role, UnknownRole};
use allexmaster_keeper::link::Inheritance;

/// The machine manager of AllexJS.
///
/// Without a command it runs as the master of the folder: it reads allexmasterconfig.json
/// (and writes the default where there is none), connects to the LanManager, and starts a
/// child for each need that this machine may satisfy.
///
/// New here? `allexmaster up` shows all of it at work, with nothing to install or configure.
#[derive(Debug, Parser)]
#[command(name = "allexmaster", version, after_help = exit_code::HELP, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    overrides: OverrideFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
struct Common {
    /// The folder of the master: its configuration, pid file, journal and logs
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        env = "ALLEXMASTER_DIRECTORY",
        default_value = "."
    )]
    directory: PathBuf,
    /// The folder of the local sockets
    #[arg(long, global = true, value_name = "FOLDER", env = "ALLEXMASTER_SOCKET_DIR", default_value = DEFAULT_FOLDER)]
    socket_dir: PathBuf,
    /// How log lines look; they go to the standard error output
    #[arg(
        long,
        global = true,
        value_enum,
        env = "ALLEXMASTER_LOG_FORMAT",
        default_value_t
    )]
    log_format: LogFormat,
}

/// What overrides the configuration file.
#[derive(Clone, Debug, Args)]
struct OverrideFlags {
    /// The LanManager's host name or address (overrides `lanmanageraddress`)
    #[arg(long, value_name = "HOST", env = "ALLEXMASTER_LANMANAGER_ADDRESS")]
    lanmanager_address: Option<String>,
    /// The LanManager's port; without one, 23552 and then 23451 are dialed (`lanmanagerport`)
    #[arg(long, value_name = "PORT", env = "ALLEXMASTER_LANMANAGER_PORT")]
    lanmanager_port: Option<u16>,
    /// ws, wss or signalr (`lanmanagerprotocol`)
    #[arg(long, value_name = "PROTOCOL", env = "ALLEXMASTER_LANMANAGER_PROTOCOL")]
    lanmanager_protocol: Option<String>,
    /// Added to the LanManager's ports (`lanmanagerportcorrection`)
    #[arg(
        long,
        value_name = "NUMBER",
        env = "ALLEXMASTER_LANMANAGER_PORT_CORRECTION",
        allow_hyphen_values = true
    )]
    lanmanager_port_correction: Option<i32>,
    /// The runtime directory that AllexJS children get (`runtimedirectory`)
    #[arg(long, value_name = "FOLDER", env = "ALLEXMASTER_RUNTIME_DIRECTORY")]
    runtime_directory: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a LanManager and a master with sample services, to see it all at work
    Up(up::Up),
    /// Show the services of the master of this folder
    #[command(visible_aliases = ["ps", "ls"])]
    Status(status::Status),
    /// Show, add or remove needs of the LanManager
    #[command(subcommand)]
    Needs(needs::Needs),
    #[command(visible_alias = "log")]
    Logs(logs::Logs),
    Stop(orders::Stop),
    Start(orders::Start),
    Restart(orders::Restart),
    Wait(wait::Wait),
    Shutdown(shutdown::Shutdown),
    Reload(reload::Reload),
    Upgrade(upgrade::Upgrade),
    /// What another build asks before it hands over
    #[command(hide = true)]
    Formats,
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    #[command(subcommand)]
    Service(service::Service),
    Journal(allexmaster_inspect::command::Journal),
    Replay(allexmaster_inspect::command::Replay),
    /// The built-in sample services; run by the master
    #[command(subcommand, hide = true)]
    Sample(Sample),
}

#[derive(Debug, Subcommand)]
enum Sample {
    /// A clock on three ports
    Clock,
}

/// Does what the command line says.
#[must_use]
pub fn main(role: Option<Role>) -> ExitCode {
    allexmaster_keeper::os::use_one_arena();
    let cli = Cli::parse();
    // A keeper needs what the service manager set for it.
    let becomes_keeper = role.is_none() && cli.command.is_none();
    let inheritance = if becomes_keeper {
        Ok(None)
    } else {
        Inheritance::take()
    };
    let inheritance = match inheritance {
        Ok(inheritance) => inheritance,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(exit_code::USAGE);
        }
    };
    let Cli {
        common,
        overrides,
        command,
    } = cli;
    let overrides = overrides.into_overrides();
    let code = match command {
        None => run::run(&common, &overrides, role, inheritance),
        Some(Command::Up(command)) => command.run(&common),
        Some(Command::Status(command)) => command.run(&common),
        Some(Command::Needs(command)) => command.run(&common),
        Some(Command::Stop(command)) => command.run(&common),
        Some(Command::Logs(command)) => command.run(&common),
        Some(Command::Start(command)) => command.run(&common),
        Some(Command::Restart(command)) => command.run(&common),
        Some(Command::Wait(command)) => command.run(&common),
        Some(Command::Shutdown(command)) => command.run(&common),
        Some(Command::Reload(command)) => command.run(&common),
        Some(Command::Upgrade(command)) => command.run(&common),
        Some(Command::Formats) => upgrade::print_formats(),
        Some(Command::Config(command)) => command.run(&common, &overrides),
        Some(Command::Service(command)) => command.run(&common),
        Some(Command::Journal(command)) => journal::journal(&common, &command),
        Some(Command::Replay(command)) => journal::replay(&common, &command),
        Some(Command::Sample(Sample::Clock)) => crate::sample::run(),
    };
    if OUTPUT_FAILED.load(Ordering::Relaxed) {
        return ExitCode::from(exit_code::FAILURE);
    }
    code
}

/// Says that the environment has a role that there is none.
#[must_use]
pub fn unknown_role(error: &UnknownRole) -> ExitCode {
    complain(&error.to_string());
    ExitCode::from(exit_code::USAGE)
}

impl OverrideFlags {
    fn into_overrides(self) -> Overrides {
        Overrides {
            lanmanager_address: self.lanmanager_address,
            lanmanager_port: self.lanmanager_port,
            lanmanager_protocol: self.lanmanager_protocol,
            lanmanager_port_correction: self.lanmanager_port_correction,
            runtime_directory: self.runtime_directory,
        }
    }
}

/// Whether something could not be written to the standard output: then the exit code says so.
static OUTPUT_FAILED: AtomicBool = AtomicBool::new(false);

/// Whether the reader of the standard output has gone: then a command that follows ends.
static OUTPUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Writes to the standard output. A reader that has gone (`| head`) is no failure.
fn print(text: &str) {
    use std::io::Write as _;
    let mut output = std::io::stdout().lock();
    let written = output.write_all(text.as_bytes());
    if let Err(error) = written.and_then(|()| output.flush()) {
        OUTPUT_CLOSED.store(true, Ordering::Relaxed);
        if error.kind() != std::io::ErrorKind::BrokenPipe
            && !OUTPUT_FAILED.swap(true, Ordering::Relaxed)
        {
            complain(&format!("the output cannot be written: {error}"));
        }
    }
}

/// Writes a message for people to the standard error output.
fn complain(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "allexmaster: {text}");
}

/// Prints a document as JSON, formatted for people too.
fn print_json(document: &impl serde::Serialize) {
    // Texts and numbers always have a JSON form.
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    print(&format!("{text}\n"));
}

/// The runtime of a master: two workers, since the loop has its own thread and children their own cores.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

/// Calls a method of the master of the folder.
fn ask(common: &Common, method: &str, arguments: Vec<Value>) -> Result<Value, AskError> {
    client::ask(&common.directory, &common.socket_dir, method, arguments)
}

/// The services of the master of the folder, as they are now.
fn services(common: &Common) -> Result<Vec<ServiceDocument>, AskError> {
    let status = ask(common, method::STATUS, Vec::new())?;
    Ok(client::document::<StatusDocument>(status)?.services)
}

/// Reads how long something may take: seconds, or a text such as `1m 30s`.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text)
        .map_err(|_| "expected a time such as 30s, 2m or 1h30m".to_owned())
}

/// Tells people or machines why there is no answer.
fn report(error: &AskError, json: bool) -> ExitCode {
    if json {
        print_json(&json!({ "error": { "code": error.code(), "message": error.to_string() } }));
    } else {
        complain(&error.to_string());
    }
    ExitCode::from(error.exit_code())
}
