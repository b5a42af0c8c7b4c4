//! The configuration: what is accepted, what is refused, and how that is told.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use allexmaster::config::{
    CONFIG_FILE, Config, ConfigError, DEFAULT_TEXT, JAVASCRIPT_CONFIG_FILE, Overrides, Report,
    key_table,
};
use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;
use serde_json::{Value, json};

fn parse(text: &str) -> Result<(Config, Vec<Report>), ConfigError> {
    parse_with(text, &Overrides::default())
}

fn parse_with(text: &str, overrides: &Overrides) -> Result<(Config, Vec<Report>), ConfigError> {
    Config::parse(Path::new(CONFIG_FILE), text.to_owned(), overrides)
}

fn endpoints(text: &str, overrides: &Overrides) -> Vec<String> {
    let (config, _) = parse_with(text, overrides).expect("the configuration is right");
    config
        .lan_endpoints
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// As a terminal without colours shows it, and as programs get it.
fn shown(error: &ConfigError) -> String {
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .render_report(&mut text, error)
        .expect("a String takes everything");
    let reports = serde_json::to_string_pretty(&error.reports()).expect("reports are JSON");
    writeln!(text, "\n{reports}").expect("a String takes everything");
    text
}

#[track_caller]
fn snapshot(name: &str, text: &str) {
    allexmaster_testkit::assert_snapshot(&format!("cli__config_{name}"), text);
}

#[test]
fn where_there_is_no_file_the_default_is_written_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = Config::load(folder.path(), &Overrides::default()).unwrap();
    assert!(loaded.written);
    assert_eq!(loaded.file, folder.path().join(CONFIG_FILE));
    let text = fs::read_to_string(&loaded.file).unwrap();
    assert_eq!(text, DEFAULT_TEXT);
    let value: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({
        "lanmanageraddress": "127.0.0.1",
        "portrangestart": {"tcp": 15000, "http": 16000, "ws": 17000}
    });
    assert_eq!(value, expected);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    let again = Config::load(folder.path(), &Overrides::default()).unwrap();
    assert!(!again.written);
    assert_eq!(again.config, loaded.config);
}

#[test]
fn the_javascript_masters_file_is_read_where_only_it_exists() {
    let folder = tempfile::tempdir().unwrap();
    let javascript = folder.path().join(JAVASCRIPT_CONFIG_FILE);
    let text = r#"{"lanmanageraddress":"10.0.0.9","lanmanagerportcorrection":7,"runtimedirectory":"/srv",
        "portrangestart":{"tcp":15000,"http":16000,"ws":17000}}"#;
    fs::write(&javascript, text).unwrap();
    let loaded = Config::load(folder.path(), &Overrides::default()).unwrap();
    assert_eq!(loaded.file, javascript);
    assert!(!folder.path().join(CONFIG_FILE).exists());
    assert_eq!(loaded.config.runtime_directory, "/srv");
    assert_eq!(
        loaded.config.lan_endpoints[0].to_string(),
        "ws://10.0.0.9:23559"
    );

    fs::write(folder.path().join(CONFIG_FILE), "{}").unwrap();
    let loaded = Config::load(folder.path(), &Overrides::default()).unwrap();
    assert_eq!(loaded.file, folder.path().join(CONFIG_FILE));
}

#[test]
fn a_file_with_a_mistake_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(CONFIG_FILE);
    fs::write(&file, "{\"lanmanageradress\": 1").unwrap();
    let error = Config::load(folder.path(), &Overrides::default()).unwrap_err();
    assert!(matches!(error, ConfigError::Mistakes(_)));
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "{\"lanmanageradress\": 1"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_text_or_cannot_be_read_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let load = || Config::load(folder.path(), &Overrides::default()).unwrap_err();
    let file = folder.path().join(CONFIG_FILE);
    fs::write(&file, b"{\"a\xff\"}").unwrap();
    assert!(matches!(load(), ConfigError::NotText { position: 3, .. }));
    fs::write(&file, vec![b' '; 2 * 1024 * 1024]).unwrap();
    assert!(matches!(load(), ConfigError::TooLarge { .. }));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let error = load();
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    let reports = error.reports();
    assert_eq!(reports.len(), 1);
    assert!(
        reports[0].message.contains("is a directory")
            || reports[0].message.contains("Is a directory")
    );

    let missing = folder.path().join("missing");
    let error = Config::load(&missing, &Overrides::default()).unwrap_err();
    assert!(matches!(error, ConfigError::Unwritable { .. }));
}

