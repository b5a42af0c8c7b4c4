//! The program `allexlanmanager`: the LanManager of the folder it runs in.

mod tools;

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use allexmaster_journal::Failpoint;
use allexmaster_lanmanager::{LanManager, Options, Ports, RunError, StartError, files};
use clap::{Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Something failed: a port is taken, the system refuses something.
const FAILURE: u8 = 1;
/// The configuration cannot be used. (2, usage, comes from the command line parser.)
const CONFIGURATION: u8 = 3;
/// Another LanManager runs in the folder.
const ALREADY_RUNNING: u8 = 4;
/// The journal cannot be opened or written.
const JOURNAL: u8 = 6;

const AFTER_HELP: &str = "\
Files, all in .allexlanmanager, created with defaults where they are missing:
  boot           {\"portcorrection\": 0, \"reconnectgrace\": 30000, \"allowedorigins\": [],
                 \"allowedhosts\": [], \"publicsubnets\": false}
  subnets        the networks that get in besides this machine, such as [\"192.168.1.0/24\"];
                 [] where the file is missing
  needs          what the network needs, [{\"instancename\": …, \"modulename\": …, \"propertyhash\": {}}]
  needs.overlay  extends entries of needs
  needs.runtime  needs that were added while running; written by this program
  nat            the nat table
  journal/       what happened; this program's memory

Web pages get in only from boot.allowedorigins ([\"https://tools.example\"]), and over HTTP
this machine goes by its addresses, localhost, its host name and boot.allowedhosts only.

Ports, each plus boot.portcorrection:
  23552 ws, 23451 ws (JavaScript's), 22451 SignalR over http, 23551 raw TCP

Exit codes:
  0  ended as asked (SIGTERM, SIGINT)
  1  failure, such as a port that is taken
  2  wrong use of the command line
  3  a file in .allexlanmanager cannot be used; nothing was overwritten
  4  another allexlanmanager runs in this folder
  6  the journal cannot be opened, read or written, or is damaged

Log levels: ALLEXLANMANAGER_LOG=debug, or wire::receive=trace,wire::send=trace for frames.";

/// Without a command it runs. The LanManager of AllexJS: keeps the list of needs and the list of services of a
/// network, and lets masters bid for the needs.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    tool: Option<tools::Tool>,
    /// The folder with .allexlanmanager
    #[arg(
        long,
        global = true,
        env = "ALLEXLANMANAGER_DIRECTORY",
        default_value = ".",
        value_name = "FOLDER"
    )]
    directory: PathBuf,
    /// The address to listen on
    #[arg(
        long,
        env = "ALLEXLANMANAGER_BIND",
        default_value = "0.0.0.0",
        value_name = "ADDRESS"
    )]
    bind: IpAddr,
    /// The WebSocket port, in the place of 23552 plus correction (0: any free one)
    #[arg(long, value_name = "PORT")]
    ws_port: Option<u16>,
    /// The port for JavaScript's WebSocket clients, in the place of 23451 plus correction
    #[arg(long, value_name = "PORT")]
    javascript_ws_port: Option<u16>,
    /// The SignalR port, in the place of 22451 plus correction
    #[arg(long, value_name = "PORT")]
    signalr_port: Option<u16>,
    /// The raw TCP port, in the place of 23551 plus correction
    #[arg(long, value_name = "PORT")]
    tcp_port: Option<u16>,
    /// How long a master that is gone has for a reconnect until its services are needs
    /// again, in milliseconds; in the place of boot.reconnectgrace
    #[arg(
        long,
        env = "ALLEXLANMANAGER_RECONNECT_GRACE",
        value_name = "MILLISECONDS"
    )]
    reconnect_grace: Option<u64>,
    /// How log lines are written, on standard error
    #[arg(long, env = "ALLEXLANMANAGER_LOG_FORMAT", default_value = "human")]
    log_format: LogFormat,
    /// For tests: abort at a point of the journal, as in durable:17
    #[arg(long, env = "ALLEXMASTER_FAILPOINT", hide = true)]
    failpoint: Option<Failpoint>,
}

/// For whom log lines are.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Human,
    /// For machines: one JSON object in each line
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(tool) = &arguments.tool {
        return answer(tool, &arguments.directory);
    }
    begin_log(arguments.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(options(arguments))),
        Err(error) => Err(Failure {
            code: FAILURE,
            words: error.to_string(),
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, words }) => {
            // If standard error is gone, the exit code still says it.
            drop(writeln!(io::stderr(), "allexlanmanager: {words}"));
            ExitCode::from(code)
        }
    }
}

