//! `journal test`: a stretch of a journal becomes a test of the repository.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::copies::{create, export};
use super::{Answer, Question, Range};
use crate::error::InspectError;
use crate::replay::Past;
use crate::screen::Screen;
use crate::source::ExportSource;
use crate::transcript::transcript;

/// Where the repository keeps journals that are tests.
const JOURNALS: &str = "crates/inspect/tests/journals";
/// Where it keeps what they have to lead to.
const SNAPSHOTS: &str = "snapshots";

/// Turn a stretch of the journal into a test of this program's repository.
///
/// The stretch is written, redacted, as crates/inspect/tests/journals/NAME.ndjson, and what the present rules
/// make of it as snapshots/cli__journal_test_NAME.snap. From then on `cargo test -p
/// allexmaster-inspect` replays it and compares every effect and every change.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// The name of the test: letters, digits and underscores
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    range: Range,
    /// The repository
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    repository: PathBuf,
    /// Keep names, addresses and messages as they are
    #[arg(long)]
    plain: bool,
}

impl Question for Test {
    fn answer(&self, past: &mut Past, screen: &mut Screen<'_>) -> Result<Answer, InspectError> {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if self.name.is_empty() || !self.name.chars().all(fits) {
            return Err(InspectError::Refused(format!(
                "`{}` cannot be the name of a test: letters, digits and underscores can",
                self.name
            )));
        }
        let journals = self.folder(JOURNALS)?;
        let snapshots = self.folder(SNAPSHOTS)?;
        let range = self.range.find(past, &screen.zone)?;
        let path = journals.join(format!("{}.ndjson", self.name));
        // In memory first: a stretch that cannot be written leaves nothing behind.
        let mut bytes = Vec::new();
        let count = export(past, range, !self.plain, &mut bytes)?;
        create(&path)?.write_all(&bytes)?;
        // What the test will read, and not what it was made of.
        let mut written = Past::new(Box::new(ExportSource::open(&path)?));
        let text = transcript(&mut written)?;
        let snapshot = snapshots.join(format!("cli__journal_test_{}.snap", self.name));
        let content = format!(
            "---\nsource: crates/inspect/tests/inspect/journals.rs\n---\n{}\n",
            text.trim_end()
        );
        fs::write(&snapshot, content).map_err(|source| InspectError::Io {
            action: "write",
            path: snapshot.clone(),
            source,
        })?;
        screen.line(&format!("{count} events are the test {}", path.display()))?;
        screen.line(&format!("what they lead to now is {}", snapshot.display()))?;
        screen.line("read it, change it to what should have happened, and run")?;
        screen.line("  cargo test -p allexmaster-inspect")?;
        Ok(Answer::Done)
    }
}

impl Test {
    fn folder(&self, name: &str) -> Result<PathBuf, InspectError> {
        let folder: &Path = &self.repository.join(name);
        if folder.is_dir() {
            return Ok(folder.to_owned());
        }
        Err(InspectError::Refused(format!(
            "{} is not the repository of this program (it has no {name}): name it with --repository",
            self.repository.display()
        )))
    }
}
