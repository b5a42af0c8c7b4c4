//! The recorded journals, and what the commands say of them.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use allexmaster_inspect::command::{Answer, Journal, Replay, Setting};
use allexmaster_inspect::error::InspectError;
use allexmaster_inspect::screen::Screen;
use allexmaster_inspect::time::Zone;
use clap::Parser;

/// Where the recorded journals are.
pub(crate) fn journals() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals")
}

/// A recorded journal.
pub(crate) fn recorded(name: &str) -> PathBuf {
    journals().join(format!("{name}.ndjson"))
}

/// The command line, as the program has it.
#[derive(Debug, Parser)]
enum Line {
    Journal(Journal),
    Replay(Replay),
}

/// What a command line says, and how it ended.
pub(crate) fn said(
    journal: &Path,
    width: Option<usize>,
    words: &[&str],
) -> (String, Result<Answer, InspectError>) {
    let mut line = vec!["allexmaster".as_ref()];
    line.extend(words.iter().map(std::ffi::OsStr::new));
    line.extend(["--journal".as_ref(), journal.as_os_str()]);
    let line = Line::try_parse_from(line).unwrap();
    let mut output = Vec::new();
    let mut setting = Setting {
        folder: Path::new("."),
        master: &|| None,
        compact: &|_| None,
        screen: Screen {
            output: &mut output,
            colour: false,
            width,
            zone: Zone::utc(),
            progress: false,
        },
    };
    let answer = match line {
        Line::Journal(command) => command.run(&mut setting),
        Line::Replay(command) => command.run(&mut setting),
    };
    (String::from_utf8(output).unwrap(), answer)
}

/// Compares with the accepted snapshot `cli__journal_<name>.snap`.
#[track_caller]
pub(crate) fn assert_snapshot(name: &str, text: impl Display) {
    let mut settings = insta::Settings::clone_current();
    // Where the repository is, is no matter of the output.
    settings.add_filter(r"/\S*/tests/journals/", "tests/journals/");
    let _bound = settings.bind_to_scope();
    allexmaster_testkit::assert_snapshot(&format!("cli__journal_{name}"), &text.to_string());
}
