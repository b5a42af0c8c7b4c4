//! What `status` and `needs list` tell: a stable, documented schema.
//!
//! Fields are only ever added. Times are RFC 3339 in UTC with milliseconds.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use allexmaster_inspect::words;
use allexmaster_journal::{Hole, Outage};
use allexmaster_state::{
    End, LanStatus, Outcome, Sender, ServiceState, ServiceStatus, State, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::config::{Accepted, ConfigError, Entry, FileState, InForce};

/// The answer to `status`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StatusDocument {
    /// The process number of the master.
    pub pid: u32,
    /// The process that does the work: the master's own, or its engine's.
    pub engine: u32,
    /// `present`: a keeper holds the connections, and a killed engine loses nothing. `gone`: it was
    /// killed, and the engine is the master by itself now. `none`: there never was one.
    pub keeper: String,
    /// The version of the program.
    pub version: String,
    pub startedat: String,
    pub stopping: bool,
    pub lanmanager: LanDocument,
    /// The journal, without which nothing new is done.
    #[serde(default)]
    pub journal: JournalDocument,
    /// The configuration in force, and what has become of its file; absent in the answer of an older
    /// program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationDocument>,
    /// The services, by name.
    pub services: Vec<ServiceDocument>,
}

/// The configuration in force, compared with its file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigurationDocument {
    /// The file that what is in force was read from.
    pub file: String,
    /// When it was read.
    pub loadedat: String,
    /// `in-force`: the file says what is in force. `edited`: it says something else, and
    /// `allexmaster reload` puts that in force. `mistaken`: it has a mistake, or is no text.
    /// `unreadable`: it cannot be read. `gone`: there is none.
    pub state: String,
    /// When the file was last changed, where it is there and says something else.
    pub since: Option<String>,
    /// What is wrong with it; null where nothing is.
    pub reason: Option<String>,
    /// Where in the file that is; null where it has no place.
    pub line: Option<usize>,
    pub column: Option<usize>,
}

/// The answer to `config show` of a master that runs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InForceDocument {
    pub file: String,
    /// When it was read.
    pub loadedat: String,
    /// What stood in the file.
    pub text: String,
    /// Every value, with where it comes from.
    pub values: Vec<Entry>,
}

/// The connection to the LanManager.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LanDocument {
    /// The address that is connected to, or dialed first.
    pub address: String,
    /// `connected`, `connecting` or `away`.
    pub state: String,
    /// Since when it is connected, or away.
    pub since: String,
    /// Why it is away; null while it is connected.
    pub reason: Option<String>,
    /// How many services went down without its having heard of it yet.
    pub unreported: usize,
    /// How many services run that it does not know of now, and is told of when it is back.
    #[serde(default)]
    pub unannounced: usize,
    /// How many calls (of `needs add` and the like) wait for its answer.
    #[serde(default)]
    pub waitingcalls: usize,
}

/// Whether the journal can be written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JournalDocument {
    /// `written`, or `unwritable`: then nothing new is started and nothing stopped, the children
    /// stay, and all goes on where it was when the journal can be written again.
    pub state: String,
    /// Since when it cannot be written; null while it can.
    pub since: Option<String>,
    /// Why it cannot be written; null while it can.
    pub reason: Option<String>,
    /// How many events wait in memory for it.
    pub waiting: usize,
    /// The stretches of its history that are damaged: `first` and `last` event, and `why`. Left out where
    /// there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
}

impl JournalDocument {
    /// Whether it can be written.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.since.is_none()
    }
}

