//! Needs become services.

use std::net::TcpListener;

use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::{Master, is_served};
use allexmaster_testkit::ports::http_get;
use allexmaster_testkit::processes::{Signal, lives, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::json;

#[test]
fn a_need_becomes_a_service_and_a_killed_child_comes_back() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    let first = master.wait_for("Clock", "running");
    let ports = [first.tcpport, first.httpport, first.wsport].map(Option::unwrap);
    assert_eq!(ports, [master.base, master.base + 12, master.base + 24]);
    let page = http_get(first.httpport.unwrap(), "/json");
    assert!(page.contains("\"instancename\":\"Clock\""), "{page}");

    signal(first.pid.unwrap(), Signal::KILL);
    let second = master.wait_for_other("Clock", first.pid.unwrap());
    assert_eq!(second.restarts, 1);
    // The freed ports cool down: the new child has others.
    assert_ne!(second.httpport, first.httpport);
    assert!(http_get(second.httpport.unwrap(), "/json").contains("Clock"));
}

#[test]
fn many_needs_are_served_at_once_each_with_ports_of_its_own() {
    let needs: Vec<_> = (0..10)
        .map(|number| need(&format!("Clock{number}"), "sample:clock", json!({})))
        .collect();
    let lan = Lan::start(&needs);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    let mut ports = Vec::new();
    for number in 0..10 {
        let service = master.wait_for(&format!("Clock{number}"), "running");
        ports.extend([service.tcpport, service.httpport, service.wsport].map(Option::unwrap));
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 30);
}

#[test]
fn an_exec_launcher_gets_its_placeholders_each_as_one_argument() {
    let lan = Lan::start(&[need(
        "My web; touch x",
        "exec:web",
        json!({ "title": "a b $HOME" }),
    )]);
    let launcher = json!({ "launchers": { "web": {
        "command": [
            "sh", "-c", "printf '%s\\n' \"$@\" > arguments; exec \"$0\" sample clock",
            crate::PROGRAM, "{instancename}", "{httpport}", "{propertyhash.title}",
        ],
        "ready": ["http"],
    }}});
    let mut master = Master::new(lan.port, launcher);
    master.start();
    let service = master.wait_for("My web; touch x", "running");
    assert_eq!(
        (service.tcpport, service.wsport),
        (None, None),
        "only what is served is told"
    );
    let port = service.httpport.unwrap();
    let arguments = std::fs::read_to_string(master.folder.path().join("arguments")).unwrap();
    assert_eq!(arguments, format!("My web; touch x\n{port}\na b $HOME\n"));
    assert!(!master.folder.path().join("x").exists());
}

#[test]
fn a_module_that_the_configuration_does_not_have_is_refused_with_its_reason() {
    let lan = Lan::start(&[
        need("Evil", "exec:rm", json!({})),
        need("Clock", "sample:clock", json!({})),
    ]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    let refused = master.wait_for("Evil", "failed");
    assert!(
        refused
            .reason
            .unwrap()
            .contains("no launcher for the module exec:rm")
    );
    master.wait_for("Clock", "running");
}

#[test]
fn a_port_that_somebody_else_holds_is_skipped() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    let _held = TcpListener::bind(("127.0.0.1", master.base)).unwrap();
    master.start();
    let service = master.wait_for("Clock", "running");
    assert_eq!(service.tcpport, Some(master.base + 1));
    assert_eq!(
        service.httpport,
        Some(master.base + 12),
        "the others stay the first"
    );
}

#[test]
fn a_full_range_is_reported_and_its_need_waits_without_holding_up_others() {
    let needs: Vec<_> = (0..4)
        .map(|number| need(&format!("Clock{number}"), "sample:clock", json!({})))
        .collect();
    let lan = Lan::start(&needs);
    let limits = json!({ "limits": { "portrangesize": 3 } });
    let mut master = Master::new(lan.port, limits);
    master.start();
    let waiting = wait_for("three to run and one to wait", || {
        let services = master.status()?.services;
        let running = services
            .iter()
            .filter(|one| one.state.as_str() == "running")
            .count();
        let waiting = services
            .into_iter()
            .find(|one| one.state.as_str() == "waiting")?;
        (running == 3).then_some(waiting)
    });
    let (first, last) = (master.base, master.base + 2);
    let expected = format!(
        "no free tcp port: 3 used; the range {first}-{last} (portrangestart.tcp, limits.portrangesize) has 3"
    );
    assert_eq!(waiting.reason.unwrap(), expected);
    // As soon as there is room, it runs.
    let victim = (0..4)
        .map(|number| format!("Clock{number}"))
        .find(|name| *name != waiting.instancename)
        .unwrap();
    master.ask("removeNeed", vec![json!(victim)]).unwrap();
    let pid = master.service(&victim).unwrap().pid.unwrap();
    signal(pid, Signal::KILL);
    master.wait_for(&waiting.instancename, "running");
}

