//! A LanManager: in this process, or as the built program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use allexmaster_lanmanager::{Door, LanManager, Options, Ports, Running};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::wait::wait_for;

/// The folder of a LanManager's files inside its folder.
const FILES: &str = ".allexlanmanager";
/// The flags of the program for its ports, in the order of [`command`].
const PORT_FLAGS: [&str; 4] = [
    "--ws-port",
    "--tcp-port",
    "--javascript-ws-port",
    "--signalr-port",
];

/// A need as the LanManager's file has it.
pub fn need(instance: &str, module: &str, properties: Value) -> Value {
    json!({ "instancename": instance, "modulename": module, "propertyhash": properties })
}

/// So many needs of one module, named with numbers from 0 on.
pub fn needs(count: usize, name: &str, module: &str) -> Vec<Value> {
    let names = (0..count).map(|number| format!("{name}{number}"));
    names.map(|name| need(&name, module, json!({}))).collect()
}

/// Writes one of a LanManager's files.
pub fn write_file(folder: &Path, name: &str, content: &str) {
    fs::create_dir_all(folder.join(FILES)).unwrap();
    fs::write(folder.join(FILES).join(name), content).unwrap();
}

pub fn read_file(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(FILES).join(name)).unwrap()
}

/// The program `allexlanmanager` for a folder, with a port for each door: WebSocket, TCP,
/// JavaScript's WebSocket, SignalR. A port 0 is any free one.
pub fn command(program: &Path, folder: &Path, ports: [u16; 4]) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--bind", "127.0.0.1", "--directory"])
        .arg(folder);
    for (flag, port) in PORT_FLAGS.into_iter().zip(ports) {
        command.arg(flag).arg(port.to_string());
    }
    command.stdin(Stdio::null());
    command
}

/// A LanManager in this process.
pub struct Lan {
    runtime: Runtime,
    running: Option<Running>,
    folder: PathBuf,
    /// The port of its WebSocket.
    pub port: u16,
    _own: Option<TempDir>,
}

impl Lan {
    /// Starts one in a folder of its own.
    pub fn start(needs: &[Value]) -> Self {
        let own = tempfile::tempdir().unwrap();
        let mut lan = Self::start_in(own.path(), needs);
        lan._own = Some(own);
        lan
    }

    pub fn start_in(folder: &Path, needs: &[Value]) -> Self {
        write_file(folder, "needs", &json!(needs).to_string());
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let runtime = threads.worker_threads(1).enable_all().build().unwrap();
        let mut lan = Self {
            runtime,
            running: None,
            folder: folder.to_owned(),
            port: 0,
            _own: None,
        };
        lan.start_again();
        lan
    }

    /// Starts it after [`Self::stop`], on the same port as before.
    pub fn start_again(&mut self) {
        let options = Options {
            ports: Ports {
                web_socket: Some(self.port),
                ..Ports::ANY
            },
            ..Options::embedded(&self.folder)
        };
        let running = wait_for("the LanManager's port", || {
            let started = self.runtime.block_on(LanManager::start(options.clone()));
            started.ok()
        });
        self.running = Some(running);
        self.port = self.port_of(Door::WebSocket);
    }

    pub fn stop(&mut self) {
        let running = self.running.take().unwrap();
        self.runtime.block_on(running.shutdown()).unwrap();
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn port_of(&self, door: Door) -> u16 {
        let running = self.running.as_ref().unwrap();
        running.address(door).unwrap().port()
    }
}