#[test]
fn without_a_port_both_known_ports_are_dialed_in_turn() {
    let none = Overrides::default();
    assert_eq!(
        endpoints("{}", &none),
        ["ws://127.0.0.1:23552", "ws://127.0.0.1:23451"]
    );
    assert_eq!(
        endpoints(
            r#"{"lanmanagerportcorrection": -1000, "lanmanagerprotocol": "wss"}"#,
            &none
        ),
        ["wss://127.0.0.1:22552", "wss://127.0.0.1:22451"]
    );
    assert_eq!(
        endpoints(
            r#"{"lanmanagerport": 1, "lanmanagerportcorrection": 3}"#,
            &none
        ),
        ["ws://127.0.0.1:4"]
    );
    for address in ["[::1]", "::1"] {
        let text = json!({"lanmanageraddress": address, "lanmanagerport": 5}).to_string();
        assert_eq!(endpoints(&text, &none), ["ws://[::1]:5"]);
    }
}

#[test]
fn flags_and_variables_override_the_file() {
    let text = r#"{"lanmanageraddress": "one", "lanmanagerport": 1, "lanmanagerprotocol": "ws",
        "lanmanagerportcorrection": 10, "runtimedirectory": "here"}"#;
    let overrides = Overrides {
        lanmanager_address: Some("two".to_owned()),
        lanmanager_port: Some(2),
        lanmanager_protocol: Some("wss".to_owned()),
        lanmanager_port_correction: Some(20),
        runtime_directory: Some("there".to_owned()),
    };
    let (config, _) = parse_with(text, &overrides).unwrap();
    assert_eq!(config.lan_endpoints.len(), 1);
    assert_eq!(config.lan_endpoints[0].to_string(), "wss://two:22");
    assert_eq!(config.runtime_directory, "there");
}

#[test]
fn every_key_is_accepted() {
    let (config, warnings) = parse(COMPLETE).unwrap();
    assert_eq!(warnings, []);
    let mut text = format!(
        "{:#?}",
        (&config.settings, config.logs, &config.runtime_directory)
    );
    for package in ["allex_timeservice", "exact", "other"] {
        let allowed = config.settings.install_modules.allow(package);
        write!(text, "\nmay install {package}: {allowed}").unwrap();
    }
    for endpoint in &config.lan_endpoints {
        write!(text, "\n{endpoint}").unwrap();
    }
    snapshot("complete", &text);
}

const COMPLETE: &str = r#"{
  "lanmanageraddress": "lan.example.org",
  "lanmanagerport": 443,
  "lanmanagerprotocol": "wss",
  "lanmanagerportcorrection": 1,
  "runtimedirectory": "runtime",
  "portrangestart": {"tcp": 1000, "http": 2000, "ws": 3000},
  "launchers": {
    "web": {
      "command": ["python3", "-m", "http.server", "{httpport}"],
      "cwd": "site",
      "environment": {"NAME": "{instancename}"},
      "ready": ["http"]
    },
    "both": {"command": ["serve", "{tcpport}", "--ws={wsport}"]},
    "plain": {"command": ["serve"]},
    "node": {"command": ["node", "child.js"], "ready": ["http", "ws"]}
  },
  "installmodules": ["allex_*", "exact"],
  "onduplicate": "keep",
  "limits": {
    "startsatonce": 101, "bidsatonce": 102, "readytimeout": 103, "stopgrace": 104,
    "portrangesize": 105, "portcooldown": 106, "portretry": 107, "checkattempts": 108,
    "checkretry": 109, "duplicategrace": 116, "dialretry": 110, "dialretrymost": 111, "requesttimeout": 112,
    "forgetafter": 113, "farewelltimeout": 114, "logfilesize": 100000, "logfilecount": 115
  },
  "restart": {"delay": 201, "delaymost": 202, "stableafter": 203, "attempts": 204, "jitter": 205}
}"#;

