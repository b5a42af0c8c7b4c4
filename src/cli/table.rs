//! Tables for people.

use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, ContentArrangement, Table};

use allexmaster_inspect::time::Zone;

use crate::config::Origin;
use crate::status::{
    ConfigurationDocument, InForceDocument, JournalDocument, NeedDocument, ServiceDocument,
    StatusDocument,
};

/// The width where there is no terminal: nothing is broken into lines for a file.
const WIDE: u16 = 400;

/// So many damaged stretches of the journal are named.
const MAX_HOLES_SHOWN: usize = 5;

/// The answer to `status`.
pub(super) fn status(status: &StatusDocument) -> String {
    let lan = &status.lanmanager;
    let mut text = String::new();
    let stopping = if status.stopping { ", stopping" } else { "" };
    // Writing to a text cannot fail.
    let _ = writeln!(
        text,
        "master      process {}, up {}{stopping}",
        status.pid,
        ago(&status.startedat)
    );
    if status.keeper == "gone" {
        let _ = writeln!(
            text,
            "            its keeper was killed: process {} is the master by itself, and when it is \
             killed,\n            its connections end; `allexmaster shutdown` and a new start mend it",
            status.engine
        );
    }
    let reason = lan.reason.as_deref().filter(|_| lan.state != "connected");
    let reason = reason
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let _ = writeln!(
        text,
        "LanManager  {}, {} for {}{reason}",
        lan.address,
        lan.state,
        ago(&lan.since)
    );
    let mut waiting = Vec::new();
    for (count, what) in [
        (lan.unreported, "ends of services"),
        (lan.unannounced, "running services"),
        (lan.waitingcalls, "calls"),
    ] {
        if count > 0 {
            waiting.push(format!("{what} ({count})"));
        }
    }
    if !waiting.is_empty() {
        let _ = writeln!(text, "            yet to be told: {}", waiting.join(", "));
    }
    write_journal(&mut text, &status.journal);
    if let Some(configuration) = &status.configuration {
        write_configuration(&mut text, configuration);
    }
    text.push('\n');
    if status.services.is_empty() {
        text.push_str("no services: the LanManager asks for none, or has not been heard yet\n");
        return text;
    }
    let mut table = new_table();
    table.set_header([
        "NAME", "MODULE", "STATE", "PID", "TCP", "HTTP", "WS", "UP", "RESTARTS", "REASON",
    ]);
    for service in &status.services {
        table.add_row(service_row(service));
    }
    let _ = writeln!(text, "{}", table.trim_fmt());
    text
}

/// Nothing where all is well.
fn write_journal(text: &mut String, journal: &JournalDocument) {
    let holes = journal.holes.iter().take(MAX_HOLES_SHOWN);
    for hole in holes {
        let _ = writeln!(text, "journal     {hole}");
    }
    if !journal.holes.is_empty() {
        let _ = writeln!(
            text,
            "            {}nothing else is lost; `allexmaster journal verify` tells more, and `allexmaster journal \
             compact` removes the damage and what was before it",
            match journal.holes.len().saturating_sub(MAX_HOLES_SHOWN) {
                0 => String::new(),
                more => format!("and {more} more stretches; "),
            }
        );
    }
    let Some(since) = &journal.since else {
        return;
    };
    let _ = writeln!(
        text,
        "journal     CANNOT BE WRITTEN for {} ({})\n            \
         nothing new is started or stopped and the children stay, until it can be; {} events wait",
        ago(since),
        journal.reason.as_deref().unwrap_or("no reason was given"),
        journal.waiting
    );
}

/// Nothing where the file says what is in force.
fn write_configuration(text: &mut String, configuration: &ConfigurationDocument) {
    let since = configuration.since.as_deref().map(clock);
    let in_force = format!("that of {} is in force", clock(&configuration.loadedat));
    let place = match (configuration.line, configuration.column) {
        (Some(line), Some(column)) => format!("line {line}:{column}: "),
        (_, _) => String::new(),
    };
    let reason = configuration.reason.as_deref().unwrap_or_default();
    let file = Path::new(&configuration.file).file_name();
    let file = file.map_or(configuration.file.as_str().into(), |name| {
        name.to_string_lossy()
    });
    let line = match configuration.state.as_str() {
        "in-force" => return,
        "edited" => {
            let at = since
                .map(|since| format!(" at {since}"))
                .unwrap_or_default();
            format!("edited{at}, not in force: `allexmaster reload` ({in_force})")
        }
        "gone" => {
            format!("{file} is gone; {in_force}, and `allexmaster config show --text` prints it")
        }
        "mistaken" => {
            let since = since
                .map(|since| format!(" since {since}"))
                .unwrap_or_default();
            format!("{file} has a mistake{since} ({place}{reason}); {in_force}")
        }
        _ => format!("{reason}; {in_force}"),
    };
    let _ = writeln!(text, "configuration  {line}");
}