impl Default for JournalDocument {
    fn default() -> Self {
        Self {
            state: "written".to_owned(),
            since: None,
            reason: None,
            waiting: 0,
            holes: Vec::new(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceDocument {
    pub instancename: String,
    pub modulename: String,
    pub state: ServiceState,
    /// Why it does not run, or what is to be known although it does; null where all is well.
    pub reason: Option<String>,
    /// Its process; null where there is none.
    pub pid: Option<u32>,
    /// Its port for TCP; null where it serves none.
    pub tcpport: Option<u16>,
    /// Its port for HTTP; null where it serves none.
    pub httpport: Option<u16>,
    /// Its port for WebSocket; null where it serves none.
    pub wsport: Option<u16>,
    /// When its process was started; null where there is none.
    pub startedat: Option<String>,
    /// How often it was started again after the first time.
    pub restarts: u32,
    /// When it will be tried again; null where nothing is due.
    pub nexttry: Option<String>,
    /// Whether its process was started by another command than the configuration has now.
    #[serde(default)]
    pub oldercommand: bool,
    /// Since when somebody has stopped it (`allexmaster stop`); null where nobody has.
    #[serde(default)]
    pub heldsince: Option<String>,
    /// Who stopped it; null where nobody has, or where that is not known.
    #[serde(default)]
    pub heldby: Option<SenderDocument>,
    /// The last ends of its children, the newest last.
    #[serde(default)]
    pub lastends: Vec<EndDocument>,
    /// The address and port of the copy that the network uses instead; null where that is this one.
    #[serde(default)]
    pub supersededby: Option<String>,
    /// Since when that is known here.
    #[serde(default)]
    pub supersededsince: Option<String>,
}

/// Who gave an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SenderDocument {
    /// The number of the user.
    pub uid: u32,
    /// The name of the user; null where this machine knows none.
    pub name: Option<String>,
    /// The process, which may have ended since.
    pub pid: u32,
}

/// The end of a child.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndDocument {
    pub at: String,
    pub pid: u32,
    /// How it ended, for people.
    pub text: String,
    /// Its exit code; null where a signal ended it, or where nobody saw it.
    pub exitcode: Option<i32>,
    /// The name of the signal that ended it; null where none did.
    pub signal: Option<String>,
    /// The event of the journal that tells it.
    pub event: u64,
}

/// One unsatisfied need that the LanManager told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NeedDocument {
    /// The name of the service.
    pub instancename: String,
    pub modulename: String,
    /// The address or network of the machines that may satisfy it; null for any.
    pub ipaddress: Option<String>,
    /// What this master does about it.
    pub state: ServiceState,
    /// Why it is not satisfied yet; null where it is under way.
    pub reason: Option<String>,
}

/// Makes the answer to `status`. `endpoint` is what is dialed first, `outage` why the journal
/// cannot be written.
#[must_use]
pub fn status(
    state: &State,
    endpoint: &str,
    keeper: &str,
    outage: Option<&Outage>,
) -> StatusDocument {
    let master = state.master.as_ref();
    StatusDocument {
        pid: master.map_or(0, |master| master.pid.0),
        engine: std::process::id(),
        keeper: keeper.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        startedat: time(master.map_or(Timestamp(0), |master| master.started)),
        stopping: state.shutdown != allexmaster_state::Shutdown::No,
        lanmanager: lanmanager(state.lan_status(), endpoint),
        journal: outage.map(journal).unwrap_or_default(),
        configuration: None,
        services: state.service_statuses_at(now(state)).map(service).collect(),
    }
}

/// Compares the configuration in force with its file. It blocks.
#[must_use]
pub fn configuration(config: &InForce) -> ConfigurationDocument {
    let accepted = config.accepted();
    let mut document = ConfigurationDocument {
        file: accepted.file.display().to_string(),
        loadedat: time(accepted.at),
        state: "in-force".to_owned(),
        since: None,
        reason: None,
        line: None,
        column: None,
    };
    match config.look() {
        FileState::Same => {}
        FileState::Edited { since } => {
            document.state = "edited".to_owned();
            document.since = since.map(time);
        }
        FileState::Unusable { since, error } => {
            document.state = match &error {
                ConfigError::Missing { .. } => "gone",
                ConfigError::Unreadable { .. } | ConfigError::Unwritable { .. } => "unreadable",
                ConfigError::Mistakes(_)
                | ConfigError::NotText { .. }
                | ConfigError::TooLarge { .. } => "mistaken",
            }
            .to_owned();
            document.since = since.map(time);
            if let Some(report) = error.reports().into_iter().next() {
                document.reason = Some(report.message);
                (document.line, document.column) = (report.line, report.column);
            }
        }
    }
    document
}

/// Makes the answer to `config show`.
#[must_use]
pub fn in_force(accepted: &Accepted) -> InForceDocument {
    let entries = accepted.config.entries.iter().cloned();
    InForceDocument {
        file: accepted.file.display().to_string(),
        loadedat: time(accepted.at),
        text: accepted.text.clone(),
        values: entries.map(Entry::shown).collect(),
    }
}

/// Makes the answer to `needs list`.
#[must_use]
pub fn needs(state: &State) -> Vec<NeedDocument> {
    let wanted = state.services.iter().filter(|(_, service)| service.wanted);
    let addresses = wanted.map(|(instance, service)| (instance, service.need.address.as_deref()));
    let addresses: BTreeMap<_, _> = addresses.collect();
    state
        .service_statuses_at(now(state))
        .filter_map(|status| {
            let address = addresses.get(&status.instance)?;
            Some(NeedDocument {
                instancename: status.instance.to_string(),
                modulename: status.module.to_string(),
                ipaddress: address.map(str::to_owned),
                state: status.state,
                reason: status.reason,
            })
        })
        .collect()
}

/// The present time, for what is told relative to it.
fn now(state: &State) -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = since.map_or(0, |since| since.as_millis());
    Timestamp(u64::try_from(now).unwrap_or(u64::MAX)).max(state.now)
}

