//! A program that knows nothing of AllexJS, as a service.

use std::fs;

use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::Master;
use allexmaster_testkit::ports::http_get;
use allexmaster_testkit::processes::{Signal, signal};
use serde_json::json;

pub(crate) fn a_real_program_is_approved_serves_a_file_and_comes_back_under_its_name() {
    let lan = Lan::start(&[need("Web", "exec:web", json!({}))]);
    let launcher = json!({ "launchers": { "web": {
        "command": ["python3", "-m", "http.server", "{httpport}"],
        "cwd": "site",
        "ready": ["http"],
    }}});
    let mut master = Master::new(lan.port, launcher);
    fs::create_dir(master.folder.path().join("site")).unwrap();
    fs::write(
        master.folder.path().join("site/hello.txt"),
        "hello from a file",
    )
    .unwrap();
    master.start();
    let first = master.wait_for("Web", "running");
    let answer = http_get(first.httpport.unwrap(), "/hello.txt");
    assert!(
        answer.contains("200 OK") && answer.ends_with("hello from a file"),
        "{answer}"
    );

    signal(first.pid.unwrap(), Signal::KILL);
    let second = master.wait_for_other("Web", first.pid.unwrap());
    assert!(http_get(second.httpport.unwrap(), "/hello.txt").ends_with("hello from a file"));
}
