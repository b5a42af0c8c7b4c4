//! Asking the master of a folder, over its Unix socket, in AllexJS's protocol.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use allexmaster_protocol::client::{
    CallError, Client, ClientEvent, ClientOptions, Timeout, same_machine_credentials,
};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::frame::Target;
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::pump::{Inbox, Opened};
use serde_json::Value;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::daemon::boot::journal_folder;
use crate::daemon::{PID_FILE, read_pid};
use crate::exit_code;
use crate::local::dial::{DialError, Meant, dial};
use crate::status::time;
use allexmaster_keeper::keeper::{EngineTrouble, ROLE_VARIABLE, Role, engine_trouble};
use allexmaster_keeper::os;
use allexmaster_sessions::Socket;
use allexmaster_state::Timestamp;

/// The file in the journal's folder that a running master holds a lock on.
const LOCK: &str = "lock";
/// How long the master may take: a call that it relays waits 30 s for the LanManager.
const TIMEOUT: Duration = Duration::from_secs(40);
/// How long a master may be too busy to take a connection, and the pause between two tries.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
const DIAL_PAUSE: Duration = Duration::from_millis(20);
/// How often it is looked whether there is an engine at all, while no answer comes.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// The longest pause between two looks at the client's timers, in milliseconds.
const MAX_PAUSE: u64 = 1_000;
/// How many texts may wait; there is one answer.
const MAX_TEXTS: usize = 64;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    #[error("no master runs in {}: it has no {PID_FILE}. Start one with `allexmaster`, or name its folder with --directory", folder.display())]
    NoPidFile { folder: PathBuf },
    #[error("no master runs in {}: process {pid}, which its {PID_FILE} names, does not answer at {} ({reason})", folder.display(), path.display())]
    NobodyAnswers {
        folder: PathBuf,
        pid: u32,
        path: PathBuf,
        reason: String,
    },
    #[error(
        "a master (process {pid}) runs in {}, but it cannot be spoken to at {}: {reason}. {advice}",
        folder.display(), path.display()
    )]
    Unreachable {
        folder: PathBuf,
        pid: u32,
        path: PathBuf,
        reason: String,
        advice: String,
    },
    #[error("{0}")]
    UnknownService(String),
    #[error(
        "a master (process {pid}) runs here, but its engine cannot start: {} (tried {} times since {}, and \
         tried again by itself). Its services go on meanwhile; `allexmaster shutdown` ends them and the master",
        trouble.reason, trouble.tries, time(Timestamp(trouble.since))
    )]
    EngineFails { pid: u32, trouble: EngineTrouble },
    #[error("the master refused: {message}")]
    Refused { code: String, message: String },
    #[error("the master did not answer: {0}")]
    Broken(String),
}

impl AskError {
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoPidFile { .. } | Self::NobodyAnswers { .. } => exit_code::NOT_RUNNING,
            Self::Unreachable { .. } => exit_code::UNREACHABLE,
            Self::UnknownService(_) | Self::Refused { .. } => exit_code::REFUSED,
            Self::EngineFails { trouble, .. } => match trouble.code {
                Some(code) if code != exit_code::OK => code,
                Some(_) | None => exit_code::FAILURE,
            },
            Self::Broken(_) => exit_code::FAILURE,
        }
    }

    /// A stable code that says this; that of the refusal, where it is one.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::NoPidFile { .. } | Self::NobodyAnswers { .. } => "NOT_RUNNING",
            Self::Unreachable { .. } => "UNREACHABLE",
            Self::UnknownService(_) => "UNKNOWN_INSTANCE",
            Self::Refused { code, .. } => code,
            Self::EngineFails { .. } => "ENGINE_FAILS",
            Self::Broken(_) => "NO_ANSWER",
        }
    }
}

/// Calls a method of the master of the folder.
///
/// # Errors
///
/// Nobody runs there, the call was refused, or the answer did not come.
pub fn ask(
    folder: &Path,
    socket_folder: &Path,
    method: &str,
    arguments: Vec<Value>,
) -> Result<Value, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AskError::Broken(error.to_string()))?;
    runtime.block_on(async {
        let stream = connect(folder, socket_folder).await?;
        tokio::select! {
            biased;
            answer = talk(stream, method, arguments) => answer,
            failing = engine_fails(folder) => Err(failing),
            () = tokio::time::sleep(TIMEOUT) => Err(AskError::Broken(format!(
                "nothing came within {} s",
                TIMEOUT.as_secs()
            ))),
        }
    })
}

/// Completes when the master has no engine that could answer, and its keeper tells why.
async fn engine_fails(folder: &Path) -> AskError {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(pid) = read_pid(folder)
            && let Some(trouble) = engine_trouble(pid)
        {
            return AskError::EngineFails { pid, trouble };
        }
    }
}

async fn connect(folder: &Path, socket_folder: &Path) -> Result<UnixStream, AskError> {
    let shown = || std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let holder = || lock_holder(folder);
    let Some(pid) = public_pid(folder) else {
        return Err(AskError::NoPidFile { folder: shown() });
    };
    let path = Socket::MachineManager.path(socket_folder, pid);
    // Whoever owns the folder could replace the master in it, so he may be the one who answers.
    let owner = std::fs::metadata(folder).ok();
    let meant = Meant {
        user: owner.map(|owner| std::os::unix::fs::MetadataExt::uid(&owner)),
        pid: None,
    };
    let deadline = Instant::now() + DIAL_TIMEOUT;
    let connected = loop {
        match dial(&path, meant) {
            // A master that is about to take connections does it soon.
            Err(DialError::Busy) if Instant::now() < deadline => {
                tokio::time::sleep(DIAL_PAUSE).await;
            }
            other => break other,
        }
    };
    let stream = connected.map_err(|error| error.to_string());
    let stream =
        stream.and_then(|stream| UnixStream::from_std(stream).map_err(|error| error.to_string()));
    stream.map_err(|reason| {
        let folder = shown();
        match holder() {
            None => AskError::NobodyAnswers {
                folder,
                pid,
                path,
                reason,
            },
            Some(Holder { public: pid, user }) => AskError::Unreachable {
                advice: advice(pid, user.as_deref()),
                folder,
                pid,
                path,
                reason,
            },
        }
    })
}