/// Answers a question about the network or its past.
fn answer(tool: &tools::Tool, directory: &Path) -> ExitCode {
    let (code, words) = match tools::run(tool, directory) {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => return ExitCode::from(JOURNAL),
        Err(error @ tools::ToolError::Journal(_)) => (JOURNAL, chain(&error)),
        // Whoever read the output has enough.
        Err(tools::ToolError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Err(error) => (FAILURE, chain(&error)),
    };
    drop(writeln!(io::stderr(), "allexlanmanager: {words}"));
    ExitCode::from(code)
}

/// Why the program ends with another exit code than 0.
struct Failure {
    code: u8,
    words: String,
}

async fn run(options: Options) -> Result<(), Failure> {
    let mut stop = StopSignals::listen().map_err(|error| Failure {
        code: FAILURE,
        words: format!("cannot listen for signals: {error}"),
    })?;
    let directory = options.directory.clone();
    let mut running = LanManager::start(options).await.map_err(not_started)?;
    loop {
        tokio::select! {
            ended = running.ended() => return ended.map_err(not_well),
            signal = stop.received() => match signal {
                Received::Stop => break,
                Received::HangUp => check_files(directory.clone()).await,
            },
        }
    }
    tracing::info!("ending");
    running.shutdown().await.map_err(not_well)
}

fn options(arguments: Arguments) -> Options {
    Options {
        bind: arguments.bind,
        ports: Ports {
            web_socket: arguments.ws_port,
            web_socket_of_javascript: arguments.javascript_ws_port,
            signalr: arguments.signalr_port,
            tcp: arguments.tcp_port,
        },
        reconnect_grace: arguments.reconnect_grace.map(Duration::from_millis),
        failpoint: arguments.failpoint,
        ..Options::new(arguments.directory)
    }
}

fn begin_log(format: LogFormat) {
    let levels = EnvFilter::try_from_env("ALLEXLANMANAGER_LOG");
    let levels = levels.unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(levels)
        .with_writer(io::stderr);
    match format {
        LogFormat::Human => log
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .init(),
        LogFormat::Json => log.json().init(),
    }
}

fn not_started(error: StartError) -> Failure {
    let code = match &error {
        StartError::Files(_) | StartError::PortCorrection { .. } => CONFIGURATION,
        StartError::Journal { .. } if error.is_already_running() => ALREADY_RUNNING,
        StartError::Journal { .. } | StartError::Stillborn => JOURNAL,
        StartError::Port { .. } | StartError::Thread(_) => FAILURE,
    };
    let words = chain(&error);
    Failure { code, words }
}

fn not_well(error: RunError) -> Failure {
    let code = match &error {
        RunError::Journal(_) => JOURNAL,
        RunError::Broken(_) => FAILURE,
    };
    let words = chain(&error);
    Failure { code, words }
}

/// An error and all that is behind it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut behind = error.source();
    while let Some(source) = behind {
        words = format!("{words}: {source}");
        behind = source.source();
    }
    words
}

/// Tells whether the files could be put in force, which a new start does: SIGHUP, of a terminal that
/// closes or of a service manager, ends nobody's connections.
async fn check_files(directory: PathBuf) {
    let read = tokio::task::spawn_blocking(move || files::read(&directory)).await;
    match read {
        Ok(Ok(_)) => tracing::warn!(
            "the files of .allexlanmanager have no mistake; they are put in force by a restart of \
             allexlanmanager, and by nothing else"
        ),
        Ok(Err(error)) => tracing::error!(
            error = chain(&error),
            "nothing has changed, and a restart would be refused"
        ),
        // The program ends.
        Err(_) => {}
    }
}

/// What a signal asks for.
enum Received {
    Stop,
    HangUp,
}

/// The signals that the program obeys.
#[cfg(unix)]
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl StopSignals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn received(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::Stop,
            _ = self.interrupt.recv() => Received::Stop,
            _ = self.hang_up.recv() => Received::HangUp,
        }
    }
}

/// The signal that ends the program.
#[cfg(not(unix))]
struct StopSignals;

#[cfg(not(unix))]
impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn received(&mut self) -> Received {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Received::Stop
    }
}
