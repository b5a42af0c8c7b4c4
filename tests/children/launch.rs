//! From a need to a command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use allexmaster::launch::{
    BadTemplate, LaunchError, Launchers, MasterFacts, SAMPLE_CLOCK, Template, Unfillable,
};
use allexmaster_state::{Incarnation, PerProtocol, Pid, Port, SpawnOrder};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::bench::{launcher, launchers, order};

fn master() -> MasterFacts {
    MasterFacts {
        journal: "journal".into(),
        pid: Pid(15_847),
        folder: PathBuf::from("/master"),
        runtime_folder: ".".to_owned(),
    }
}

fn with_ports(mut order: SpawnOrder) -> SpawnOrder {
    order.ports = PerProtocol {
        tcp: Some(Port(15_000)),
        http: Some(Port(16_000)),
        ws: Some(Port(17_000)),
    };
    order
}

fn one(program: &str, arguments: &[&str]) -> Launchers {
    Launchers::new(
        launchers([("one", launcher(program, arguments))]),
        Path::new("/bin/allexmaster"),
    )
}

#[test]
fn the_spawn_descriptor_is_the_one_that_the_javascript_master_writes() {
    let mut order = with_ports(order(918, SAMPLE_CLOCK, json!({})));
    let need = Arc::make_mut(&mut order.need);
    need.instance = "Time".into();
    need.details.insert(
        "strategies".to_owned(),
        json!({"ip": [{"ip": "127.0.0.1/32", "role": "user"}]}),
    );
    let line = one("true", &[]).command_line(&order, &master()).unwrap();
    assert_eq!(
        line.environment["ALLEX_SPAWN"],
        "{\"instancename\":\"Time\",\"modulename\":\"sample:clock\",\"propertyhash\":{},\
         \"strategies\":{\"ip\":[{\"ip\":\"127.0.0.1/32\",\"role\":\"user\"}]},\"closed\":null,\
         \"tcpport\":15000,\"tcpoptions\":null,\"httpport\":16000,\"httpoptions\":null,\
         \"wsport\":17000,\"wsoptions\":null,\"pid\":null,\"debug\":null,\"debug_brk\":null,\
         \"prof\":null,\"gate\":null,\"masterpid\":15847}"
    );
    assert_eq!(line.environment["ALLEX_RUNTIMEDIRECTORY"], ".");
    assert_eq!(line.environment["parentProcessID"], "15847");
    assert_eq!(line.environment["ALLEXMASTER_INCARNATION"], "journal/918");
    assert_eq!(line.program, Path::new("/bin/allexmaster"));
    assert_eq!(line.arguments, ["sample", "clock"]);
    assert_eq!(line.folder, Path::new("/master"));
}

#[test]
fn placeholders_are_filled_in_each_inside_its_argument() {
    let launchers = one(
        "serve",
        &[
            "{httpport}",
            "--ws={wsport}:{tcpport}",
            "{{{instancename}}}",
            "",
            "{propertyhash.text}",
            "{propertyhash.number}",
            "{propertyhash.truth}",
        ],
    );
    let properties =
        json!({"text": "a b; rm -rf {tcpport} $HOME \"'", "number": 1.5, "truth": true});
    let mut order = with_ports(order(1, "exec:one", properties));
    order.incarnation = Incarnation {
        sequence: 7,
        index: 2,
    };
    let line = launchers.command_line(&order, &master()).unwrap();
    assert_eq!(
        line.arguments,
        [
            "16000",
            "--ws=17000:15000",
            "{Service}",
            "",
            "a b; rm -rf {tcpport} $HOME \"'",
            "1.5",
            "true"
        ]
    );
    assert_eq!(line.environment["ALLEXMASTER_INCARNATION"], "journal/7.2");
}

#[test]
fn programs_and_folders_are_seen_from_the_masters_folder() {
    for (program, expected) in [
        ("serve", "serve"),
        ("./serve", "/master/./serve"),
        ("bin/serve", "/master/bin/serve"),
        ("/bin/serve", "/bin/serve"),
    ] {
        let mut launcher = launcher(program, &[]);
        launcher.folder = Some(PathBuf::from("site"));
        let launchers = Launchers::new(launchers([("one", launcher)]), Path::new("/x"));
        let line = launchers
            .command_line(&order(1, "exec:one", json!({})), &master())
            .unwrap();
        assert_eq!(line.program, Path::new(expected));
        assert_eq!(line.folder, Path::new("/master/site"));
    }
}