#[test]
fn needs_without_a_port_are_not_bid_for_until_one_is_free() {
    let needs: Vec<_> = (0..60)
        .map(|number| need(&format!("Clock{number:02}"), "sample:clock", json!({})))
        .collect();
    let lan = Lan::start(&needs);
    let limits = json!({ "limits": { "portrangesize": 5, "portretry": 1, "portcooldown": 3_000 } });
    let mut master = Master::new(lan.port, limits);
    master.start();
    let served = |count| {
        wait_for("services on all ports", || {
            let services = master.status()?.services;
            let served: Vec<_> = services.iter().filter(|one| is_served(one)).collect();
            (served.len() == count).then(|| served.iter().map(|one| one.pid.unwrap()).collect())
        })
    };
    let pids: Vec<u32> = served(5);
    // All end at once: their ports cool down, and nobody uses them.
    for pid in pids {
        signal(pid, Signal::KILL);
    }
    wait_for("the word for ports that cool down", || {
        let services = master.status()?.services;
        let mut reasons = services.into_iter().filter_map(|one| one.reason);
        reasons.find(|reason| {
            reason.starts_with("no free tcp port: 5 free again in ") && reason.ends_with("has 5")
        })
    });
    let _: Vec<u32> = served(5);
    // Ten lives of services are all that was bid for, with fifty needs that waited all the time.
    let log = master.run(&["journal", "log", "--json"]);
    let log = String::from_utf8(log.stdout).unwrap();
    let bids = log.lines().filter(|line| line.contains("\"bid-answered\""));
    assert_eq!(bids.count(), 10, "{log}");
}

#[test]
fn a_prescribed_port_that_another_program_has_is_named_with_it_and_taken_when_that_has_left() {
    let held = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = held.local_addr().unwrap().port();
    let mut prescribing = need("Clock", "sample:clock", json!({}));
    prescribing["httpport"] = json!(port);
    let lan = Lan::start(&[prescribing]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    let own = std::process::id();
    let expected = format!("port {port}, which its need prescribes, is taken by process {own} (");
    wait_for("the holder's name", || {
        let reason = master.service("Clock")?.reason?;
        reason.starts_with(&expected).then_some(())
    });
    drop(held);
    let service = master.wait_for("Clock", "running");
    assert_eq!(service.httpport, Some(port));
}

#[test]
fn a_launcher_takes_ports_of_the_protocols_alone_that_it_uses() {
    let needs: Vec<_> = (0..3)
        .map(|number| need(&format!("Web{number}"), "exec:web", json!({})))
        .chain([need("Clock", "sample:clock", json!({}))])
        .collect();
    let lan = Lan::start(&needs);
    let mut master = Master::new(
        lan.port,
        json!({
            "limits": { "portrangesize": 4 },
            "launchers": { "web": { "command": [crate::PROGRAM, "sample", "clock"],
                "environment": { "MY_PORT": "{httpport}" } } },
        }),
    );
    // All tcp and ws ports but one each are somebody else's.
    let held = (0..3).flat_map(|index| [master.base + index, master.base + 8 + index]);
    let _held: Vec<_> = held
        .map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap())
        .collect();
    master.start();
    for number in 0..3 {
        let service = master.wait_for(&format!("Web{number}"), "running");
        assert_eq!((service.tcpport, service.wsport), (None, None));
    }
    let clock = master.wait_for("Clock", "running");
    assert_eq!(clock.tcpport, Some(master.base + 3));
}

#[test]
fn a_crash_loop_backs_off_with_its_reason_and_holds_up_nobody() {
    let lan = Lan::start(&[
        need(
            "Crash",
            "sample:clock",
            json!({ "exitafter": 1, "exitcode": 7 }),
        ),
        need("Clock", "sample:clock", json!({})),
    ]);
    let mut master = Master::new(lan.port, json!({ "restart": { "delay": 60_000 } }));
    master.start();
    master.wait_for("Clock", "running");
    let crashing = master.wait_for("Crash", "backing-off");
    assert!(crashing.reason.unwrap().contains("exited with code 7"));
    assert!(crashing.nexttry.is_some());
    // Somebody knows better, and does not want to wait.
    let before = crashing.restarts;
    master.ask("restart", vec![json!("Crash")]).unwrap();
    wait_for("another try", || {
        (master.service("Crash")?.restarts > before).then_some(())
    });
}

#[test]
fn a_need_that_is_withdrawn_while_its_child_starts_ends_in_a_clean_stop() {
    let lan = Lan::start(&[]);
    let launcher = json!({ "launchers": { "slow": { "command": ["sleep", "1000"] } } });
    let mut master = Master::new(lan.port, launcher);
    master.start();
    wait_for("the LanManager", || {
        (master.status()?.lanmanager.state == "connected").then_some(())
    });
    master
        .ask("addNeed", vec![need("Slow", "exec:slow", json!({}))])
        .unwrap();
    let starting = wait_for("its process", || master.service("Slow")?.pid);
    assert_eq!(master.service("Slow").unwrap().state.as_str(), "starting");
    master.ask("removeNeed", vec![json!("Slow")]).unwrap();
    wait_for("its end", || (!lives(starting)).then_some(()));
    let after = wait_for("its rest", || {
        let service = master.service("Slow")?;
        service.pid.is_none().then_some(service)
    });
    assert_eq!(after.state.as_str(), "waiting");
}

#[test]
fn a_child_that_ignores_the_request_to_end_is_killed_after_its_grace() {
    let lan = Lan::start(&[need("Deaf", "sample:clock", json!({ "deaf": true }))]);
    let mut master = Master::new(lan.port, json!({ "limits": { "stopgrace": 100 } }));
    master.start();
    let pid = master.wait_for("Deaf", "running").pid.unwrap();
    assert!(master.stop().success());
    assert!(!lives(pid));
}