/// The public process of the master of a folder, also while its pid file is missing.
#[must_use]
pub fn public_pid(folder: &Path) -> Option<u32> {
    read_pid(folder).or_else(|| Some(lock_holder(folder)?.public))
}

/// Who runs in a folder, as the lock of its journal tells.
struct Holder {
    /// The public process number: the keeper's, where there is one.
    public: u32,
    /// The name of its user, where that is another one than ours.
    user: Option<String>,
}

/// Looks for a living master without its socket and its pid file; `None` where there is none.
fn lock_holder(folder: &Path) -> Option<Holder> {
    let own = os::own_user();
    let lock = journal_folder(folder).join(LOCK);
    let process = match os::lock_holder(&lock) {
        Ok(holder) => holder?,
        // Another user's journal cannot be looked at, but the pid file can.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            read_pid(folder).filter(|pid| os::user(*pid).is_some_and(|user| user != own))?
        }
        Err(_) => return None,
    };
    let keeper = os::stat(process).map(|stat| stat.parent);
    let public = keeper
        .filter(|keeper| is_keeper(*keeper))
        .unwrap_or(process);
    let user = os::user(public).filter(|user| *user != own);
    let user = user.map(|user| os::user_name(user).unwrap_or_else(|| format!("uid {user}")));
    Some(Holder { public, user })
}

/// Whether a process is a keeper, as its environment says.
fn is_keeper(pid: u32) -> bool {
    let role = format!("{ROLE_VARIABLE}={}", Role::Keeper.as_str());
    let environment = os::environment(pid).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|variable| variable == role.as_bytes())
}

fn advice(pid: u32, user: Option<&str>) -> String {
    match user {
        Some(user) => format!("It belongs to {user}: only that user and root may speak to it"),
        None => format!(
            "If it was started with another --socket-dir, name that. Else its socket is gone, and its \
             services go on: `kill {pid}` ends the master and its services in order, and the next start \
             has the socket again"
        ),
    }
}

async fn talk(stream: UnixStream, method: &str, arguments: Vec<Value>) -> Result<Value, AskError> {
    let clock = Instant::now();
    let now = || u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (inbox, mut deliveries) = Inbox::alone(MAX_TEXTS);
    let outgoing = Opened::new(stream, Wire::length_prefixed()).start(inbox);
    let process = std::process::id();
    let options = ClientOptions {
        carrier: CarrierKind::Socket,
        identifier_prefix: format!("{process}_"),
    };
    let mut client = Client::new(now(), options);
    client.introduce(now(), same_machine_credentials(process, "service"));
    let mut arguments = Some(arguments);
    loop {
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Introduced { introduction, .. } => {
                    let arguments = arguments.take().unwrap_or_default();
                    let timeout =
                        Timeout::Answer(u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX));
                    let session = introduction.session;
                    client.call(now(), &session, Target::User, method, arguments, timeout);
                }
                ClientEvent::Answered { outcome, .. } => return outcome.map_err(refusal),
                ClientEvent::Closed { reason } => return Err(AskError::Broken(reason.to_string())),
                ClientEvent::Progress { .. }
                | ClientEvent::State { .. }
                | ClientEvent::Exclusivity { .. }
                | ClientEvent::SessionEnded { .. }
                | ClientEvent::ChildReady { .. }
                | ClientEvent::ChildFailed { .. } => {}
            }
        }
        while let Some(text) = client.poll_transmit() {
            // Where it cannot be sent, the connection has ended, and the inbox says why.
            let _ = outgoing.send(&text);
        }
        // The pings of the client keep the connection while an answer takes long.
        let due = client.poll_timeout().map(|due| due.saturating_sub(now()));
        let due = Duration::from_millis(due.unwrap_or(u64::MAX).min(MAX_PAUSE));
        let Ok(delivery) = tokio::time::timeout(due, deliveries.recv()).await else {
            client.handle_timeout(now());
            continue;
        };
        match delivery.map(|delivery| delivery.item) {
            Some(WireItem::Text(text)) => client.receive(now(), &text),
            Some(WireItem::Alive) => client.traffic(now()),
            Some(WireItem::Closed(reason)) => client.closed(reason),
            None => client.closed(CloseReason::ByPeer),
        }
    }
}

fn refusal(error: CallError) -> AskError {
    match error {
        CallError::Remote(error) => AskError::Refused {
            code: error.code.clone().unwrap_or_default(),
            message: error.message.clone().unwrap_or_else(|| error.to_string()),
        },
        CallError::TimedOut { .. }
        | CallError::AuthenticationFailed
        | CallError::SessionUnknown
        | CallError::SessionEnded
        | CallError::UnexpectedAnswer
        | CallError::ConnectionEnded(_) => AskError::Broken(error.to_string()),
    }
}

/// Reads an answer as the document that it should be.
///
/// # Errors
///
/// It is another one.
pub fn document<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, AskError> {
    serde_json::from_value(value).map_err(|error| {
        AskError::Broken(format!(
            "it is of another version ({error}); run its own `allexmaster`"
        ))
    })
}
