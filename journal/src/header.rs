//! What a journal says of itself, in a file of its own.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;

/// The newest format of a journal that is read, as (major, minor). The records have their own, see
/// [`crate::record::FORMAT`].
///
/// Changelog:
/// - 1.0: the first. Begins with event 1.
/// - 2.0: may begin with a base, a state in place of the events that led to it.
///
/// A journal is written in the oldest format that can hold it, so that older programs can read it: it
/// has 1.0 until it is compacted.
pub const JOURNAL_FORMAT: (u8, u8) = (2, 0);

/// What a journal has that begins with event 1.
const WHOLE: [u8; 2] = [1, 0];
/// What a journal has that may begin with a base.
const COMPACTED: [u8; 2] = [2, 0];

/// What the journal says of itself.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Header {
    format: [u8; 2],
    program: String,
    identity: Uuid,
}

impl Header {
    /// Of a journal that begins with event 1.
    pub(crate) fn new(program: &str, identity: Uuid) -> Self {
        Self {
            format: WHOLE,
            program: program.to_owned(),
            identity,
        }
    }

    /// The same of a journal that may begin with a base.
    pub(crate) fn raised(self) -> Self {
        let format = self.format.max(COMPACTED);
        Self { format, ..self }
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|source| Error::Header { source })
    }

    /// Reads a header, and refuses what is not ours to touch.
    pub(crate) fn read(bytes: &[u8], program: &'static str) -> Result<Self, Error> {
        let header: Self =
            serde_json::from_slice(bytes).map_err(|source| Error::Header { source })?;
        let [major, minor] = header.format;
        let reads = JOURNAL_FORMAT.0;
        if major > reads {
            return Err(Error::NewerFormat {
                major,
                minor,
                reads,
            });
        }
        if header.program != program {
            return Err(Error::OtherProgram {
                found: header.program,
                expected: program,
            });
        }
        Ok(header)
    }

    /// (major, minor)
    pub(crate) fn format(&self) -> (u8, u8) {
        (self.format[0], self.format[1])
    }

    pub(crate) fn identity(&self) -> Uuid {
        self.identity
    }
}