#[test]
fn mistakes_are_shown_with_their_place_and_what_was_meant() {
    let mistakes = [
        ("nothing at all", ""),
        ("no object", "[1]"),
        ("a comma too much", "{\n  \"lanmanagerport\": 1,\n}"),
        (
            "a comment",
            "{\n  // my machine\n  \"lanmanagerport\": 1\n}",
        ),
        ("never closed", "{\"portrangestart\": {\"tcp\": 1"),
        (
            "mistyped keys",
            "{\n  \"lanmanageradress\": \"127.0.0.1\",\n  \"portrangestart\": {\"tpc\": 15000},\n  \
             \"limits\": {\"stop_grace\": 5, \"colour\": 1}\n}",
        ),
        (
            "wrong types",
            "{\n  \"lanmanageraddress\": 127,\n  \"lanmanagerport\": \"23552\",\n  \
             \"portrangestart\": [15000],\n  \"restart\": {\"jitter\": 0.2}\n}",
        ),
        (
            "out of range",
            "{\n  \"lanmanagerport\": 70000,\n  \"portrangestart\": {\"tcp\": 0, \"ws\": 65000},\n  \
             \"restart\": {\"delay\": 100000}\n}",
        ),
        (
            "the LanManager",
            "{\n  \"lanmanageraddress\": \"http://10.0.0.1:23552\",\n  \"lanmanagerprotocol\": \"wws\",\n  \
             \"lanmanagerportcorrection\": 50000\n}",
        ),
        (
            "a key twice",
            "{\n  \"lanmanagerport\": 1,\n  \"lanmanagerport\": 2\n}",
        ),
    ];
    snapshot("mistakes", &all_shown(&mistakes));
}

#[test]
fn mistakes_in_launchers_are_shown() {
    let mistakes = [
        (
            "a shell line",
            r#"{"launchers": {"web": {"command": "python3 -m http.server"}}}"#,
        ),
        (
            "no command",
            r#"{"launchers": {"web": {"cwd": "site"}, "web:x": {"command": []}}}"#,
        ),
        (
            "placeholders",
            "{\"launchers\": {\"web\": {\"command\": [\n  \"{propertyhash.program}\",\n  \"{httport}\",\n  \
             \"{\",\n  \"}\",\n  \"{colour}\",\n  7\n]}}}",
        ),
        (
            "environment and ready",
            "{\"launchers\": {\"web\": {\"command\": [\"a\"],\n  \"environment\": {\"ALLEX_SPAWN\": \"x\", \
             \"A=B\": \"\", \"C\": null},\n  \"ready\": [\"htpp\"]},\n  \"none\": {\"command\": [\"a\"], \"ready\": []}}}",
        ),
    ];
    snapshot("launcher_mistakes", &all_shown(&mistakes));
}

fn all_shown(mistakes: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (title, configuration) in mistakes {
        let error = parse(configuration).unwrap_err();
        writeln!(text, "== {title}\n{}", shown(&error)).unwrap();
    }
    text
}

#[test]
fn a_mistake_in_a_flag_has_no_place_in_the_file() {
    let overrides = Overrides {
        lanmanager_address: Some("10.0.0.1:23552".to_owned()),
        lanmanager_port: Some(0),
        lanmanager_protocol: Some("http".to_owned()),
        ..Overrides::default()
    };
    let reports = parse_with("{}", &overrides).unwrap_err().reports();
    assert_eq!(reports.len(), 3, "{reports:#?}");
    assert!(
        reports
            .iter()
            .all(|report| report.line.is_none() && report.column.is_none())
    );
}

#[test]
fn ranges_that_overlap_one_another_are_allowed_with_a_warning() {
    let text = "{\n  \"portrangestart\": {\"tcp\": 15000, \"http\": 15500, \"ws\": 17000}\n}";
    let (_, warnings) = parse(text).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert_eq!((warnings[0].line, warnings[0].column), (Some(2), Some(44)));
    assert_eq!(warnings[0].message, "the ports for tcp and http overlap");
}

