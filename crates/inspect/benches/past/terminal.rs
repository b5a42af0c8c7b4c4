//! The time machine as a person has it: started in a terminal, typed at, and looked at.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use allexmaster_inspect::command::{Replay, Setting};
use allexmaster_inspect::screen::Screen;
use allexmaster_inspect::time::Zone;
use clap::Parser;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Tells this program to be the time machine over the journal that it names.
pub(crate) const EXPLORED: &str = "ALLEXMASTER_BENCH_EXPLORED";

const ROWS: NonZeroU16 = NonZeroU16::new(40).unwrap();
const COLUMNS: NonZeroU16 = NonZeroU16::new(120).unwrap();

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    replay: Replay,
}

/// Is the time machine, until it is left.
pub(crate) fn explore(journal: &str) {
    let line = Line::parse_from(["replay", "--tui", "--journal", journal]);
    let mut setting = Setting {
        folder: Path::new("."),
        master: &|| None,
        compact: &|_| None,
        screen: Screen {
            output: &mut std::io::stdout(),
            colour: true,
            width: None,
            zone: Zone::utc(),
            progress: false,
        },
    };
    line.replay.run(&mut setting).unwrap();
}

/// A terminal in which the time machine runs.
pub(crate) struct Terminal {
    process: Child,
    pseudo: File,
    screen: vt100::Parser,
}

impl Terminal {
    pub(crate) fn start(journal: &Path) -> Self {
        let pseudo = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&pseudo).unwrap();
        unlockpt(&pseudo).unwrap();
        let size = Winsize {
            ws_row: ROWS.get(),
            ws_col: COLUMNS.get(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&pseudo, size).unwrap();
        let name = ptsname(&pseudo, Vec::new()).unwrap();
        let open = || {
            let name = name.to_str().unwrap();
            File::options().read(true).write(true).open(name).unwrap()
        };
        // In a session of its own it does not find the terminal of whoever measures.
        let process = Command::new("setsid")
            .arg(std::env::current_exe().unwrap())
            .env(EXPLORED, journal)
            .stdin(open())
            .stdout(open())
            .spawn()
            .unwrap();
        Self {
            process,
            pseudo: File::from(pseudo),
            screen: vt100::Parser::new(ROWS, COLUMNS, 0),
        }
    }

    /// Types, and gives the milliseconds until the screen is as it is awaited.
    pub(crate) fn type_until(&mut self, keys: &str, awaited: impl Fn(&str) -> bool) -> f64 {
        let began = Instant::now();
        self.pseudo.write_all(keys.as_bytes()).unwrap();
        self.wait_until(awaited);
        began.elapsed().as_secs_f64() * 1000.0
    }

    pub(crate) fn wait_until(&mut self, awaited: impl Fn(&str) -> bool) {
        let mut bytes = [0; 65_536];
        while !awaited(&self.screen.screen().contents()) {
            let count = self.pseudo.read(&mut bytes).unwrap();
            self.screen.process(&bytes[..count]);
        }
    }

    /// The most memory that it ever had, in kB.
    pub(crate) fn peak_kilobytes(&self) -> u64 {
        crate::peak_kilobytes(
            &fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap(),
        )
    }

    /// Leaves it.
    pub(crate) fn leave(mut self) {
        self.pseudo.write_all(b"q").unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}
