//! The keys of the configuration: one table, from which they are read, checked and documented.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use allexmaster_journal::Bounds;
use allexmaster_state::{OnDuplicate, Settings};
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::{Value, json};

use super::document::{Findings, Located, Section, elements, text, unexpected};
use super::error::Mistake;
use super::{file, launchers};
use crate::launch::Launcher;
use crate::logs::LogLimits;

pub(super) const DEFAULT_ADDRESS: &str = "127.0.0.1";
pub(super) const DEFAULT_PROTOCOL: &str = "ws";
pub(super) const DEFAULT_RUNTIME_DIRECTORY: &str = ".";

/// A port that a server can have.
const PORTS: RangeInclusive<i64> = 1..=65_535;
/// The distance between two ports.
const CORRECTIONS: RangeInclusive<i64> = -65_535..=65_535;
/// Milliseconds, up to a day; 0 is no pause.
const PAUSES: RangeInclusive<i64> = 0..=86_400_000;
/// Milliseconds of a time that has to pass, up to a day.
const TIMES: RangeInclusive<i64> = 1..=86_400_000;
/// Up to as many as there are ports.
const AT_ONCE: RangeInclusive<i64> = 1..=65_535;
const ATTEMPTS: RangeInclusive<i64> = 1..=1_000;
const ATTEMPTS_OR_ENDLESS: RangeInclusive<i64> = 0..=1_000_000;
const THOUSANDTHS: RangeInclusive<i64> = 0..=1_000;
/// From some blocks of a file system to 1 TiB.
const LOG_SIZES: RangeInclusive<i64> = 65_536..=1_099_511_627_776;
const LOG_COUNTS: RangeInclusive<i64> = 0..=1_000;
/// Milliseconds, up to ten years.
const AGES: RangeInclusive<i64> = 0..=315_360_000_000;
/// Up to 1 TiB.
const JOURNAL_SIZES: RangeInclusive<i64> = 0..=1_099_511_627_776;

const INSTALLABLE: &str = "a list of names of packages, as in [\"allex_*\"]";

/// A key of the file.
struct Key {
    /// With the sections it stands in: `limits.stopgrace`.
    path: &'static str,
    kind: Kind,
    /// What it decides, in Markdown.
    help: &'static str,
}