#[test]
fn what_cannot_be_filled_in_is_told_by_name() {
    let launchers = one("serve", &["{propertyhash.x}"]);
    let refused = |properties: Value| {
        launchers
            .command_line(&order(1, "exec:one", properties), &master())
            .unwrap_err()
    };
    let missing = LaunchError::Unfillable(Unfillable::Missing {
        name: "x".to_owned(),
    });
    assert_eq!(refused(json!({})), missing);
    assert_eq!(refused(json!(null)), missing);
    for (value, found) in [
        (json!(null), "null"),
        (json!([1]), "a list"),
        (json!({"a": 1}), "an object"),
    ] {
        let unsuitable = Unfillable::Unsuitable {
            name: "x".to_owned(),
            found,
        };
        assert_eq!(
            refused(json!({"x": value})),
            LaunchError::Unfillable(unsuitable)
        );
    }
    assert!(matches!(
        refused(json!({"x": "a\0b"})),
        LaunchError::ZeroByte { .. }
    ));
    assert!(matches!(
        refused(json!({"x": "a".repeat(1 << 20)})),
        LaunchError::TooLong { .. }
    ));
}

#[test]
fn a_launcher_serves_what_it_says_or_mentions() {
    let serves = |launcher: allexmaster::launch::Launcher| launcher.serves();
    let all = PerProtocol {
        tcp: true,
        http: true,
        ws: true,
    };
    assert_eq!(serves(launcher("a", &[])), all);
    let http = PerProtocol {
        tcp: false,
        http: true,
        ws: false,
    };
    assert_eq!(serves(launcher("a", &["-p{httpport}"])), http);
    let mut by_variable = launcher("a", &[]);
    by_variable
        .environment
        .insert("PORT".to_owned(), Template::parse("{httpport}").unwrap());
    assert_eq!(serves(by_variable), http);
    let mut said = launcher("a", &["{tcpport}"]);
    said.ready = Some(http);
    assert_eq!(serves(said), http);
}

#[test]
fn no_launcher_can_take_the_incarnation_away() {
    let mut thief = launcher("a", &[]);
    thief.environment.insert(
        "ALLEXMASTER_INCARNATION".to_owned(),
        Template::parse("x").unwrap(),
    );
    let launchers = Launchers::new(launchers([("one", thief)]), Path::new("/x"));
    let line = launchers
        .command_line(&order(3, "exec:one", json!({})), &master())
        .unwrap();
    assert_eq!(line.environment["ALLEXMASTER_INCARNATION"], "journal/3");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_template_or_is_refused(text in "[{}a.]{0,12}|.{0,40}") {
        match Template::parse(&text) {
            Ok(template) => {
                // Whatever the need holds, filling in never panics.
                let _ = template.fill(&order_without_ports());
            }
            Err(BadTemplate::Unknown { .. } | BadTemplate::Unclosed | BadTemplate::Unopened) => {}
        }
    }

    #[test]
    fn a_text_with_doubled_braces_is_itself(text in ".{0,40}") {
        let doubled = text.replace('{', "{{").replace('}', "}}");
        let template = Template::parse(&doubled).unwrap();
        prop_assert!(template.is_constant());
        prop_assert_eq!(template.fill(&order_without_ports()).unwrap(), text);
    }
}

fn order_without_ports() -> SpawnOrder {
    let mut order = SpawnOrder {
        incarnation: Incarnation {
            sequence: 1,
            index: 0,
        },
        need: Arc::new(allexmaster_state::Need {
            instance: "Service".into(),
            module: "exec:one".into(),
            address: None,
            ports: PerProtocol::default(),
            details: serde_json::Map::new(),
        }),
        ports: PerProtocol::default(),
    };
    order.ports.tcp = Some(Port(1));
    order
}
