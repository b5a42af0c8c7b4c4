//! The messages of the engine to the keeper: the assignments of sd_notify(3), and a few of our own.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

use super::name::DescriptorName;

/// Maximum length of a message in bytes, as systemd has it; a longer one is ignored.
pub(crate) const MAX_MESSAGE: usize = 4096;

/// A parsed message. As in sd_notify(3), unknown assignments are ignored: `MAINPID=`, `FDPOLL=0` (this
/// store never polls) and `BARRIER=1` (the descriptor that comes with it is closed once everything before
/// it was handled) need nothing more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// `READY=1`.
    pub(super) ready: bool,
    /// `RELOADING=1`: `READY=1` follows.
    pub(super) reloading: bool,
    /// `STATUS=`: one line for people.
    pub(super) status: Option<String>,
    /// `X_ALLEX_GRACE=`: how long children have to end where the keeper has to end them.
    pub(super) grace: Option<Duration>,
    /// `STOPPING=1`.
    pub(super) stopping: bool,
    /// `WATCHDOG=1`.
    pub(super) alive: bool,
    /// `WATCHDOG_USEC=`: how long the engine may be silent from now on.
    pub(super) watchdog: Option<Duration>,
    /// `FDSTORE=1`: store the descriptors of the message.
    pub(super) store: bool,
    /// `X_ALLEX_ACCEPT=1`: they are listening sockets for the keeper to accept on.
    pub(super) accept: bool,
    /// `FDSTOREREMOVE=1`.
    pub(super) remove: bool,
    /// `FDNAME=`; an invalid one counts as absent, as in systemd.
    pub(super) name: Option<DescriptorName>,
    /// `X_ALLEX_REAP=`: a child whose exit status is no longer needed.
    pub(super) reap: Option<Pid>,
    /// `X_ALLEX_ENGINE=`: the program to start as the next engine.
    pub(super) engine: Option<PathBuf>,
}

impl Message {
    /// Parses a message; total: what is not understood is left out.
    pub(super) fn read(text: &[u8]) -> Self {
        let mut message = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else {
                continue;
            };
            if let Some((key, value)) = line.split_once('=') {
                message.assign(key, value);
            }
        }
        message
    }

    fn assign(&mut self, key: &str, value: &str) {
        let yes = value == "1";
        match key {
            "READY" => self.ready |= yes,
            "RELOADING" => self.reloading |= yes,
            "STATUS" => self.status = Some(value.to_owned()),
            "X_ALLEX_GRACE" => self.grace = value.parse().ok().map(Duration::from_millis),
            "STOPPING" => self.stopping |= yes,
            "WATCHDOG" => self.alive |= yes,
            "WATCHDOG_USEC" => self.watchdog = value.parse().ok().map(Duration::from_micros),
            "FDSTORE" => self.store |= yes,
            "FDSTOREREMOVE" => self.remove |= yes,
            "FDNAME" => self.name = DescriptorName::new(value),
            "X_ALLEX_ACCEPT" => self.accept |= yes,
            "X_ALLEX_REAP" => self.reap = value.parse().ok().and_then(Pid::from_raw),
            "X_ALLEX_ENGINE" => self.engine = Some(PathBuf::from(value)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn assignments_are_read_and_others_left_out() {
        let text =
            b"FDSTORE=1\nFDNAME=lan\nFDPOLL=0\nSTATUS=all is well\nMAINPID=1\nX_ALLEX_ACCEPT=1\n";
        let expected = Message {
            store: true,
            accept: true,
            status: Some("all is well".to_owned()),
            name: DescriptorName::new("lan"),
            ..Message::default()
        };
        assert_eq!(Message::read(text), expected);
    }

    #[test]
    fn numbers_that_are_none_are_left_out() {
        for text in [
            "X_ALLEX_REAP=0",
            "X_ALLEX_REAP=no",
            "WATCHDOG_USEC=-1",
            "READY=yes",
            "READY",
        ] {
            assert_eq!(Message::read(text.as_bytes()), Message::default(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_a_message(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let message = Message::read(&bytes);
            prop_assert!(message.name.is_none_or(|name| !name.as_str().contains(':')));
        }
    }
}
