//! The printed unit under a real systemd, as process 1 of namespaces of its own.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use allexmaster::status::StatusDocument;
use allexmaster_keeper::os;
use allexmaster_testkit::lan::{Lan, needs};
use allexmaster_testkit::master::{Master, program, text};
use allexmaster_testkit::processes::{Signal, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::json;
use tempfile::TempDir;

const UNIT: &str = "allexmaster.service";

/// What process 1 is started by. It gets the units of the test alone: those of the machine would prepare
/// it as for a boot, and empty `/tmp`.
const SCRIPT: &str = r#"set -e
mount --make-rprivate /
for folder in /run /etc/systemd/system /usr/lib/systemd/system; do mount -t tmpfs tmpfs $folder; done
cp "$1"/* /etc/systemd/system
mount -t cgroup2 none /sys/fs/cgroup
exec env -i container=test PATH="$PATH" /usr/lib/systemd/systemd --system --unit=test.target --show-status=0
"#;

struct Systemd {
    unshare: Child,
    pid: u32,
    _units: TempDir,
}

impl Systemd {
    fn start(unit: &str) -> Self {
        let units = tempfile::tempdir().unwrap();
        fs::write(units.path().join(UNIT), unit).unwrap();
        for target in ["sysinit", "basic", "shutdown", "network-online", "test"] {
            let target = units.path().join(format!("{target}.target"));
            fs::write(target, "[Unit]\nDefaultDependencies=no\n").unwrap();
        }
        let unshare = Command::new("unshare")
            .args([
                "--fork",
                "--pid",
                "--mount",
                "--mount-proc",
                "--cgroup",
                "--uts",
                "--ipc",
            ])
            .args(["--kill-child", "sh", "-c", SCRIPT, "sh"])
            .arg(units.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = wait_for("process 1", || {
            let children = os::children_of(unshare.id()).unwrap();
            children.into_iter().next()
        });
        let systemd = Self {
            unshare,
            pid,
            _units: units,
        };
        wait_for("systemd", || {
            let target = ["is-active", "test.target"];
            systemd.systemctl(&target).status.success().then_some(())
        });
        systemd
    }

    /// Runs a program in its namespaces.
    fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["--pid", "--mount", "--cgroup", "--target"])
            .arg(self.pid.to_string())
            .arg(program)
            .args(arguments)
            .output()
            .unwrap()
    }

    fn systemctl(&self, arguments: &[&str]) -> Output {
        self.run(Path::new("systemctl"), arguments)
    }

    fn property(&self, name: &str) -> String {
        let shown = self.systemctl(&["show", "--value", "--property", name, UNIT]);
        String::from_utf8(shown.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // All of its namespace ends with process 1.
        signal(self.pid, Signal::KILL);
        let _ = self.unshare.wait();
    }
}

pub(crate) fn the_printed_unit_starts_reports_survives_a_killed_engine_and_stops() {
    let lan = Lan::start(&needs(2, "Clock", "sample:clock"));
    let master = Master::new(lan.port, json!({}));
    let unit = master.run(&["service", "print"]);
    assert!(unit.status.success(), "{}", text(&unit));
    let unit = String::from_utf8(unit.stdout).unwrap();
    let sockets = master.sockets.path().to_str().unwrap();
    let variable = format!("[Service]\nEnvironment=ALLEXMASTER_SOCKET_DIR={sockets}\n");
    let systemd = Systemd::start(&unit.replace("[Service]\n", &variable));
    let status = || {
        let folder = master.folder.path().to_str().unwrap();
        let arguments = ["--directory", folder, "--socket-dir", sockets];
        let told = systemd.run(
            &program(),
            &[&arguments[..], &["status", "--json"]].concat(),
        );
        serde_json::from_slice::<StatusDocument>(&told.stdout).ok()
    };
    // It returns when the master has said that it is ready.
    let started = systemd.systemctl(&["start", UNIT]);
    assert!(
        started.status.success(),
        "{}\n{}",
        text(&started),
        master.log()
    );
    wait_for("the status text", || {
        (systemd.property("StatusText") == "2 running").then_some(())
    });
    let before = status().unwrap();
    // The number is that of the namespace.
    let kill = format!("kill -9 {}", before.engine);
    systemd.run(Path::new("sh"), &["-c", &kill]);
    let after = wait_for("another engine", || {
        status().filter(|status| status.engine != before.engine)
    });
    let pids = |status: &StatusDocument| {
        let services = status.services.iter();
        services.map(|service| service.pid).collect::<Vec<_>>()
    };
    assert_eq!(pids(&after), pids(&before));
    assert_eq!(systemd.property("ActiveState"), "active");
    let stopped = systemd.systemctl(&["stop", UNIT]);
    assert!(stopped.status.success(), "{}", text(&stopped));
    assert_eq!(systemd.property("Result"), "success");
    assert_eq!(systemd.property("NRestarts"), "0");
    for pid in pids(&before).into_iter().flatten() {
        let kill = format!("kill -0 {pid}");
        let lives = systemd.run(Path::new("sh"), &["-c", &kill]);
        assert!(!lives.status.success(), "process {pid} lives");
    }
}
