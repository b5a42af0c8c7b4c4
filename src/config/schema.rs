//! The keys of the configuration, their types and their limits.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use allexmaster_journal::Bounds;
use allexmaster_state::{RestartPolicy, Settings};
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::document::{Findings, Section, elements, text};
use super::error::Mistake;
use super::{JOURNAL_BOUNDS, file, launchers};
use crate::launch::Launcher;
use crate::logs::LogLimits;

/// A port that a server can have.
const PORTS: RangeInclusive<i64> = 1..=65_535;
/// The distance between two ports.
const CORRECTIONS: RangeInclusive<i64> = -65_535..=65_535;
/// A pause that may be none: no longer than a day, which nobody waits for.
const PAUSES: RangeInclusive<i64> = 0..=86_400_000;
/// A time that must pass.
const TIMES: RangeInclusive<i64> = 1..=86_400_000;
/// How many of something may happen at once: as many as there are ports.
const AT_ONCE: RangeInclusive<i64> = 1..=65_535;
/// How often something is tried.
const ATTEMPTS: RangeInclusive<i64> = 1..=1_000;
/// As often as one likes; 0 is without end.
const ATTEMPTS_OR_ENDLESS: RangeInclusive<i64> = 0..=1_000_000;
/// Thousandths.
const THOUSANDTHS: RangeInclusive<i64> = 0..=1_000;
/// The size of a log file: at least some blocks of the file system, at most 1 TiB.
const LOG_SIZES: RangeInclusive<i64> = 65_536..=1_099_511_627_776;
/// How old something may get: ten years at most; 0 is without end.
const AGES: RangeInclusive<i64> = 0..=315_360_000_000;
/// The size of a journal: at most 1 TiB; 0 is without end.
const JOURNAL_SIZES: RangeInclusive<i64> = 0..=1_099_511_627_776;
/// Old log files.
const LOG_COUNTS: RangeInclusive<i64> = 0..=1_000;

/// The packages that may be installed.
const INSTALLABLE: &str = "a list of names of packages, as in [\"allex_*\"]";

/// What the file says, with the defaults where it says nothing.
pub(super) struct Values {
    pub(super) address: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) protocol: Option<String>,
    pub(super) correction: i32,
    pub(super) runtime_directory: Option<String>,
    pub(super) launchers: BTreeMap<String, Launcher>,
    pub(super) install_modules: Vec<String>,
    pub(super) settings: Settings,
    pub(super) logs: LogLimits,
    pub(super) journal: Bounds,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            address: None,
            port: None,
            protocol: None,
            correction: 0,
            runtime_directory: None,
            launchers: BTreeMap::new(),
            install_modules: Vec::new(),
            settings: Settings::default(),
            logs: LogLimits::default(),
            journal: JOURNAL_BOUNDS,
        }
    }
}

/// Reads the text.
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
    let object = root.as_ref().and_then(|value| value.as_object());
    match object {
        Some(object) => read_root(
            Section::new(String::new(), object, &mut findings),
            &mut values,
        ),
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

fn read_root(mut root: Section<'_, '_>, values: &mut Values) {
    values.address = root.text("lanmanageraddress");
    let mut port = 0;
    root.number("lanmanagerport", PORTS, &mut port);
    values.port = (port != 0).then_some(port);
    values.protocol = root.text("lanmanagerprotocol");
    root.number(
        "lanmanagerportcorrection",
        CORRECTIONS,
        &mut values.correction,
    );
    values.runtime_directory = root.text("runtimedirectory");
    let settings = &mut values.settings;
    if let Some(mut starts) = root.section("portrangestart") {
        starts.number("tcp", PORTS, &mut settings.port_range_start.tcp);
        starts.number("http", PORTS, &mut settings.port_range_start.http);
        starts.number("ws", PORTS, &mut settings.port_range_start.ws);
        starts.finish();
    }
    if let Some(located) = root.value("launchers") {
        values.launchers = launchers::read(&located, root.findings());
    }
    if let Some(located) = root.value("installmodules") {
        let findings = root.findings();
        let patterns = elements(&located, INSTALLABLE, findings);
        let texts = patterns
            .iter()
            .filter_map(|pattern| text(pattern, findings));
        values.install_modules = texts.collect();
    }
    if let Some(limits) = root.section("limits") {
        read_limits(limits, settings, &mut values.logs, &mut values.journal);
    }
    if let Some(restart) = root.section("restart") {
        read_restart(restart, &mut settings.restart);
    }
    root.finish();
}

fn read_limits(
    mut limits: Section<'_, '_>,
    settings: &mut Settings,
    logs: &mut LogLimits,
    journal: &mut Bounds,
) {
    limits.number("startsatonce", AT_ONCE, &mut settings.starts_at_once);
    limits.number("bidsatonce", AT_ONCE, &mut settings.bids_at_once);
    limits.number("readytimeout", TIMES, &mut settings.ready_timeout);
    limits.number("stopgrace", PAUSES, &mut settings.stop_grace);
    limits.number("portrangesize", PORTS, &mut settings.port_range_size);
    limits.number("portcooldown", PAUSES, &mut settings.port_cooldown);
    limits.number("portretry", TIMES, &mut settings.port_retry);
    limits.number("checkattempts", ATTEMPTS, &mut settings.check_attempts);
    limits.number("checkretry", TIMES, &mut settings.check_retry);
    limits.number("dialretry", TIMES, &mut settings.dial_retry);
    limits.number("dialretrymost", TIMES, &mut settings.dial_retry_most);
    limits.number("requesttimeout", TIMES, &mut settings.request_timeout);
    limits.number("forgetafter", PAUSES, &mut settings.forget_after);
    limits.number("farewelltimeout", PAUSES, &mut settings.farewell_timeout);
    limits.number("logfilesize", LOG_SIZES, &mut logs.file_size);
    limits.number("logfilecount", LOG_COUNTS, &mut logs.old_files);
    limits.number("journalkeep", AGES, &mut journal.keep);
    limits.number("journalsize", JOURNAL_SIZES, &mut journal.most_bytes);
    limits.finish();
}

fn read_restart(mut restart: Section<'_, '_>, policy: &mut RestartPolicy) {
    restart.number("delay", TIMES, &mut policy.delay);
    restart.number("delaymost", TIMES, &mut policy.delay_most);
    restart.number("stableafter", PAUSES, &mut policy.stable_after);
    restart.number("attempts", ATTEMPTS_OR_ENDLESS, &mut policy.attempts);
    restart.number("jitter", THOUSANDTHS, &mut policy.jitter);
    restart.finish();
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