enum Kind {
    /// An object that holds the keys whose paths begin with this one.
    Section,
    /// Its default is what [`Values::default`] has.
    Number {
        range: RangeInclusive<i64>,
        unit: &'static str,
        get: fn(&Values) -> i64,
        set: fn(&mut Values, i64),
    },
    Other {
        what: &'static str,
        default: &'static str,
        /// `None`: it is read with the section of its launcher.
        read: Option<fn(&Located<'_>, &mut Values, &mut Findings)>,
    },
}

impl Kind {
    /// `None` where there is no value unless one is configured.
    fn default_number(&self) -> Option<i64> {
        let Self::Number { range, get, .. } = self else {
            return None;
        };
        Some(get(&Values::default())).filter(|number| range.contains(number))
    }
}

macro_rules! number {
    ($path:literal, $range:expr, $unit:literal, $($field:ident).+, $help:literal) => {
        Key {
            path: $path,
            kind: Kind::Number {
                range: $range,
                unit: $unit,
                get: |values| whole(values.$($field).+),
                set: |values, number| put(&mut values.$($field).+, number),
            },
            help: $help,
        }
    };
}

macro_rules! other {
    ($path:literal, $what:literal, $default:expr, $read:expr, $help:literal) => {
        Key {
            path: $path,
            kind: Kind::Other {
                what: $what,
                default: $default,
                read: $read,
            },
            help: $help,
        }
    };
}

macro_rules! section {
    ($path:literal, $help:literal) => {
        Key {
            path: $path,
            kind: Kind::Section,
            help: $help,
        }
    };
}

#[rustfmt::skip]
static KEYS: [Key; 42] = [
    other!("lanmanageraddress", "text", DEFAULT_ADDRESS,
        Some(|located, values, findings| values.address = text(located, findings)),
        "Host name or address of the LanManager."),
    number!("lanmanagerport", PORTS, "port", port,
        "Port of the LanManager. Without it 23552 and then 23451 are dialed, with `signalr` 22451."),
    other!("lanmanagerprotocol", "`ws`, `wss` or `signalr`", DEFAULT_PROTOCOL,
        Some(|located, values, findings| values.protocol = text(located, findings)),
        "What the LanManager is spoken to in: WebSocket, WebSocket over TLS, or SignalR over HTTP as the JavaScript master does."),
    number!("lanmanagerportcorrection", CORRECTIONS, "ports", correction,
        "Added to the LanManager's port."),
    other!("runtimedirectory", "text", DEFAULT_RUNTIME_DIRECTORY,
        Some(|located, values, findings| values.runtime_directory = text(located, findings)),
        "Folder that services of AllexJS change to and where their packages are looked for; relative to the master's folder."),
    section!("portrangestart", "First port of the range for each protocol. Each range has `limits.portrangesize` ports."),
    number!("portrangestart.tcp", PORTS, "port", settings.port_range_start.tcp, "First port for raw TCP."),
    number!("portrangestart.http", PORTS, "port", settings.port_range_start.http, "First port for HTTP and SignalR."),
    number!("portrangestart.ws", PORTS, "port", settings.port_range_start.ws, "First port for WebSocket."),
    other!("launchers", "object", "none",
        Some(|located, values, findings| values.launchers = launchers::read(located, findings)),
        "Programs that a need may ask for, by name: `exec:NAME`. `node` and `dotnet` replace the programs that run services of AllexJS."),
    other!("launchers.NAME.command", "list of texts", "required", None,
        "Program and arguments, without a shell. Arguments may have `{instancename}`, `{tcpport}`, `{httpport}`, `{wsport}` and `{propertyhash.X}`; a brace itself is written twice."),
    other!("launchers.NAME.cwd", "text", "the master's folder", None,
        "Folder in which the program starts."),
    other!("launchers.NAME.environment", "object of texts", "none", None,
        "Variables added to the environment, with the same placeholders."),
    other!("launchers.NAME.ready", "list of `tcp`, `http`, `ws`", "the ports that the command mentions, else all", None,
        "The service is ready when these ports answer. They are told to the LanManager."),
    other!("installmodules", "list of names", "none",
        Some(read_install_modules),
        "Packages that npm may install when a need asks for them; `*` stands for any letters. Installing runs foreign code."),
    other!("onduplicate", "`stop` or `keep`", "stop",
        Some(read_on_duplicate),
        "What becomes of a child whose service the LanManager lists somewhere else, as after a cut in which another machine started it: `stop` ends it after `limits.duplicategrace`, `keep` lets both run. Until then its state is `superseded`."),
    section!("limits", "How much of everything, and for how long."),
    number!("limits.startsatonce", AT_ONCE, "children", settings.starts_at_once,
        "Children that may be starting at once; further ones wait."),
    number!("limits.bidsatonce", AT_ONCE, "bids", settings.bids_at_once,
        "Bids that may be open at the LanManager at once."),
    number!("limits.readytimeout", TIMES, "ms", settings.ready_timeout,
        "Time a child has until its ports answer; then it is stopped and counts as failed."),
    number!("limits.stopgrace", PAUSES, "ms", settings.stop_grace,
        "Time a child has to end after SIGTERM; then it gets SIGKILL."),
    number!("limits.portrangesize", PORTS, "ports", settings.port_range_size,
        "Ports of each range."),
    number!("limits.portcooldown", PAUSES, "ms", settings.port_cooldown,
        "Time for which a freed port is not given out again."),
    number!("limits.portretry", TIMES, "ms", settings.port_retry,
        "Pause before a need that found no free port is tried again."),
    number!("limits.checkattempts", ATTEMPTS, "attempts", settings.check_attempts,
        "Times the LanManager is asked again, on the same bid, when it reached no port of a child."),
    number!("limits.checkretry", TIMES, "ms", settings.check_retry,
        "Pause between two of these."),
    number!("limits.duplicategrace", PAUSES, "ms", settings.duplicate_grace,
        "Time after which a child ends whose service the LanManager lists somewhere else; see `onduplicate`."),
    number!("limits.dialretry", TIMES, "ms", settings.dial_retry,
        "First pause before the LanManager is dialed again; doubled each time, with up to a quarter more at random."),
    number!("limits.dialretrymost", TIMES, "ms", settings.dial_retry_most,
        "Longest such pause."),
    number!("limits.requesttimeout", TIMES, "ms", settings.request_timeout,
        "Time a local call that needs the LanManager waits for it."),
    number!("limits.forgetafter", PAUSES, "ms", settings.forget_after,
        "Time for which a service that ended is remembered while no need asks for it."),
    number!("limits.farewelltimeout", PAUSES, "ms", settings.farewell_timeout,
        "Time a stopping master waits until the LanManager has heard that its services ended."),
    number!("limits.logfilesize", LOG_SIZES, "bytes", logs.file_size,
        "A child's log file that is larger is rotated."),
    number!("limits.logfilecount", LOG_COUNTS, "files", logs.old_files,
        "Old log files that are kept for each child."),
    number!("limits.journalkeep", AGES, "ms", journal.keep,
        "Age from which history is removed, leaving the state it led to; 0 keeps it whatever its age. Removed when a quarter older."),
    number!("limits.journalsize", JOURNAL_SIZES, "bytes", journal.most_bytes,
        "Size of the sealed, compressed history from which the oldest is removed, whatever its age; 0 for no limit."),
    section!("restart", "How a service that failed is started again."),
    number!("restart.delay", TIMES, "ms", settings.restart.delay,
        "First pause; doubled with each failure in a row. A service that had been approved is first started again at once."),
    number!("restart.delaymost", TIMES, "ms", settings.restart.delay_most, "Longest pause."),
    number!("restart.stableafter", PAUSES, "ms", settings.restart.stable_after,
        "A child that was up for this long has no failures in a row."),
    number!("restart.attempts", ATTEMPTS_OR_ENDLESS, "failures", settings.restart.attempts,
        "Failures in a row after which the service stays `failed`; 0: it is always tried again."),
    number!("restart.jitter", THOUSANDTHS, "thousandths", settings.restart.jitter,
        "How far a pause may be off at random, up or down, so that services that failed together do not return together."),
];

/// What the file says, with the defaults where it says nothing.
pub(super) struct Values {
    pub(super) address: Option<String>,
    /// 0 where none is configured.
    pub(super) port: u16,
    pub(super) protocol: Option<String>,
    pub(super) correction: i32,
    pub(super) runtime_directory: Option<String>,
    pub(super) launchers: BTreeMap<String, Launcher>,
    pub(super) install_modules: Vec<String>,
    pub(super) settings: Settings,
    pub(super) logs: LogLimits,
    pub(super) journal: Bounds,
    /// The whole file, as it stands there.
    pub(super) written: Value,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            address: None,
            port: 0,
            protocol: None,
            correction: 0,
            runtime_directory: None,
            launchers: BTreeMap::new(),
            install_modules: Vec::new(),
            settings: Settings::default(),
            logs: LogLimits::default(),
            journal: Bounds::USUAL,
            written: Value::Null,
        }
    }
}

fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Each range fits its field, which a test holds.
fn put<Number: TryFrom<i64>>(field: &mut Number, number: i64) {
    if let Ok(number) = Number::try_from(number) {
        *field = number;
    }
}

fn read_on_duplicate(located: &Located<'_>, values: &mut Values, findings: &mut Findings) {
    let word = text(located, findings);
    values.settings.on_duplicate = match word.as_deref() {
        None | Some("stop") => OnDuplicate::Stop,
        Some("keep") => OnDuplicate::Keep,
        Some(_) => return findings.mistake(unexpected(located, "\"stop\" or \"keep\"")),
    };
}

fn read_install_modules(located: &Located<'_>, values: &mut Values, findings: &mut Findings) {
    let patterns = elements(located, INSTALLABLE, findings);
    let texts = patterns
        .iter()
        .filter_map(|pattern| text(pattern, findings));
    values.install_modules = texts.collect();
}

fn read_section(mut section: Section<'_, '_>, prefix: &str, values: &mut Values) {
    for key in &KEYS {
        let Some(name) = key.path.strip_prefix(prefix) else {
            continue;
        };
        if name.contains('.') {
            continue;
        }
        match &key.kind {
            Kind::Section => {
                if let Some(inner) = section.section(name) {
                    read_section(inner, &format!("{}.", key.path), values);
                }
            }
            Kind::Number { range, set, .. } => {
                if let Some(number) = section.number(name, range) {
                    set(values, number);
                }
            }
            Kind::Other { read, .. } => {
                if let (Some(read), Some(located)) = (read, section.value(name)) {
                    read(&located, values, section.findings());
                }
            }
        }
    }
    section.finish();
}

