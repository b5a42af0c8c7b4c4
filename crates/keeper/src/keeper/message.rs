//! What the engine tells the keeper: the assignments of sd_notify(3), and a few of our own.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

use super::name::Name;

/// The most bytes of a message; a longer one is ignored (systemd's limit, too).
pub(crate) const MESSAGE_MOST: usize = 4096;

/// A message, with what this keeper understands of it. As sd_notify(3) has it, other assignments
/// are ignored: `STATUS=`, `MAINPID=`, `FDPOLL=0` (this store never polls) and `BARRIER=1` (the
/// descriptor that comes with it is closed when all before it was handled) need nothing more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// `READY=1`.
    pub(super) ready: bool,
    /// `STOPPING=1`.
    pub(super) stopping: bool,
    /// `WATCHDOG=1`.
    pub(super) alive: bool,
    /// `WATCHDOG_USEC=`: how long it may be silent from now on.
    pub(super) watchdog: Option<Duration>,
    /// `FDSTORE=1`: the descriptors of the message are to be kept.
    pub(super) store: bool,
    /// `X_ALLEX_ACCEPT=1`: they are listening sockets, on which the keeper accepts.
    pub(super) accept: bool,
    /// `FDSTOREREMOVE=1`.
    pub(super) remove: bool,
    /// `FDNAME=`; one that is no name counts as absent, as with systemd.
    pub(super) name: Option<Name>,
    /// `X_ALLEX_REAP=`: a child whose exit status is no longer needed.
    pub(super) reap: Option<Pid>,
    /// `X_ALLEX_ENGINE=`: the program to start as the next engine.
    pub(super) engine: Option<PathBuf>,
}

impl Message {
    /// Reads a message. There is none that is wrong: what is not understood is left out.
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
            "STOPPING" => self.stopping |= yes,
            "WATCHDOG" => self.alive |= yes,
            "WATCHDOG_USEC" => self.watchdog = value.parse().ok().map(Duration::from_micros),
            "FDSTORE" => self.store |= yes,
            "FDSTOREREMOVE" => self.remove |= yes,
            "FDNAME" => self.name = Name::new(value),
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
            name: Name::new("lan"),
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
