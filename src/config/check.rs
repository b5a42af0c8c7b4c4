//! Checks across keys: the file together with its overrides.

use std::path::PathBuf;

use allexmaster_state::{PackagePatterns, Protocol, Settings};

use super::document::{Findings, did_you_mean};
use super::error::Mistake;
use super::schema::{DEFAULT_ADDRESS, DEFAULT_PROTOCOL, DEFAULT_RUNTIME_DIRECTORY, Values};
use super::{Config, LAN_MANAGER_PORTS, Overrides, SIGNALR_PORTS};
use crate::launch::Launchers;
use allexmaster_sessions::{Endpoint, LanProtocol};

const PROTOCOLS: [&str; 3] = ["ws", "wss", "signalr"];
/// The ports that the system gives to outgoing connections.
const EPHEMERAL_PORTS_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// A value, and the key of the file that it comes from; none where a flag or a variable gave it.
struct Chosen<T> {
    value: T,
    key: Option<&'static str>,
}

/// Puts file and overrides together. What is wrong is in the findings; the configuration is then
/// of no use.
pub(super) fn check(values: Values, overrides: &Overrides, findings: &mut Findings) -> Config {
    let lan_endpoints = endpoints(&values, overrides, findings);
    ranges_fit(&values.settings, findings);
    pauses_fit(&values.settings, findings);
    ranges_stay_out_of_the_way(&values.settings, findings);
    // Fallback: the file of this program as the kernel names it.
    let own_program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let launchers = Launchers::new(values.launchers, &own_program);
    let mut settings = values.settings;
    settings.launchers = launchers.for_rules();
    settings.domains = launchers.domains_for_rules();
    settings.install_modules = PackagePatterns::new(values.install_modules);
    let runtime_directory = overrides
        .runtime_directory
        .clone()
        .or(values.runtime_directory)
        .unwrap_or_else(|| DEFAULT_RUNTIME_DIRECTORY.to_owned());
    Config {
        lan_endpoints,
        runtime_directory,
        launchers,
        settings,
        logs: values.logs,
        journal: values.journal,
        entries: Vec::new(),
    }
}

fn endpoints(values: &Values, overrides: &Overrides, findings: &mut Findings) -> Vec<Endpoint> {
    let address = choose(
        overrides.lanmanager_address.clone(),
        values.address.clone(),
        "lanmanageraddress",
        DEFAULT_ADDRESS.to_owned(),
    );
    let host = host(&address, findings);
    let protocol = choose(
        overrides.lanmanager_protocol.clone(),
        values.protocol.clone(),
        "lanmanagerprotocol",
        DEFAULT_PROTOCOL.to_owned(),
    );
    let protocol = lan_protocol(&protocol, findings);
    let port = choose(
        overrides.lanmanager_port.map(Some),
        (values.port != 0).then_some(Some(values.port)),
        "lanmanagerport",
        None,
    );
    let correction = choose(
        overrides.lanmanager_port_correction,
        Some(values.correction),
        "lanmanagerportcorrection",
        0,
    );
    let ports = port
        .value
        .map_or_else(|| usual_ports(protocol), |port| vec![port]);
    ports
        .into_iter()
        .filter_map(|port| {
            Some(Endpoint {
                protocol,
                host: host.clone(),
                port: corrected(port, &correction, findings)?,
            })
        })
        .collect()
}

fn choose<T>(override_: Option<T>, value: Option<T>, key: &'static str, default: T) -> Chosen<T> {
    match (override_, value) {
        (Some(value), _) => Chosen { value, key: None },
        (None, Some(value)) => Chosen {
            value,
            key: Some(key),
        },
        (None, None) => Chosen {
            value: default,
            key: Some(key),
        },
    }
}

impl<T> Chosen<T> {
    fn mistake(&self, message: String, findings: &Findings) -> Mistake {
        let place = self.key.and_then(|key| findings.place(key));
        Mistake::new(place, message, "here")
    }
}

/// A host name or an address; an IPv6 address may stand in brackets.
fn host(address: &Chosen<String>, findings: &mut Findings) -> String {
    let text = &address.value;
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let bare = bare.unwrap_or(text);
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return bare.to_owned();
    }
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    if text.is_empty() || !text.chars().all(is_name) {
        let message =
            format!("the LanManager's address must be a host name or an address, not `{text}`");
        let mistake = address.mistake(message, findings);
        findings.mistake(mistake.help(
            "give the host alone, as in 192.168.1.2; the port is `lanmanagerport`, the protocol `lanmanagerprotocol`",
        ));
    }
    text.clone()
}

/// The ports that are dialed where none is configured.
fn usual_ports(protocol: LanProtocol) -> Vec<u16> {
    match protocol {
        LanProtocol::Ws | LanProtocol::Wss => LAN_MANAGER_PORTS.to_vec(),
        LanProtocol::SignalR => SIGNALR_PORTS.to_vec(),
    }
}

