//! A run that failed, and what it leaves behind.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use allexmaster_inspect::error::InspectError;
use allexmaster_inspect::source::{ExportWriter, Start};
use allexmaster_journal::store::FakeDisk;
use allexmaster_journal::{JournaledMachine, Options};
use allexmaster_state::Rules;
use thiserror::Error;

use crate::crash::Crashes;
use crate::plan::Length;

/// A promise that did not hold.
#[derive(Clone, Debug, Error)]
#[error("seed {seed} failed {at} ms after its beginning: {what}")]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How long the run was to be.
    pub length: Length,
    /// Where it was to crash.
    pub crashes: Crashes,
    /// Simulated milliseconds since the beginning.
    pub at: u64,
    /// What did not hold.
    pub what: String,
    /// The journals of the masters.
    pub disks: Vec<FakeDisk>,
}

/// The journal of a run could not be written.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The disk does not take it.
    #[error("the journal cannot be written to {}; make room or choose another folder with --keep", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The simulated journal cannot be read.
    #[error("the simulated journal cannot be read")]
    Journal(#[from] allexmaster_journal::Error),
    /// A record cannot be written as a line.
    #[error("a record cannot be exported")]
    Line(#[from] InspectError),
}

impl Failure {
    /// The arguments that make the same run again.
    #[must_use]
    pub fn arguments(&self) -> String {
        let length = match self.length {
            Length::Short => " --short",
            Length::Full => "",
        };
        let crashes = match self.crashes {
            Crashes::Random { .. } => String::new(),
            Crashes::Never => " --no-crashes".to_owned(),
            Crashes::At { number, loss } => format!(" --crash-at {number} --lose {}", loss.name()),
        };
        format!("--seed {}{length}{crashes}", self.seed)
    }

    /// Writes the journals of the run into a folder, as exports that the journal tools read.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn keep(&self, folder: &Path) -> Result<Vec<PathBuf>, ExportError> {
        let disks = self.disks.iter().enumerate();
        let kept = disks.map(|(master, disk)| {
            let path = folder.join(format!("seed-{}-master-{master}.ndjson", self.seed));
            export(disk, &path)?;
            Ok(path)
        });
        kept.collect()
    }
}

fn export(disk: &FakeDisk, path: &Path) -> Result<(), ExportError> {
    let in_file = |source| ExportError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(in_file)?;
    }
    let file = File::create(path).map_err(in_file)?;
    let store = Box::new(disk.clone());
    let (mut live, _) = JournaledMachine::<Rules>::with_store(store, Options::default())?;
    let identity = live.identity();
    let start = Start::whole(identity);
    let mut writer = ExportWriter::begin(BufWriter::new(file), identity, false, &start)?;
    let mut result = Ok(());
    live.journal().visit(1, |record| {
        result = writer.push(record);
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    result?;
    writer.finish()?.flush().map_err(in_file)
}
