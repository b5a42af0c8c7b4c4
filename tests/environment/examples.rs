//! Every folder of `examples`, as its README says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::Master;
use allexmaster_testkit::ports::{http_get, reserve};
use allexmaster_testkit::processes::{Signal, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::{Value, json};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if !target.exists() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A master in a copy of the folder, with its launchers, and ports of the test.
fn master(name: &str, lan: &Lan) -> Master {
    let config = fs::read_to_string(example(name).join("allexmasterconfig.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let launchers = config.get("launchers").cloned().unwrap_or(json!({}));
    let mut master = Master::new(lan.port, json!({ "launchers": launchers }));
    copy(&example(name), master.folder.path()).unwrap();
    master.start();
    master
}

fn answer(master: &Master, instance: &str) -> String {
    let service = master.wait_for(instance, "running");
    http_get(service.httpport.unwrap(), "/")
}

pub(crate) fn python() {
    let lan = Lan::start(&[
        need("hello-1", "exec:hello", json!({ "greeting": "hello" })),
        need("hello-2", "exec:hello", json!({ "greeting": "hola" })),
    ]);
    let master = master("python", &lan);
    assert!(answer(&master, "hello-1").ends_with("hello\n"));
    assert!(answer(&master, "hello-2").ends_with("hola\n"));
}

pub(crate) fn node() {
    let lan = Lan::start(&[need("lobby", "exec:chat", json!({}))]);
    let mut master = master("node", &lan);
    assert!(answer(&master, "lobby").ends_with("lobby got GET /\n"));
    assert!(master.stop().success());
}

pub(crate) fn nginx() {
    let ports = reserve(3);
    let [first, second, front] = [0, 1, 2].map(|port| ports.first + port);
    let page = |name: &str, port: u16| {
        let mut need = need(name, "exec:page", json!({}));
        need["httpport"] = json!(port);
        need
    };
    let lan = Lan::start(&[page("page-1", first), page("page-2", second)]);
    let master = master("nginx", &lan);
    let config = master.folder.path().join("nginx.conf");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("16001", &first.to_string());
    let text = text.replace("16002", &second.to_string());
    let text = text.replace("8080", &front.to_string());
    fs::write(&config, text).unwrap();
    for instance in ["page-1", "page-2"] {
        assert!(answer(&master, instance).ends_with("served by one of two\n"));
    }
    let mut nginx = Command::new("nginx")
        .arg("-p")
        .arg(master.folder.path())
        .args(["-c", "nginx.conf"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("nginx", || {
        std::net::TcpStream::connect(("127.0.0.1", front)).ok()
    });
    let page = master.service("page-1").unwrap();
    signal(page.pid.unwrap(), Signal::KILL);
    for _ in 0..10 {
        assert!(http_get(front, "/").ends_with("served by one of two\n"));
    }
    let again = master.wait_for_other("page-1", page.pid.unwrap());
    assert_eq!(again.httpport, Some(first));
    // Killed, it would leave its worker behind.
    signal(nginx.id(), Signal::TERM);
    nginx.wait().unwrap();
}

pub(crate) fn three_machines() {
    let needs = example("three-machines/lan/.allexlanmanager/needs");
    let needs: Vec<Value> = serde_json::from_str(&fs::read_to_string(needs).unwrap()).unwrap();
    let lan = Lan::start(&needs);
    let mut masters = ["a", "b", "c"].map(|name| master(&format!("three-machines/{name}"), &lan));
    let running = |masters: &[Master]| {
        let statuses = masters.iter().filter_map(Master::status);
        let services = statuses.flat_map(|status| status.services);
        let mut names: Vec<String> = services
            .filter(|service| service.state.as_str() == "running")
            .map(|service| service.instancename)
            .collect();
        names.sort();
        names
    };
    let all = ["backup", "clock-1", "clock-2", "clock-3"];
    wait_for("all of them", || (running(&masters) == all).then_some(()));
    assert_eq!(
        masters[2].service("backup").unwrap().state.as_str(),
        "running"
    );
    assert!(masters[0].stop().success());
    wait_for("the others to take over", || {
        (running(&masters[1..]) == all).then_some(())
    });
}
