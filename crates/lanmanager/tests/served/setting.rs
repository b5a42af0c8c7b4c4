//! A LanManager in a folder of its own, on any free ports.

use std::path::Path;
use std::time::Duration;

use allexmaster_lanmanager::{Door, LanManager, Options, Running};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::client::Client;

pub(crate) struct Setting {
    pub(crate) folder: TempDir,
    pub(crate) running: Running,
}

/// No time for a reconnect: what is gone is needed again at once.
pub(crate) const AT_ONCE: Duration = Duration::ZERO;

/// So much time for a reconnect that no test sees its end.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(3_600);

impl Setting {
    pub(crate) async fn with_needs(needs: Value) -> Self {
        Self::with(needs, FOR_EVER).await
    }

    pub(crate) async fn with(needs: Value, grace: Duration) -> Self {
        Self::with_files(&[("needs", needs)], grace).await
    }

    pub(crate) async fn with_files(files: &[(&str, Value)], grace: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            write(folder.path(), name, content);
        }
        let running = start(folder.path(), grace).await;
        Self { folder, running }
    }

    /// Ends the LanManager and starts it again in the same folder.
    pub(crate) async fn restart(self, grace: Duration) -> Self {
        self.running.shutdown().await.unwrap();
        let running = start(self.folder.path(), grace).await;
        Self {
            folder: self.folder,
            running,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::web_socket(self.running.address(Door::WebSocket).unwrap()).await
    }

    pub(crate) async fn client_at(&self, door: Door) -> Client {
        let address = self.running.address(door).unwrap();
        match door {
            Door::WebSocket | Door::WebSocketOfJavaScript => Client::web_socket(address).await,
            Door::SignalR => Client::signalr(address).await,
            Door::Tcp => Client::tcp(address).await,
        }
    }

    pub(crate) fn file(&self, name: &str) -> Value {
        let path = self.folder.path().join(".allexlanmanager").join(name);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

async fn start(folder: &Path, grace: Duration) -> Running {
    let options = Options {
        reconnect_grace: Some(grace),
        ..Options::embedded(folder)
    };
    LanManager::start(options).await.unwrap()
}

pub(crate) fn write(folder: &Path, name: &str, content: &Value) {
    let folder = folder.join(".allexlanmanager");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), content.to_string()).unwrap();
}

/// One need, `Time`.
pub(crate) fn time() -> Value {
    json!([{"instancename": "Time", "modulename": "allex_timeservice", "propertyhash": {}}])
}

/// A port that answers as long as the listener lives.
pub(crate) async fn live_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port that nobody listens on.
pub(crate) async fn dead_port() -> u16 {
    live_port().await.1
}

/// A master that has opened its sessions.
pub(crate) struct Master {
    pub(crate) client: Client,
    pub(crate) root: String,
    pub(crate) needs: String,
    pub(crate) services: String,
}

impl Master {
    pub(crate) async fn connect(setting: &Setting) -> Self {
        Self::over(setting.client().await).await
    }

    pub(crate) async fn over(mut client: Client) -> Self {
        let root = client.introduce().await;
        let needs = client.sub_connect(&root, "needs").await;
        let services = client.sub_connect(&root, "services").await;
        Self {
            client,
            root,
            needs,
            services,
        }
    }

    /// Opens a session on a need and bids; gives the session and the answer.
    pub(crate) async fn bid(&mut self, name: &str) -> (String, Value) {
        let session = self.client.sub_connect(&self.needs, name).await;
        let offering = json!([{"ipaddress": "127.0.0.1"}]);
        let answer = self.client.ask(&session, "!", "bid", offering).await;
        (session, answer)
    }

    pub(crate) async fn respond(&mut self, session: &str, ticket: &Value, port: u16) -> Value {
        let descriptor = json!({"ipaddress": "127.0.0.1", "pid": 4_711, "httpport": port});
        let arguments = json!([ticket, descriptor]);
        self.client.ask(session, "!", "respond", arguments).await
    }

    /// Bids, responds, and is accepted.
    pub(crate) async fn satisfy(&mut self, name: &str, port: u16) {
        let (session, bid) = self.bid(name).await;
        let answer = self.respond(&session, &bid["bid"], port).await;
        assert_eq!(answer, json!({"a": bid["bid"]}));
    }

    pub(crate) async fn need_names(&mut self) -> Vec<String> {
        names(&self.client.rows(&self.needs).await)
    }

    pub(crate) async fn service_names(&mut self) -> Vec<String> {
        names(&self.client.rows(&self.services).await)
    }
}

pub(crate) fn names(rows: &[Value]) -> Vec<String> {
    let names = rows.iter().map(|row| row["instancename"].as_str().unwrap());
    names.map(str::to_owned).collect()
}
