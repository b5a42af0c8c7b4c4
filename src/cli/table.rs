//! Tables for people.

use std::fmt::Write as _;
use std::time::SystemTime;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, ContentArrangement, Table};

use crate::status::{JournalDocument, NeedDocument, ServiceDocument, StatusDocument};

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