#[test]
fn a_range_among_the_systems_own_ports_is_allowed_with_a_warning() {
    let own = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let first: u16 = own
        .split_ascii_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let text = json!({"portrangestart": {"ws": first}, "limits": {"portrangesize": 1}}).to_string();
    let (_, warnings) = parse(&text).unwrap();
    assert!(
        warnings
            .iter()
            .any(|warning| warning.message.contains("outgoing connections"))
    );
}

#[test]
fn a_file_of_nothing_but_mistakes_is_cut_short() {
    let keys: Vec<String> = (0..50_000)
        .map(|number| format!("\"k{number}\":0"))
        .collect();
    let error = parse(&format!("{{{}}}", keys.join(","))).unwrap_err();
    assert_eq!(error.reports().len(), 50);
}

/// What `docs/configuration.md` says besides the table of keys.
const CONFIGURATION_HEAD: &str = "\
# Configuration

The master reads `allexmasterconfig.json` in its folder when it starts (`.allexmasterconfig.json`, the name of
the JavaScript master, where only that exists), and writes a default where there is none. It is strict JSON. A
file with a mistake is never changed: `allexmaster config check` shows every mistake with line and column, and
a start is refused with exit code 3. While the master runs, an edited file comes into force with `allexmaster
reload` or SIGHUP; `allexmaster config show` prints what is in force.

Every key is optional. Flags and variables win over the file: `--lanmanager-address`
(`ALLEXMASTER_LANMANAGER_ADDRESS`), `--lanmanager-port`, `--lanmanager-protocol`,
`--lanmanager-port-correction` and `--runtime-directory`.

`allexmaster config keys` prints this table, with `--json` for programs. Numbers are whole numbers.

";

#[test]
fn the_documentation_has_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let expected = format!("{CONFIGURATION_HEAD}{}", key_table());
    if std::env::var_os("ALLEXMASTER_WRITE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "{} is not what the table of keys says; \
         ALLEXMASTER_WRITE_DOCS=1 cargo test --test config writes it",
        path.display()
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any_key(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "lanmanageraddress",
        "lanmanagerport",
        "lanmanagerprotocol",
        "lanmanagerportcorrection",
        "runtimedirectory",
        "portrangestart",
        "launchers",
        "limits",
        "restart",
        "tcp",
        "http",
        "ws",
        "command",
        "cwd",
        "environment",
        "ready",
        "portrangesize",
        "delay",
        "delaymost",
        "jitter",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => ".{0,8}"]
}

/// Whatever comes out can be shown, and every place lies in the text.
fn holds_together(text: &str) {
    match parse(text) {
        Ok((config, _)) => assert!(!config.lan_endpoints.is_empty()),
        Err(error) => {
            assert!(!shown(&error).is_empty());
            let lines = text.matches('\n').count() + 1;
            for report in error.reports() {
                assert!(report.line.is_none_or(|line| (1..=lines).contains(&line)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG_FILE), &bytes).unwrap();
        if let Err(error) = Config::load(folder.path(), &Overrides::default()) {
            shown(&error);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        holds_together(&text);
    }

    #[test]
    fn any_json_is_read_or_refused(members in prop::collection::vec((any_key(), any_json()), 0..8)) {
        let value = Value::Object(members.into_iter().collect());
        holds_together(&value.to_string());
        holds_together(&serde_json::to_string_pretty(&value).unwrap());
    }

    #[test]
    fn a_damaged_configuration_is_read_or_refused(at in 0..COMPLETE.len(), with in any::<char>(), cut in any::<bool>()) {
        let mut text = COMPLETE.to_owned();
        if cut {
            text.truncate(at);
        } else {
            text.replace_range(at..=at, &with.to_string());
        }
        holds_together(&text);
    }

    #[test]
    fn deep_nesting_is_refused(depth in 500_usize..20_000, list in any::<bool>()) {
        let bracket = if list { "[" } else { "{\"limits\":" };
        holds_together(&bracket.repeat(depth));
    }
}
