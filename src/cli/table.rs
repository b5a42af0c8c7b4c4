//! Tables for people.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use allexmaster_inspect::time::Zone;
use allexmaster_state::ServiceState;

use super::names::natural;
use crate::config::Origin;
use crate::status::{
    ConfigurationDocument, InForceDocument, JournalDocument, NeedDocument, ServiceDocument,
    StatusDocument, totals,
};

/// The width where there is no terminal: nothing is broken into lines for a file.
const WIDE: u16 = 400;

/// So many damaged stretches of the journal are named.
const MAX_HOLES_SHOWN: usize = 5;

/// The answer to `status`.
pub(super) fn status(status: &StatusDocument) -> String {
    let lan = &status.lanmanager;
    let mut text = String::new();
    // Writing to a text cannot fail.
    if !status.services.is_empty() {
        let _ = writeln!(
            text,
            "{}",
            totals(
                status
                    .services
                    .iter()
                    .map(|one| (one.instancename.clone(), one.state))
            )
        );
    }
    let stopping = if status.stopping { ", stopping" } else { "" };
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
    write_services(&mut text, &status.services);
    text
}

/// A row for each service, trouble first, with its reason under it.
fn write_services(text: &mut String, services: &[ServiceDocument]) {
    let mut services: Vec<&ServiceDocument> = services.iter().collect();
    services.sort_by(|one, other| {
        let trouble = urgency(one.state).cmp(&urgency(other.state));
        trouble.then_with(|| natural(&one.instancename, &other.instancename))
    });
    let columns: Vec<Column> = COLUMNS
        .into_iter()
        .filter(|column| {
            !column.optional
                || services
                    .iter()
                    .any(|service| (column.cell)(service) != NONE)
        })
        .collect();
    let mut table = Table::new();
    // Each row is one line, so that the reasons can stand between them.
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(columns.iter().map(|column| column.name));
    for service in &services {
        table.add_row(columns.iter().map(|column| (column.cell)(service)));
    }
    let table = table.trim_fmt();
    let mut lines = table.lines();
    let _ = writeln!(text, "{}", lines.next().unwrap_or_default().trim_end());
    let indent = "          ";
    let options = textwrap::Options::new(width())
        .initial_indent(indent)
        .subsequent_indent(indent);
    for (line, service) in lines.zip(&services) {
        let _ = writeln!(text, "{}", line.trim_end());
        let reason = reason(service);
        if !reason.is_empty() {
            let _ = writeln!(text, "{}", textwrap::fill(&reason, &options));
        }
    }
}

/// The width of the terminal in columns.
fn width() -> usize {
    let terminal = crossterm::terminal::size().ok();
    let terminal = terminal.filter(|_| std::io::stdout().is_terminal());
    usize::from(terminal.map_or(WIDE, |(columns, _)| columns))
}

/// The order of the rows: what somebody has to look at comes first.
const fn urgency(state: ServiceState) -> u8 {
    match state {
        ServiceState::Failed => 0,
        ServiceState::BackingOff => 1,
        ServiceState::Superseded => 2,
        ServiceState::Waiting
        | ServiceState::Bidding
        | ServiceState::Starting
        | ServiceState::Checking
        | ServiceState::Stopping => 3,
        ServiceState::Held => 4,
        ServiceState::Running => 5,
    }
}

/// One column of the services.
struct Column {
    name: &'static str,
    /// Left out where no service has a value.
    optional: bool,
    cell: fn(&ServiceDocument) -> String,
}

/// What stands in a cell without a value.
const NONE: &str = "-";

const COLUMNS: [Column; 9] = [
    Column::new("NAME", |service| service.instancename.clone()),
    Column::new("MODULE", |service| service.modulename.clone()),
    Column::new("STATE", |service| service.state.to_string()),
    Column::new("PID", |service| number(service.pid)),
    Column::optional("TCP", |service| number(service.tcpport)),
    Column::optional("HTTP", |service| number(service.httpport)),
    Column::optional("WS", |service| number(service.wsport)),
    Column::new("UP", |service| {
        service.startedat.as_deref().map_or(NONE.to_owned(), ago)
    }),
    Column::new("RESTARTS", |service| service.restarts.to_string()),
];

impl Column {
    const fn new(name: &'static str, cell: fn(&ServiceDocument) -> String) -> Self {
        Self {
            name,
            optional: false,
            cell,
        }
    }

    const fn optional(name: &'static str, cell: fn(&ServiceDocument) -> String) -> Self {
        Self {
            name,
            optional: true,
            cell,
        }
    }
}

fn number(number: Option<impl ToString>) -> String {
    number.map_or(NONE.to_owned(), |number| number.to_string())
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

fn reason(service: &ServiceDocument) -> String {
    let reason = match &service.heldsince {
        Some(since) if service.state == ServiceState::Held => held(service, since),
        Some(_) | None => service.reason.clone().unwrap_or_default(),
    };
    match service.nexttry.as_deref().and_then(until) {
        Some(seconds) => format!("{reason}; next try in {seconds} s"),
        None => reason,
    }
}

/// Who stopped a service, when, and how it is started.
fn held(service: &ServiceDocument, since: &str) -> String {
    let by = service.heldby.as_ref().map_or(String::new(), |by| {
        let name = by.name.as_deref().map(|name| format!("{name} "));
        format!(" by {}(uid {})", name.unwrap_or_default(), by.uid)
    });
    let (at, name) = (clock(since), &service.instancename);
    format!("stopped{by} at {at}; `allexmaster start {name}`")
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
