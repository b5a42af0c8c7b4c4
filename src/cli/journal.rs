//! `allexmaster journal` and `allexmaster replay`: what the inspection crate needs of the program.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use allexmaster_inspect::command::{Answer, Journal, Replay, Setting};
use allexmaster_inspect::error::InspectError;
use allexmaster_inspect::screen::Screen;
use allexmaster_inspect::source::{Ask, Page, PageWish};
use allexmaster_inspect::time::Zone;
use allexmaster_journal::{Compaction, CompactionRequest};
use allexmaster_protocol::vocabulary::method;
use serde_json::json;

use super::{Common, complain};
use crate::client::{self, AskError};
use crate::exit_code;
use crate::sessions::Compacted;

/// A journal by any means.
pub(super) fn journal(common: &Common, command: &Journal) -> ExitCode {
    run(common, |setting| command.run(setting))
}

/// A state of the past.
pub(super) fn replay(common: &Common, command: &Replay) -> ExitCode {
    run(common, |setting| command.run(setting))
}

fn run(
    common: &Common,
    command: impl FnOnce(&mut Setting<'_>) -> Result<Answer, InspectError>,
) -> ExitCode {
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let mut output = io::BufWriter::new(stdout.lock());
    let mut setting = Setting {
        folder: &common.directory,
        master: &|| master(common),
        compact: &|wish| compact(common, wish),
        screen: Screen {
            output: &mut output,
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
            width: terminal.then(width),
            zone: Zone::system(),
            progress: io::stderr().is_terminal(),
        },
    };
    let answer = command(&mut setting);
    let flushed = io::Write::flush(&mut output).map_err(InspectError::from);
    match answer.and_then(|answer| flushed.map(|()| answer)) {
        Ok(Answer::Done) => ExitCode::from(exit_code::OK),
        Ok(Answer::Found) => ExitCode::from(exit_code::JOURNAL),
        // A reader that has gone (`| head`) is no failure.
        Err(InspectError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(exit_code::OK)
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(code_of(&error))
        }
    }
}

const fn code_of(error: &InspectError) -> u8 {
    match error {
        InspectError::Journal(_)
        | InspectError::Export { .. }
        | InspectError::Damaged(_)
        | InspectError::InHole { .. }
        | InspectError::Untold { .. }
        | InspectError::NotCompacted(_) => exit_code::JOURNAL,
        InspectError::Master(_) => exit_code::NOT_RUNNING,
        InspectError::NoMoment { .. } => exit_code::USAGE,
        InspectError::Io { .. }
        | InspectError::Output(_)
        | InspectError::NoSuchEvent { .. }
        | InspectError::Compacted { .. }
        | InspectError::UnknownTarget { .. }
        | InspectError::Refused(_) => exit_code::FAILURE,
    }
}

/// A way to ask the master of the folder, if one runs there.
fn master(common: &Common) -> Option<Box<Ask>> {
    let (folder, sockets) = (common.directory.clone(), common.socket_dir.clone());
    let ask = move |wish: PageWish| -> Result<Page, AskError> {
        let argument = json!(wish);
        client::ask(&folder, &sockets, method::JOURNAL, vec![argument]).and_then(client::document)
    };
    // Whoever does not answer is not asked again: the files are read.
    let who = PageWish {
        from: u64::MAX,
        most: 1,
        base: None,
        state: None,
    };
    ask(who).ok()?;
    Some(Box::new(move |wish| {
        ask(wish).map_err(|error| error.to_string())
    }))
}

/// Has the master of the folder compact its journal, if one runs there.
fn compact(common: &Common, wish: CompactionRequest) -> Option<Result<Compaction, String>> {
    let (folder, sockets) = (&common.directory, &common.socket_dir);
    let asked = client::ask(folder, sockets, method::COMPACT, vec![json!(wish)]);
    match asked.and_then(client::document) {
        Ok(Compacted::Done(told)) => Some(Ok(told)),
        Ok(Compacted::Refused(why)) => Some(Err(why)),
        Err(AskError::NoPidFile { .. } | AskError::NobodyAnswers { .. }) => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

fn width() -> usize {
    crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns))
}
