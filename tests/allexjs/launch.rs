//! From a need without a domain to the command line of AllexJS's child program.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use allexmaster::launch::{ChannelKind, CommandLine, LaunchError, Launchers, MasterFacts};
use allexmaster_state::{Incarnation, Need, PerProtocol, Pid, Port, SpawnOrder};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A folder in which packages are installed.
fn installation(packages: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for package in packages {
        fs::create_dir_all(folder.path().join("node_modules").join(package)).unwrap();
    }
    folder
}

fn with_child_program(folder: &Path) {
    let users = folder.join("node_modules/allex_masterservice/users");
    fs::create_dir_all(&users).unwrap();
    fs::write(users.join("spawn.js"), "").unwrap();
}

fn order(module: &str, details: Value) -> SpawnOrder {
    let details: Map<String, Value> = details.as_object().cloned().unwrap();
    let need = Need {
        instance: "Time".into(),
        module: module.into(),
        address: None,
        ports: PerProtocol::default(),
        details,
    };
    SpawnOrder {
        incarnation: Incarnation {
            sequence: 7,
            index: 0,
        },
        need: Arc::new(need),
        ports: PerProtocol {
            tcp: Some(Port(15_000)),
            http: Some(Port(16_000)),
            ws: Some(Port(17_000)),
        },
    }
}

fn line(folder: &Path, order: &SpawnOrder) -> Result<CommandLine, LaunchError> {
    let master = MasterFacts {
        journal: "journal".into(),
        pid: Pid(15_847),
        folder: folder.to_owned(),
        runtime_folder: ".".to_owned(),
    };
    Launchers::new(BTreeMap::new(), Path::new("/bin/allexmaster")).command_line(order, &master)
}

#[test]
fn a_module_without_a_domain_runs_in_the_child_program_with_nodes_channel() {
    let installed = installation(&["allex_timeservice"]);
    with_child_program(installed.path());
    let details = json!({"prof": true, "strategies": {}});
    let line = line(installed.path(), &order("allex_timeservice", details)).unwrap();
    assert_eq!(line.program, Path::new("node"));
    let program = installed
        .path()
        .join("node_modules/allex_masterservice/users/spawn.js");
    assert_eq!(line.arguments, ["--prof", program.to_str().unwrap()]);
    assert_eq!(line.channel, ChannelKind::Inherited);
    assert_eq!(line.folder, installed.path());
    let variable = |name: &str| line.environment.get(name).map(String::as_str);
    assert_eq!(variable("NODE_CHANNEL_FD"), Some("3"));
    assert_eq!(variable("NODE_CHANNEL_SERIALIZATION_MODE"), Some("json"));
    assert_eq!(variable("parentProcessID"), Some("15847"));
    assert_eq!(variable("ALLEX_RUNTIMEDIRECTORY"), Some("."));
    assert_eq!(variable("ALLEXMASTER_INCARNATION"), Some("journal/7"));
    assert_eq!(variable("NODE_PATH"), None);
    let descriptor: Value = serde_json::from_str(variable("ALLEX_SPAWN").unwrap()).unwrap();
    assert_eq!(descriptor["modulename"], "allex_timeservice");
    assert_eq!(descriptor["masterpid"], 15_847);
}

#[test]
fn the_child_program_is_found_upwards_and_inside_the_package_allex() {
    let installed = installation(&["allex_timeservice"]);
    let inner = installed.path().join("node_modules/allex");
    fs::create_dir_all(&inner).unwrap();
    with_child_program(&inner);
    let below = installed.path().join("masters/one");
    fs::create_dir_all(&below).unwrap();
    let line = line(&below, &order("allex_timeservice", json!({}))).unwrap();
    let program = inner.join("node_modules/allex_masterservice/users/spawn.js");
    assert_eq!(line.arguments, [program.to_str().unwrap()]);
}

#[test]
fn what_is_not_installed_is_named_with_where_it_was_looked_for() {
    let installed = installation(&["allex_timeservice"]);
    let folder = installed.path().join("node_modules").display().to_string();
    with_child_program(installed.path());
    let missing = line(installed.path(), &order("allex_ghostservice", json!({}))).unwrap_err();
    assert!(
        matches!(&missing, LaunchError::ModuleMissing { module, .. } if module == "allex_ghostservice")
    );
    assert!(missing.to_string().contains(&folder), "{missing}");
}

#[test]
fn a_need_can_name_no_program_but_an_installed_package() {
    let installed = installation(&["allex_timeservice"]);
    with_child_program(installed.path());
    for module in [
        "/tmp/evil.js",
        "../evil",
        ".",
        "a/b",
        "git+ssh://host/x",
        "--eval",
    ] {
        let refused = line(installed.path(), &order(module, json!({})));
        let is_refused = matches!(
            refused,
            Err(LaunchError::NotAPackage { .. } | LaunchError::NoLauncher { .. })
        );
        assert!(is_refused, "{module}: {refused:?}");
    }
}

#[test]
fn a_module_for_dotnet_is_its_built_library_and_opens_its_own_socket() {
    let installed = installation(&["Hello"]);
    let order = order("dotnet:Hello", json!({}));
    let unbuilt = line(installed.path(), &order);
    assert!(
        matches!(unbuilt, Err(LaunchError::NoLibrary { .. })),
        "{unbuilt:?}"
    );
    let build = installed
        .path()
        .join("node_modules/Hello/dotnet/bin/Release/netcoreapp3.1");
    fs::create_dir_all(&build).unwrap();
    let library = build.join("Hello.dll");
    fs::write(&library, "").unwrap();
    let line = line(installed.path(), &order).unwrap();
    assert_eq!(line.program, Path::new("AllexJSDotNet"));
    assert_eq!(line.arguments, [library.to_str().unwrap()]);
    assert_eq!(line.channel, ChannelKind::OwnSocket);
    let descriptor: Value = serde_json::from_str(&line.environment["ALLEX_SPAWN"]).unwrap();
    assert_eq!(descriptor["modulename"], "Hello");
}
