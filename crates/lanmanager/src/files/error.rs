//! What can be wrong with a file, said so that it can be mended.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A file that cannot be used.
#[derive(Debug)]
pub struct FileError {
    pub path: PathBuf,
    pub problem: Problem,
}

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.path.display(), self.problem)
    }
}

impl Error for FileError {
    /// The message has the path; the cause is the source.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem.source()
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error(":{line}:{column}: {found}; expected {expected}")]
    Content {
        /// Line, from 1.
        line: usize,
        /// Column, from 1 (0 at the beginning of a line).
        column: usize,
        found: String,
        /// What should stand there, with an example or a suggestion.
        expected: String,
    },
    #[error(": {0} bytes are too many, the limit is {limit}", limit = super::read::MAX_FILE_BYTES)]
    TooLarge(u64),
    #[error(": cannot be read; check its permissions")]
    Read(#[source] io::Error),
    #[error(": cannot be written; check the permissions of its folder and the space on the disk")]
    Write(#[source] io::Error),
}

impl FileError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::new(path, Problem::Read(source))
    }

    pub(super) fn create(path: &Path, source: io::Error) -> Self {
        Self::new(path, Problem::Write(source))
    }

    pub(super) fn too_large(path: &Path, bytes: u64) -> Self {
        Self::new(path, Problem::TooLarge(bytes))
    }

    /// A parser's complaint, with what would have been right.
    pub(super) fn content(path: &Path, error: &serde_json::Error, expected: &str) -> Self {
        let (line, column) = (error.line(), error.column());
        let whole = error.to_string();
        let place = format!(" at line {line} column {column}");
        let found = whole.strip_suffix(&place).unwrap_or(&whole).to_owned();
        let expected = expected.to_owned();
        let problem = Problem::Content {
            line,
            column,
            found,
            expected,
        };
        Self::new(path, problem)
    }

    fn new(path: &Path, problem: Problem) -> Self {
        Self {
            path: path.to_owned(),
            problem,
        }
    }
}