/// Each key that has one value, with that value where it is a number, else with its default; and
/// what a number counts.
pub(super) fn plain_values(
    values: &Values,
) -> impl Iterator<Item = (&'static str, Value, &'static str)> {
    KEYS.iter().filter_map(|key| {
        let (value, unit) = match &key.kind {
            Kind::Number {
                range, get, unit, ..
            } => {
                let number = get(values);
                (range.contains(&number).then_some(number).into(), *unit)
            }
            Kind::Other {
                default,
                what,
                read: Some(_),
            } if *what != "object" => match *default {
                "none" => (Value::Null, ""),
                default => (default.into(), ""),
            },
            Kind::Section | Kind::Other { .. } => return None,
        };
        Some((key.path, value, unit))
    })
}

/// All keys as a table in Markdown.
pub(super) fn table() -> String {
    let mut table =
        "| key | value | unit | default | meaning |\n|---|---|---|---|---|\n".to_owned();
    for Key { path, kind, help } in &KEYS {
        let (value, unit, default) = match kind {
            Kind::Section => ("object".to_owned(), "", String::new()),
            Kind::Number { range, unit, .. } => {
                let value = format!("{} to {}", range.start(), range.end());
                let default = kind.default_number();
                let default =
                    default.map_or_else(|| "none".to_owned(), |number| number.to_string());
                (value, *unit, default)
            }
            Kind::Other { what, default, .. } => ((*what).to_owned(), "", (*default).to_owned()),
        };
        table.push_str(&format!(
            "| `{path}` | {value} | {unit} | {default} | {help} |\n"
        ));
    }
    table
}

/// All keys for programs.
pub(super) fn list() -> Value {
    let one = |Key { path, kind, help }: &Key| match kind {
        Kind::Section => json!({"key": path, "type": "object", "meaning": help}),
        Kind::Number { range, unit, .. } => json!({
            "key": path, "type": "number", "from": range.start(), "to": range.end(), "unit": unit,
            "default": kind.default_number(), "meaning": help,
        }),
        Kind::Other { what, default, .. } => {
            json!({"key": path, "type": what, "default": default, "meaning": help})
        }
    };
    KEYS.iter().map(one).collect()
}

pub(super) fn read(text: &str) -> (Values, Findings) {
    let mut values = Values::default();
    let mut findings = Findings::default();
    let root = match parse_to_ast(text, &CollectOptions::default(), &strict_json()) {
        Ok(parsed) => parsed.value,
        Err(error) => {
            let range = error.range();
            let place = Some(range.start..range.end);
            let message = format!("this is not JSON: {}", decapitalized(error.kind()));
            let mut mistake = Mistake::new(place, message, "here");
            if let Some(help) = syntax_help(error.kind()) {
                mistake = mistake.help(help);
            }
            findings.mistake(mistake);
            return (values, findings);
        }
    };
    let root_value = root.as_ref();
    let object = root_value.and_then(|value| value.as_object());
    match object {
        Some(object) => {
            let root = Section::new(String::new(), object, &mut findings);
            read_section(root, "", &mut values);
            values.written = root_value.map(super::document::to_json).unwrap_or_default();
        }
        None => {
            let place = root.as_ref().map(super::document::place_of).or(Some(0..0));
            let mistake = Mistake::new(
                place,
                "the configuration must be an object, as in { … }",
                "here",
            );
            findings.mistake(mistake.help(format!(
                "remove the file, and the default is written:\n{}",
                file::DEFAULT_TEXT
            )));
        }
    }
    (values, findings)
}

/// JSON as its standard has it: the JavaScript programs read the same file.
const fn strict_json() -> ParseOptions {
    ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn decapitalized(kind: &ParseErrorKind) -> String {
    let text = kind.to_string();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text,
    }
}

fn syntax_help(kind: &ParseErrorKind) -> Option<&'static str> {
    if matches!(kind, ParseErrorKind::CommentsNotAllowed) {
        return Some("JSON has no comments: remove it");
    }
    if matches!(kind, ParseErrorKind::TrailingCommasNotAllowed) {
        return Some("remove the comma before the closing bracket");
    }
    if matches!(kind, ParseErrorKind::SingleQuotedStringsNotAllowed) {
        return Some("write \" instead of '");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_fits_its_field_and_has_the_default() {
        for key in &KEYS {
            let Kind::Number {
                range, get, set, ..
            } = &key.kind
            else {
                continue;
            };
            // Without a configured port the usual ones are dialed.
            let has_default = key.kind.default_number().is_some();
            assert!(has_default || key.path == "lanmanagerport", "{}", key.path);
            for number in [*range.start(), *range.end()] {
                let mut values = Values::default();
                set(&mut values, number);
                assert_eq!(get(&values), number, "{}", key.path);
            }
        }
    }
}
