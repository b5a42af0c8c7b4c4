//! A process of another user of this machine: this test program again, in a role.

use std::fs::{Permissions, set_permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use socket2::{Domain, SockAddr, Socket, Type};

/// The socket names that the process takes, with `:` between them.
const HOLD: &str = "ALLEXMASTER_ATTACK_HOLD";
pub(crate) const USER: u32 = 65_534;

/// A process of the other user; killed when this is dropped.
pub(crate) struct OtherUser(Child);

impl OtherUser {
    pub(crate) fn run(mut command: Command) -> Self {
        command.uid(USER).gid(USER).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Takes these names: it listens, accepts nobody, and has filled its own queues. Says so before this
    /// returns.
    pub(crate) fn holding(names: &[PathBuf]) -> Self {
        let names: Vec<_> = names.iter().map(|name| name.to_str().unwrap()).collect();
        let mut command = Command::new("/proc/self/exe");
        command.env(HOLD, names.join(":")).stdout(Stdio::piped());
        let mut started = Self::run(command);
        let mut ready = [0];
        let output = started.0.stdout.as_mut().unwrap();
        output.read_exact(&mut ready).unwrap();
        started
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for OtherUser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder as `/tmp` is: everybody may create names in it.
pub(crate) fn share(folder: &Path) {
    set_permissions(folder, Permissions::from_mode(0o1777)).unwrap();
}

/// Whether this process is one of another user: then it has played its role.
pub(crate) fn plays() -> bool {
    let Ok(names) = std::env::var(HOLD) else {
        return false;
    };
    let mut kept = Vec::new();
    for name in names.split(':') {
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let address = SockAddr::unix(name).unwrap();
        listener.bind(&address).unwrap();
        set_permissions(name, Permissions::from_mode(0o777)).unwrap();
        listener.listen(0).unwrap();
        kept.push(listener);
        for _ in 0..3 {
            let waiting = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            waiting.set_nonblocking(true).unwrap();
            // The queue is full when this is refused.
            let _ = waiting.connect(&address);
            kept.push(waiting);
        }
    }
    std::io::Write::write_all(&mut std::io::stdout(), b"!").unwrap();
    std::io::Write::flush(&mut std::io::stdout()).unwrap();
    loop {
        std::thread::park();
    }
}