/// A time of day in the reader's zone, with the day where it is not today.
fn clock(time: &str) -> String {
    let Ok(at) = humantime::parse_rfc3339(time) else {
        return "?".to_owned();
    };
    let milliseconds = |at: SystemTime| {
        let since = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    };
    let (zone, at, now) = (
        Zone::system(),
        milliseconds(at),
        milliseconds(SystemTime::now()),
    );
    let time_of_day: String = zone.seconds(at).chars().take("08:29".len()).collect();
    if zone.day(at) == zone.day(now) {
        time_of_day
    } else {
        format!("{} {time_of_day}", zone.day(at))
    }
}

fn service_row(service: &ServiceDocument) -> Vec<Cell> {
    let number = |number: Option<u32>| number.map_or("-".to_owned(), |number| number.to_string());
    let port = |port: Option<u16>| number(port.map(u32::from));
    vec![
        Cell::new(&service.instancename),
        Cell::new(&service.modulename),
        Cell::new(service.state),
        Cell::new(number(service.pid)),
        Cell::new(port(service.tcpport)),
        Cell::new(port(service.httpport)),
        Cell::new(port(service.wsport)),
        Cell::new(service.startedat.as_deref().map_or("-".to_owned(), ago)),
        Cell::new(service.restarts),
        Cell::new(reason(service)),
    ]
}

fn reason(service: &ServiceDocument) -> String {
    let reason = service.reason.clone().unwrap_or_default();
    match service.nexttry.as_deref().and_then(until) {
        Some(seconds) => format!("{reason}; next try in {seconds} s"),
        None => reason,
    }
}

/// A value of the configuration as people write it; none for null.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(value.to_string())
        }
    }
}

/// The answer to `config show`; it is that of a master where one runs.
pub(super) fn configuration(shown: &InForceDocument, runs: bool) -> String {
    let file = Path::new(&shown.file).file_name();
    let file = file.map_or(shown.file.as_str().into(), |name| name.to_string_lossy());
    let mut table = new_table();
    table.set_header(["KEY", "VALUE", "FROM"]);
    for entry in &shown.values {
        let value = plain(&entry.value).unwrap_or_else(|| "-".to_owned());
        let from = match &entry.origin {
            Origin::Default => "default".to_owned(),
            Origin::File { line } => format!("{file}:{line}"),
            Origin::Flag { name } | Origin::Variable { name } => name.clone(),
        };
        let value = format!("{value} {}", entry.unit);
        table.add_row([entry.key.as_str(), value.trim_end(), &from]);
    }
    let head = if runs {
        let at = clock(&shown.loadedat);
        format!("in force: {}, as it was read at {at}", shown.file)
    } else {
        format!("no master runs; a start would use {}", shown.file)
    };
    format!("{head}\n\n{}\n", table.trim_fmt())
}

/// The answer to `needs list`.
pub(super) fn needs(needs: &[NeedDocument]) -> String {
    if needs.is_empty() {
        return "no unsatisfied needs\n".to_owned();
    }
    let mut table = new_table();
    table.set_header(["NAME", "MODULE", "FOR", "STATE", "REASON"]);
    for need in needs {
        table.add_row([
            need.instancename.as_str(),
            &need.modulename,
            need.ipaddress.as_deref().unwrap_or("any machine"),
            need.state.as_str(),
            need.reason.as_deref().unwrap_or_default(),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}

fn new_table() -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(WIDE);
    }
    table
}

/// How long ago a time was, in the largest unit that fits.
fn ago(time: &str) -> String {
    let Ok(time) = humantime::parse_rfc3339(time) else {
        return "?".to_owned();
    };
    let seconds = SystemTime::now()
        .duration_since(time)
        .unwrap_or_default()
        .as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How many seconds until a time, rounded up.
fn until(time: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(time).ok()?;
    let left = time.duration_since(SystemTime::now()).unwrap_or_default();
    Some(
        left.as_millis()
            .div_ceil(1_000)
            .try_into()
            .unwrap_or(u64::MAX),
    )
}