fn lanmanager(lan: LanStatus, endpoint: &str) -> LanDocument {
    LanDocument {
        address: lan.endpoint.as_deref().unwrap_or(endpoint).to_owned(),
        state: lan.state.to_owned(),
        since: time(lan.since),
        reason: lan.reason.as_deref().map(str::to_owned),
        unreported: lan.unreported,
        unannounced: lan.unannounced,
        waitingcalls: lan.calls,
    }
}

fn journal(outage: &Outage) -> JournalDocument {
    JournalDocument {
        state: "unwritable".to_owned(),
        since: Some(time(Timestamp(outage.since))),
        reason: Some(outage.reason.clone()),
        waiting: outage.waiting,
        holes: Vec::new(),
    }
}

fn service(status: ServiceStatus) -> ServiceDocument {
    let superseded = status.superseded.as_ref();
    ServiceDocument {
        instancename: status.instance.to_string(),
        modulename: status.module.to_string(),
        state: status.state,
        reason: reason(&status),
        pid: status.pid.map(|pid| pid.0),
        tcpport: status.ports.tcp.map(|port| port.0),
        httpport: status.ports.http.map(|port| port.0),
        wsport: status.ports.ws.map(|port| port.0),
        startedat: status.started.map(time),
        restarts: status.restarts,
        nexttry: status.next_try.map(time),
        oldercommand: status.older_command,
        heldsince: status.hold.as_ref().map(|hold| time(hold.since)),
        heldby: status.hold.and_then(|hold| hold.sender).map(sender),
        lastends: status.ends.iter().map(end).collect(),
        supersededby: superseded.map(|superseded| superseded.by.to_string()),
        supersededsince: superseded.map(|superseded| time(superseded.since)),
    }
}

fn sender(sender: Sender) -> SenderDocument {
    SenderDocument {
        uid: sender.uid,
        name: sender.name.as_deref().map(str::to_owned),
        pid: sender.pid.0,
    }
}

fn end(end: &End) -> EndDocument {
    let (exitcode, signal) = match end.outcome {
        Outcome::Exited(code) => (Some(code), None),
        Outcome::Signaled(signal) => (None, Some(words::signal_name(signal))),
        Outcome::Lost(_) => (None, None),
    };
    EndDocument {
        at: time(end.at),
        pid: end.pid.0,
        text: words::outcome(&end.outcome),
        exitcode,
        signal,
        event: end.event,
    }
}

/// The reason, with the times that the state does not put into words.
fn reason(status: &ServiceStatus) -> Option<String> {
    let reason = status.reason.clone()?;
    if let Some(hold) = &status.hold
        && status.state == ServiceState::Held
    {
        return Some(format!("{reason} at {}", time(hold.since)));
    }
    let Some(superseded) = &status.superseded else {
        return Some(reason);
    };
    let since = time(superseded.since);
    Some(match superseded.until {
        Some(until) => format!("{reason}, at {}; so since {since}", time(until)),
        None => format!("{reason}; so since {since}"),
    })
}

/// How many services with trouble [`totals`] names.
const MAX_NAMED: usize = 3;

/// One line for people, the most frequent state first: `38 running, 1 backing-off (Bad)`, or
/// `no services`.
pub fn totals(services: impl Iterator<Item = (String, ServiceState)>) -> String {
    let mut by_state: BTreeMap<ServiceState, Vec<String>> = BTreeMap::new();
    for (name, state) in services {
        by_state.entry(state).or_default().push(name);
    }
    let mut by_state = Vec::from_iter(by_state);
    by_state.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    let parts = by_state.iter().map(|(state, names)| {
        let mut part = format!("{} {state}", names.len());
        if matches!(state, ServiceState::BackingOff | ServiceState::Failed) {
            let named: Vec<&str> = names.iter().take(MAX_NAMED).map(String::as_str).collect();
            let more = if names.len() > MAX_NAMED { ", …" } else { "" };
            part.push_str(&format!(" ({}{more})", named.join(", ")));
        }
        part
    });
    let parts = Vec::from_iter(parts);
    if parts.is_empty() {
        return "no services".to_owned();
    }
    parts.join(", ")
}

/// The last millisecond that RFC 3339 has a form for, at the end of the year 9999.
const LAST_TIME: u64 = 253_402_300_799_999;

/// A time as people and tools read it.
pub(crate) fn time(at: Timestamp) -> String {
    let at = Duration::from_millis(at.0.min(LAST_TIME));
    let at = SystemTime::UNIX_EPOCH.checked_add(at);
    let at = at.unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_millis(at).to_string()
}