fn lan_protocol(protocol: &Chosen<String>, findings: &mut Findings) -> LanProtocol {
    let text = protocol.value.as_str();
    if !PROTOCOLS.contains(&text) {
        let message =
            format!("the LanManager's protocol must be `ws`, `wss` or `signalr`, not `{text}`");
        let mut mistake = protocol.mistake(message, findings);
        if let Some(meant) = did_you_mean(text, &PROTOCOLS) {
            mistake = mistake.help(format!("did you mean `{meant}`?"));
        }
        findings.mistake(mistake);
    }
    match text {
        "wss" => LanProtocol::Wss,
        "signalr" => LanProtocol::SignalR,
        _ => LanProtocol::Ws,
    }
}

fn corrected(port: u16, correction: &Chosen<i32>, findings: &mut Findings) -> Option<u16> {
    let sum = i32::from(port).saturating_add(correction.value);
    let corrected = u16::try_from(sum).ok().filter(|port| *port != 0);
    if corrected.is_none() {
        let message = format!(
            "the LanManager's port {port} corrected by {} is {sum}; ports are 1 to 65535",
            correction.value
        );
        let mistake = correction.mistake(message, findings);
        findings.mistake(mistake);
    }
    corrected
}

/// Each range must end below the last port.
fn ranges_fit(settings: &Settings, findings: &mut Findings) {
    for (protocol, first) in settings.port_range_start.iter() {
        let size = settings.port_range_size;
        let last = last_port(settings, protocol);
        if last > u32::from(u16::MAX) {
            let message = format!(
                "the {size} ports for {protocol} from {first} on would end at {last}; the last port is 65535"
            );
            let place = findings
                .place(&format!("portrangestart.{protocol}"))
                .or_else(|| findings.place("limits.portrangesize"));
            findings.mistake(
                Mistake::new(place, message, "too high")
                    .help("start lower, or make `limits.portrangesize` smaller"),
            );
        }
    }
}

/// A longest pause must not be shorter than the first one.
fn pauses_fit(settings: &Settings, findings: &mut Findings) {
    let restart = &settings.restart;
    for (first, first_key, longest, longest_key) in [
        (
            restart.delay,
            "restart.delay",
            restart.delay_most,
            "restart.delaymost",
        ),
        (
            settings.dial_retry,
            "limits.dialretry",
            settings.dial_retry_most,
            "limits.dialretrymost",
        ),
    ] {
        if first > longest {
            let place = findings
                .place(first_key)
                .or_else(|| findings.place(longest_key));
            let message =
                format!("`{first_key}` ({first}) is longer than `{longest_key}` ({longest})");
            let mistake = Mistake::new(place, message, "this");
            findings.mistake(mistake.help("the first pause is doubled until it is the longest"));
        }
    }
}

/// Ranges that overlap one another or the system's are allowed, with a warning.
fn ranges_stay_out_of_the_way(settings: &Settings, findings: &mut Findings) {
    let range = |protocol: Protocol| {
        u32::from(*settings.port_range_start.get(protocol))..=last_port(settings, protocol)
    };
    let mut warn = |protocol: Protocol, message: String, help: &str| {
        let place = findings.place(&format!("portrangestart.{protocol}"));
        let warning = Mistake::new(place, message, "this range").help(help);
        findings.warnings.push(warning);
    };
    for (one, other) in [
        (Protocol::Tcp, Protocol::Http),
        (Protocol::Tcp, Protocol::Ws),
        (Protocol::Http, Protocol::Ws),
    ] {
        if range(one).start() <= range(other).end() && range(other).start() <= range(one).end() {
            let size = settings.port_range_size;
            warn(
                other,
                format!("the ports for {one} and {other} overlap"),
                &format!(
                    "each range has {size} ports (`limits.portrangesize`); they share what overlaps"
                ),
            );
        }
    }
    let Some((first, last)) = ephemeral_ports() else {
        return;
    };
    for protocol in Protocol::ALL {
        if *range(protocol).start() <= last && first <= *range(protocol).end() {
            warn(
                protocol,
                format!(
                    "the ports for {protocol} overlap those that the system gives to outgoing connections ({first} to {last})"
                ),
                "a child may find its port taken now and then: choose a range outside of these",
            );
        }
    }
}

fn last_port(settings: &Settings, protocol: Protocol) -> u32 {
    let first = u32::from(*settings.port_range_start.get(protocol));
    first + u32::from(settings.port_range_size.max(1)) - 1
}

fn ephemeral_ports() -> Option<(u32, u32)> {
    let text = std::fs::read_to_string(EPHEMERAL_PORTS_FILE).ok()?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
