//! The spawn descriptor: what a child of AllexJS reads from `ALLEX_SPAWN`.

use allexmaster_state::{Pid, SpawnOrder};
use serde::Serialize;
use serde_json::Value;

/// The descriptor. The order of the fields is the order in which the JavaScript master writes
/// them (section 8.2 of the description of the protocol); what a need does not have is null.
#[derive(Serialize)]
pub(crate) struct Descriptor<'order> {
    instancename: &'order str,
    modulename: &'order str,
    propertyhash: &'order Value,
    strategies: &'order Value,
    closed: &'order Value,
    tcpport: Option<u16>,
    tcpoptions: &'order Value,
    httpport: Option<u16>,
    httpoptions: &'order Value,
    wsport: Option<u16>,
    wsoptions: &'order Value,
    /// Not known before the fork; the JavaScript master writes null too.
    pid: Option<u32>,
    debug: &'order Value,
    debug_brk: &'order Value,
    prof: &'order Value,
    gate: &'order Value,
    masterpid: u32,
}

impl<'order> Descriptor<'order> {
    pub(crate) fn new(order: &'order SpawnOrder, module: &'order str, master: Pid) -> Self {
        let detail = |name: &str| order.need.details.get(name).unwrap_or(&Value::Null);
        Self {
            instancename: order.need.instance.as_str(),
            modulename: module,
            propertyhash: detail("propertyhash"),
            strategies: detail("strategies"),
            closed: detail("closed"),
            tcpport: order.ports.tcp.map(|port| port.0),
            tcpoptions: detail("tcpoptions"),
            httpport: order.ports.http.map(|port| port.0),
            httpoptions: detail("httpoptions"),
            wsport: order.ports.ws.map(|port| port.0),
            wsoptions: detail("wsoptions"),
            pid: None,
            debug: detail("debug"),
            debug_brk: detail("debug_brk"),
            prof: detail("prof"),
            gate: detail("gate"),
            masterpid: master.0,
        }
    }
}
