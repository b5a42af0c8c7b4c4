//! A test program whose tests may be unable to run on this machine: then they are counted as
//! ignored, with the reason beside their name. libtest decides that when it is compiled, so these
//! programs are targets with `harness = false`.
//!
//! Where [`MUST_RUN`] is set, a test that cannot run fails.

use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Trial};

use crate::Finding;
use crate::disk::SmallDisk;

/// The variable that turns every test that cannot run into one that fails.
pub const MUST_RUN: &str = "ALLEXMASTER_ALL_MUST_RUN";

/// What a test needs of the machine.
#[derive(Clone, Copy, Debug)]
pub enum Requirement {
    Nothing,
    /// A program in the `PATH`.
    Program(&'static str),
    /// The right to mount a file system.
    Mount,
    /// The right to run a program as another user.
    OtherUser,
    /// The right to start a systemd in namespaces of its own.
    Systemd,
}

impl Requirement {
    fn check(self) -> Finding<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Program(name) => {
                let mut command = Command::new(name);
                command
                    .arg("--version")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                let ended = command.status();
                ended.map(drop).map_err(|_| format!("{name} is missing"))
            }
            Self::OtherUser => rustix::process::geteuid()
                .is_root()
                .then_some(())
                .ok_or_else(|| "only root can be a second user".to_owned()),
            Self::Mount => {
                let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
                SmallDisk::mount(folder.path(), 1).map(drop)
            }
            Self::Systemd => {
                let mut command = Command::new("unshare");
                command
                    .args(["--fork", "--pid", "--mount", "--mount-proc", "--cgroup"])
                    .args(["sh", "-c"])
                    .arg("mount -t cgroup2 none /sys/fs/cgroup && test -x /usr/lib/systemd/systemd")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                let runs = command.status().is_ok_and(|status| status.success());
                runs.then_some(())
                    .ok_or_else(|| "no systemd can be started in namespaces".to_owned())
            }
        }
    }
}

/// One test of such a program.
pub fn test(name: &str, requires: Requirement, body: fn()) -> Trial {
    let run = move || {
        body();
        Ok(())
    };
    match requires.check() {
        Ok(()) => Trial::test(name, run),
        Err(why) if std::env::var_os(MUST_RUN).is_some() => {
            Trial::test(name, move || Err(why.into()))
        }
        Err(why) => Trial::test(name, run)
            .with_kind(format!("NOT RUN: {why}"))
            .with_ignored_flag(true),
    }
}

/// Runs the tests that the command line asks for.
pub fn run(tests: Vec<Trial>) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// The tests of a program by their paths, all without requirements.
#[macro_export]
macro_rules! tests {
    ($($path:path),* $(,)?) => {
        vec![$($crate::harness::test(
            stringify!($path),
            $crate::harness::Requirement::Nothing,
            $path,
        )),*]
    };
}
