//! What `status` and `needs list` tell: a stable, documented schema.
//!
//! Fields are only ever added. Times are RFC 3339 in UTC with milliseconds.

use std::time::{Duration, SystemTime};

use allexmaster_state::{LanStatus, ServiceState, ServiceStatus, State, Timestamp};
use serde::{Deserialize, Serialize};

/// The answer to `status`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StatusDocument {
    /// The process number of the master.
    pub pid: u32,
    /// The version of the program.
    pub version: String,
    /// When the master started.
    pub startedat: String,
    /// Whether it is stopping.
    pub stopping: bool,
    /// The LanManager.
    pub lanmanager: LanDocument,
    /// The services, by name.
    pub services: Vec<ServiceDocument>,
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
}

/// One service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceDocument {
    /// Its name.
    pub instancename: String,
    /// Its module.
    pub modulename: String,
    /// What it does.
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
}

/// One unsatisfied need that the LanManager told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NeedDocument {
    /// The name of the service.
    pub instancename: String,
    /// Its module.
    pub modulename: String,
    /// The address or network of the machines that may satisfy it; null for any.
    pub ipaddress: Option<String>,
    /// What this master does about it.
    pub state: ServiceState,
    /// Why it is not satisfied yet; null where it is under way.
    pub reason: Option<String>,
}

/// Makes the answer to `status`. `endpoint` is what is dialed first.
#[must_use]
pub fn status(state: &State, endpoint: &str) -> StatusDocument {
    let master = state.master.as_ref();
    StatusDocument {
        pid: master.map_or(0, |master| master.pid.0),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        startedat: time(master.map_or(Timestamp(0), |master| master.started)),
        stopping: state.shutdown != allexmaster_state::Shutdown::No,
        lanmanager: lanmanager(state.lan_status(), endpoint),
        services: state.service_statuses().map(service).collect(),
    }
}

/// Makes the answer to `needs list`.
#[must_use]
pub fn needs(state: &State) -> Vec<NeedDocument> {
    let wanted = state.services.iter().filter(|(_, service)| service.wanted);
    let addresses = wanted.map(|(instance, service)| (instance, service.need.address.as_deref()));
    let addresses: std::collections::BTreeMap<_, _> = addresses.collect();
    state
        .service_statuses()
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

fn lanmanager(lan: LanStatus, endpoint: &str) -> LanDocument {
    LanDocument {
        address: lan.endpoint.as_deref().unwrap_or(endpoint).to_owned(),
        state: lan.state.to_owned(),
        since: time(lan.since),
        reason: lan.reason.as_deref().map(str::to_owned),
        unreported: lan.unreported,
    }
}

fn service(status: ServiceStatus) -> ServiceDocument {
    ServiceDocument {
        instancename: status.instance.to_string(),
        modulename: status.module.to_string(),
        state: status.state,
        reason: status.reason,
        pid: status.pid.map(|pid| pid.0),
        tcpport: status.ports.tcp.map(|port| port.0),
        httpport: status.ports.http.map(|port| port.0),
        wsport: status.ports.ws.map(|port| port.0),
        startedat: status.started.map(time),
        restarts: status.restarts,
        nexttry: status.next_try.map(time),
    }
}

fn time(at: Timestamp) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at.0));
    let at = at.unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_millis(at).to_string()
}
