//! `logs`: what the services wrote.

use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::{Master, text};
use serde_json::{Value, json};

#[test]
fn the_output_of_services_is_shown_with_and_without_a_master() {
    let lan = Lan::start(&[
        need("Web", "exec:talker", json!({})),
        need("job-1", "exec:talker", json!({})),
    ]);
    let talker = "for i in 1 2 3; do echo line $i of {instancename}; done; \
                  exec python3 -m http.server {httpport}";
    let launchers = json!({ "launchers": { "talker": { "command": ["sh", "-c", talker] } } });
    let mut master = Master::new(lan.port, launchers);
    master.start();
    master.wait_for("Web", "running");
    master.wait_for("job-1", "running");
    let look = |arguments: &[&str]| {
        let shown = master.run(arguments);
        (shown.status.code(), text(&shown))
    };

    let (code, all) = look(&["logs"]);
    assert_eq!(code, Some(0), "{all}");
    assert!(all.contains("Web   | line 1 of Web\n"), "{all}");
    assert!(all.contains("job-1 | line 3 of job-1\n"), "{all}");
    let (_, last) = look(&["logs", "job-*", "-n", "100", "--no-prefix"]);
    assert!(last.starts_with("line 1 of job-1\n"), "{last}");
    let (_, documents) = look(&["logs", "Web", "--json"]);
    let first: Value = serde_json::from_str(documents.lines().next().unwrap()).unwrap();
    assert_eq!(
        first,
        json!({ "instancename": "Web", "text": "line 1 of Web" })
    );
    let (code, unknown) = look(&["logs", "web"]);
    assert_eq!(code, Some(7));
    assert!(unknown.contains("did you mean Web?"), "{unknown}");

    master.stop();
    let without = text(&master.run(&["logs", "Web"]));
    assert!(without.contains("line 1 of Web"), "{without}");
}
