//! The engine of the tests: connects to its test and does what that says, a line at a time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use allexmaster_keeper::link::{FromKeeper, Inheritance, KeeperLink, LinkError, Messages};

/// The socket of the test.
pub(crate) const TEST_VARIABLE: &str = "ALLEXMASTER_TEST_OF_KEEPER";

struct Engine {
    link: KeeperLink,
    messages: Messages,
    kept: BTreeMap<String, Vec<OwnedFd>>,
}

/// Runs the engine until its test closes the connection. What `more` makes answers the commands that
/// this engine does not know.
pub(crate) fn run<More: AsyncFnMut(&[&str]) -> String>(
    more: impl FnOnce(KeeperLink) -> More,
) -> ExitCode {
    let inheritance = Inheritance::take().unwrap().expect("a keeper started it");
    let test = std::env::var_os(TEST_VARIABLE).expect("a test started its keeper");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (link, messages, inherited) = KeeperLink::start(inheritance).unwrap();
        let mut more = more(link.clone());
        let mut engine = Engine {
            link,
            messages,
            kept: BTreeMap::new(),
        };
        for (name, descriptor) in inherited {
            engine.kept.entry(name).or_default().push(descriptor);
        }
        let mut control = UnixStream::connect(test).unwrap();
        let lines = BufReader::new(control.try_clone().unwrap()).lines();
        writeln!(control, "{} {}", std::process::id(), engine.link.keeper()).unwrap();
        for line in lines {
            let words: Vec<String> = line.unwrap().split(' ').map(str::to_owned).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let answer = match engine.obey(&words).await {
                Some(answer) => answer,
                None => more(&words).await,
            };
            writeln!(control, "{answer}").unwrap();
            // What waits for the keeper is sent by a task.
            tokio::task::yield_now().await;
        }
    });
    ExitCode::SUCCESS
}

impl Engine {
    /// `None`: it does not know the command.
    async fn obey(&mut self, words: &[&str]) -> Option<String> {
        let done = match *words {
            ["ready"] => self.link.ready(),
            ["stopping"] => self.link.stopping(),
            ["reloading"] => self.link.reloading(),
            ["status", text] => self.link.status(text),
            ["alive"] => self.link.alive(),
            ["keep-alive"] => {
                tokio::spawn(
                    self.link
                        .clone()
                        .keep_alive(async || tokio::task::yield_now().await),
                );
                Ok(())
            }
            ["watchdog", micros] => {
                let time = Duration::from_micros(micros.parse().unwrap());
                self.link.set_watchdog(time)
            }
            ["store", name, count, text] => self.store(name, count.parse().unwrap(), text),
            ["listen", name, path] => {
                let listener = UnixListener::bind(path).unwrap();
                self.link.store_listener(name, listener.as_fd())
            }
            ["remove", name] => self.link.remove(name),
            ["reap", pid] => self.link.reap(pid.parse().unwrap()),
            ["program", path] => self.link.next_engine(Path::new(path)),
            ["names"] => return Some(self.names()),
            ["read", name] => return Some(self.read(name)),
            ["hear", name] => return Some(self.hear(name)),
            ["next"] => return Some(self.next().await),
            ["variables"] => return Some(variables()),
            ["wait"] => {
                // Time for the task that sends what waits.
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(())
            }
            ["exit", code] => std::process::exit(code.parse().unwrap()),
            _ => return None,
        };
        Some(done.map_or_else(|error| error.to_string(), |()| "done".to_owned()))
    }

    /// Stores the same file so many times.
    fn store(&self, name: &str, count: usize, text: &str) -> Result<(), LinkError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let descriptors: Vec<BorrowedFd<'_>> = std::iter::repeat_n(file.as_fd(), count).collect();
        self.link.store(name, &descriptors)
    }

    fn names(&self) -> String {
        self.kept
            .iter()
            .fold(String::new(), |mut text, (name, of)| {
                write!(text, "{name}={} ", of.len()).unwrap();
                text
            })
    }

    /// The text of a stored file.
    fn read(&self, name: &str) -> String {
        let mut file = File::from(self.kept[name][0].try_clone().unwrap());
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    /// A line that comes over a stored connection; it is answered with the same line.
    fn hear(&self, name: &str) -> String {
        let stream = UnixStream::from(self.kept[name][0].try_clone().unwrap());
        stream.set_nonblocking(false).unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        (&stream).write_all(line.as_bytes()).unwrap();
        line.trim().to_owned()
    }

    async fn next(&mut self) -> String {
        match self.messages.next().await {
            FromKeeper::Accepted { name, connection } => {
                self.kept.entry(name.clone()).or_default().push(connection);
                format!("accepted {name}")
            }
            FromKeeper::Exited(pid) => format!("exited {pid}"),
            FromKeeper::Signal(signal) => format!("signal {signal:?}"),
            FromKeeper::Reload => "reload".to_owned(),
            FromKeeper::Gone => "gone".to_owned(),
        }
    }
}

/// What a child would inherit of the variables that are between keeper and engine.
fn variables() -> String {
    let all = std::env::vars().map(|(name, _)| name);
    let found: Vec<String> = all
        .filter(|name| {
            [
                "ALLEXMASTER_ROLE",
                "ALLEXMASTER_ENGINE",
                "NOTIFY_SOCKET",
                "WATCHDOG_USEC",
            ]
            .contains(&name.as_str())
                || name.starts_with("LISTEN_")
        })
        .collect();
    format!("{found:?}")
}
