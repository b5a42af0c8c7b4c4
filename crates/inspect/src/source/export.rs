//! A journal, or a stretch of one, as a file of lines.
//!
//! ```text
//! {"allexmaster":"journal-export","format":1,"identity":"…","redacted":false,"start":null}
//! {"sequence":1,"at":1763829636633,"noise":7,"kind":1,"checksum":"…","event":{…}}
//! …
//! {"end":918,"checksum":"…"}
//! ```
//!
//! A stretch begins with the state before its first event in `start`. The last line tells a file that
//! was cut off from one that is whole. Where the journal has a hole, two more lines stand in its place: what
//! is missing, and the state behind it, from which a replay goes on (that one later, where none was kept
//! right behind the hole):
//!
//! ```text
//! {"hole":{"first":1,"last":4096,"why":"…"}}
//! {"kept":{…}}
//! ```

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use allexmaster_journal::record::{Checksum, Record};
use allexmaster_journal::{Hole, Machine as _, Passage, Position};
use allexmaster_state::{STEP_VERSION, State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::line::{self, Line, parse_checksum};
use super::{Beginning, OlderState, Pass, Source, Start};
use crate::error::InspectError;
use allexmaster_state::Rules;

/// The form of the file. Raised when an older program would misread it.
///
/// - 1: the first.
const FORMAT: u32 = 1;
const MARK: &str = "journal-export";

/// Every so many records the place in the file is remembered: a jump reads no more than these.
const INDEX_EVERY: u64 = 4096;

/// The longest line: a state. An event is at most as long as the journal takes.
const MAX_LINE_BYTES: usize = 256 * 1024 * 1024;

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heading {
    allexmaster: String,
    format: u32,
    pub identity: Uuid,
    /// Whether names, addresses and property hashes were replaced.
    pub redacted: bool,
    start: Option<HeadingStart>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadingStart {
    sequence: u64,
    at: u64,
    checksum: String,
    step: u32,
    state: Box<RawValue>,
    /// Whether what was before was compacted, and not only left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    compacted: bool,
    /// Vouches for all of this, as the checksums of the records do for them. The first exports had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
}

impl HeadingStart {
    /// BLAKE3 of what stands here, in hexadecimal digits.
    fn own_hash(&self) -> String {
        let numbers = format!(
            "{} {} {} {} {}\n",
            self.sequence, self.at, self.checksum, self.step, self.compacted
        );
        let mut hasher = blake3::Hasher::new();
        hasher.update(numbers.as_bytes());
        hasher.update(self.state.get().as_bytes());
        hasher.finalize().to_hex().to_string()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    end: u64,
    checksum: String,
}

/// In the place of events that the journal does not have.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoleLine {
    hole: Hole,
}

/// The state after the event before, behind a hole.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptLine {
    kept: HeadingStart,
}

impl Heading {
    fn new(identity: Uuid, redacted: bool, start: &Start) -> Result<Self, InspectError> {
        let stretch = || HeadingStart::new(start);
        let start = (start.position.sequence > 0).then(stretch).transpose();
        Ok(Self {
            allexmaster: MARK.to_owned(),
            format: FORMAT,
            identity,
            redacted,
            start: start.map_err(std::io::Error::from)?,
        })
    }

    fn read(text: &str) -> Result<Self, String> {
        let heading: Self = serde_json::from_str(text)
            .map_err(|error| format!("no export of a journal: {error}"))?;
        if heading.allexmaster != MARK {
            return Err("no export of a journal".to_owned());
        }
        if heading.format != FORMAT {
            return Err(format!(
                "it has form {}, and this program reads {FORMAT}: use the version that wrote it, or \
                 a newer one",
                heading.format
            ));
        }
        Ok(heading)
    }

    fn start(self) -> Result<Start, String> {
        match self.start {
            None => Ok(Start::whole(self.identity)),
            Some(start) => start.read(),
        }
    }
}

impl HeadingStart {
    fn new(start: &Start) -> Result<Self, serde_json::Error> {
        let position = start.position;
        let (step, state) = match &start.older {
            Some(older) => (older.step, RawValue::from_string(older.json.clone())?),
            None => (STEP_VERSION, serde_json::value::to_raw_value(&start.state)?),
        };
        let mut start = Self {
            sequence: position.sequence,
            at: position.at,
            checksum: position.checksum.to_string(),
            step,
            state,
            compacted: start.beginning == Beginning::Compacted,
            hash: None,
        };
        start.hash = Some(start.own_hash());
        Ok(start)
    }

    fn read(self) -> Result<Start, String> {
        let start = self;
        if start
            .hash
            .as_ref()
            .is_some_and(|hash| *hash != start.own_hash())
        {
            return Err("its first state is not the one that was written".to_owned());
        }
        if start.step > STEP_VERSION {
            return Err(format!(
                "its first state was made by version {} of the rules, these are version \
                 {STEP_VERSION}: use that version or a newer one, or an export from the first event on",
                start.step
            ));
        }
        let json = start.state.get();
        let state = Rules::decode_base(start.step, json.as_bytes())
            .map_err(|error| format!("its first state is unreadable: {error}"))?;
        let older = (start.step < STEP_VERSION).then(|| OlderState {
            step: start.step,
            json: json.to_owned(),
        });
        let checksum = parse_checksum(&start.checksum).ok_or("its checksum is unreadable")?;
        Ok(Start {
            position: Position {
                sequence: start.sequence,
                checksum,
                at: start.at,
            },
            state,
            beginning: if start.compacted {
                Beginning::Compacted
            } else {
                Beginning::Stretch
            },
            older,
        })
    }
}

pub struct ExportWriter<Output: Write> {
    output: Output,
    last: u64,
    checksum: Checksum,
}

impl<Output: Write> ExportWriter<Output> {
    /// Writes the first line.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn begin(
        mut output: Output,
        identity: Uuid,
        redacted: bool,
        start: &Start,
    ) -> Result<Self, InspectError> {
        let heading = Heading::new(identity, redacted, start)?;
        write_line(&mut output, &heading)?;
        Ok(Self {
            output,
            last: start.position.sequence,
            checksum: start.position.checksum,
        })
    }

    /// Writes the next record.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), InspectError> {
        let line = Line::write(record).map_err(std::io::Error::from)?;
        self.output.write_all(line.as_bytes())?;
        self.output.write_all(b"\n")?;
        self.last = record.stamp.sequence;
        self.checksum = record.checksum;
        Ok(())
    }

    /// Writes that a stretch is missing.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn hole(&mut self, hole: &Hole) -> Result<(), InspectError> {
        self.last = hole.last;
        write_line(&mut self.output, &HoleLine { hole: hole.clone() })
    }

    /// Writes the state behind a hole, after which a replay goes on.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn kept(&mut self, start: &Start) -> Result<(), InspectError> {
        self.checksum = start.position.checksum;
        let kept = HeadingStart::new(start).map_err(std::io::Error::from)?;
        write_line(&mut self.output, &KeptLine { kept })
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn finish(mut self) -> Result<Output, InspectError> {
        let trailer = Trailer {
            end: self.last,
            checksum: self.checksum.to_string(),
        };
        write_line(&mut self.output, &trailer)?;
        self.output.flush()?;
        Ok(self.output)
    }
}

fn write_line(output: &mut impl Write, value: &impl Serialize) -> Result<(), InspectError> {
    let mut text = serde_json::to_vec(value).map_err(std::io::Error::from)?;
    text.push(b'\n');
    Ok(output.write_all(&text)?)
}

/// An export that is read.
pub struct ExportSource {
    path: PathBuf,
    file: BufReader<File>,
    identity: Uuid,
    start: Start,
    end: Position,
    /// The places of some records: the byte where the next one begins, and its number of line.
    index: Vec<(Position, u64, u64)>,
    holes: Vec<Hole>,
    /// The states behind them.
    kept: Vec<Start>,
    /// The first line that cannot be used.
    damage: Option<(u64, String)>,
}

impl ExportSource {
    /// Opens an export and verifies all of it. A visit returns the damage when it reaches it.
    ///
    /// # Errors
    /// It is none, or a newer one.
    pub fn open(path: &Path) -> Result<Self, InspectError> {
        let io = |action, source| InspectError::Io {
            action,
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(|source| io("open", source))?;
        let mut file = BufReader::new(file);
        let first = read_line(&mut file, MAX_LINE_BYTES).map_err(|why| InspectError::Export {
            path: path.to_owned(),
            line: 1,
            why,
        })?;
        let wrong = |why| InspectError::Export {
            path: path.to_owned(),
            line: 1,
            why,
        };
        let first = first.ok_or_else(|| wrong("it is empty".to_owned()))?;
        let heading = Heading::read(&first).map_err(wrong)?;
        let identity = heading.identity;
        let start = heading.start().map_err(wrong)?;
        let offset = file
            .stream_position()
            .map_err(|source| io("read", source))?;
        let mut source = Self {
            path: path.to_owned(),
            file,
            identity,
            end: start.position,
            index: vec![(start.position, offset, 2)],
            holes: Vec::new(),
            kept: Vec::new(),
            start,
            damage: None,
        };
        source.damage = source.verify(offset)?;
        Ok(source)
    }

    /// Reads every line once. Gives the first one that is not what was written.
    fn verify(&mut self, offset: u64) -> Result<Option<(u64, String)>, InspectError> {
        let (mut offset, mut line) = (offset, 2);
        let mut scratch = Vec::new();
        let mut chained = true;
        loop {
            let text = match read_line(&mut self.file, MAX_LINE_BYTES) {
                Ok(Some(text)) => text,
                Ok(None) => return Ok(Some((line, "the file was cut off".to_owned()))),
                Err(why) => return Ok(Some((line, why))),
            };
            if let Some(trailer) = trailer(&text) {
                return Ok(self.check_trailer(&trailer).map(|why| (line, why)));
            }
            offset += text.len() as u64 + 1;
            let expected = self.end.sequence + 1;
            let previous = chained.then_some(self.end.checksum);
            match self.special(&text) {
                Ok(Some(Special::Hole(hole))) => {
                    (self.end.sequence, chained) = (hole.last, false);
                    self.holes.push(hole);
                    line += 1;
                    continue;
                }
                Ok(Some(Special::Kept(start))) => {
                    (self.end, chained) = (start.position, true);
                    self.kept.push(*start);
                    line += 1;
                    continue;
                }
                Ok(None) => {}
                Err(why) => return Ok(Some((line, why))),
            }
            match line::read(&text, expected, previous, &mut scratch, |_| ()) {
                Ok(((), checksum, at)) => {
                    self.end = Position {
                        sequence: expected,
                        checksum,
                        at,
                    };
                    chained = true;
                }
                Err(why) => return Ok(Some((line, why))),
            }
            line += 1;
            if expected.is_multiple_of(INDEX_EVERY) {
                self.index.push((self.end, offset, line));
            }
        }
    }

    /// What stands in the place of a hole that follows the record before.
    fn special(&self, text: &str) -> Result<Option<Special>, String> {
        let unreadable = |error: serde_json::Error| error.to_string();
        if text.starts_with("{\"hole\":") {
            let HoleLine { hole } = serde_json::from_str(text).map_err(unreadable)?;
            if hole.first != self.end.sequence + 1 || hole.last < hole.first {
                return Err("the hole is in another place".to_owned());
            }
            return Ok(Some(Special::Hole(hole)));
        }
        if text.starts_with("{\"kept\":") {
            let KeptLine { kept } = serde_json::from_str(text).map_err(unreadable)?;
            let start = kept.read()?;
            if start.position.sequence != self.end.sequence {
                return Err("the state is of another place".to_owned());
            }
            return Ok(Some(Special::Kept(Box::new(start))));
        }
        Ok(None)
    }

    fn check_trailer(&mut self, trailer: &Trailer) -> Option<String> {
        if trailer.end != self.end.sequence || trailer.checksum != self.end.checksum.to_string() {
            return Some(format!(
                "the last line tells of event {}, but event {} stands before it",
                trailer.end, self.end.sequence
            ));
        }
        match read_line(&mut self.file, MAX_LINE_BYTES) {
            Ok(None) => None,
            Ok(Some(_)) | Err(_) => Some("something follows the last line".to_owned()),
        }
    }

    fn damaged(&self, line: u64, why: String) -> InspectError {
        InspectError::Export {
            path: self.path.clone(),
            line,
            why,
        }
    }

    fn seek(&mut self, offset: u64) -> Result<(), InspectError> {
        let sought = self.file.seek(SeekFrom::Start(offset)).map(drop);
        sought.map_err(|source| InspectError::Io {
            action: "read",
            path: self.path.clone(),
            source,
        })
    }
}

impl Source for ExportSource {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn identity(&self) -> Uuid {
        self.identity
    }

    fn start(&self) -> &Start {
        &self.start
    }

    fn end(&mut self) -> Result<Position, InspectError> {
        match self.damage.clone() {
            None => Ok(self.end),
            Some((line, why)) => Err(self.damaged(line, why)),
        }
    }

    fn checkpoint(&mut self) -> Result<Option<(Position, State)>, InspectError> {
        Ok(None)
    }

    fn state_from(&mut self, sequence: u64) -> Result<Option<Start>, InspectError> {
        let mut kept = self.kept.iter();
        Ok(kept
            .find(|start| start.position.sequence >= sequence)
            .cloned())
    }

    fn holes(&mut self) -> Vec<Hole> {
        self.holes.clone()
    }

    fn pass(&mut self, from: u64, pass: &mut Pass<'_>) -> Result<(), InspectError> {
        let from = from.max(self.start.position.sequence + 1);
        let place = self
            .index
            .partition_point(|(position, _, _)| position.sequence < from);
        let (mut position, offset, mut line) = self.index[place.saturating_sub(1)];
        self.seek(offset)?;
        let mut scratch = Vec::new();
        let mut chained = true;
        while position.sequence < self.end.sequence {
            let expected = position.sequence + 1;
            let text = read_line(&mut self.file, MAX_LINE_BYTES)
                .and_then(|text| text.ok_or_else(|| "the file was cut off".to_owned()))
                .map_err(|why| self.damaged(line, why))?;
            let hole = self.holes.iter().find(|hole| hole.first == expected);
            if let Some(hole) = hole.filter(|_| text.starts_with("{\"hole\":")) {
                if hole.last >= from && pass(Passage::Hole(hole)).is_break() {
                    return Ok(());
                }
                (position.sequence, chained) = (hole.last, false);
                line += 1;
                continue;
            }
            if text.starts_with("{\"kept\":") {
                line += 1;
                continue;
            }
            let previous = chained.then_some(position.checksum);
            let show = |record: &Record<'_>| {
                if expected < from {
                    std::ops::ControlFlow::Continue(())
                } else {
                    pass(Passage::Record(record))
                }
            };
            let (flow, checksum, at) = line::read(&text, expected, previous, &mut scratch, show)
                .map_err(|why| self.damaged(line, why))?;
            chained = true;
            if flow.is_break() {
                return Ok(());
            }
            position = Position {
                sequence: expected,
                checksum,
                at,
            };
            line += 1;
        }
        match self.damage.clone() {
            None => Ok(()),
            Some((line, why)) => Err(self.damaged(line, why)),
        }
    }
}

/// A line that is no record.
enum Special {
    Hole(Hole),
    Kept(Box<Start>),
}

fn trailer(text: &str) -> Option<Trailer> {
    // A record never begins so; and only a line that does is worth a second look.
    if !text.starts_with("{\"end\":") {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The next line without its end; nothing at the end of the file. A last line without an end was cut
/// off, whatever it looks like.
fn read_line(file: &mut BufReader<File>, most: usize) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    let limit = most as u64 + 1;
    let read = std::io::Read::take(&mut *file, limit).read_until(b'\n', &mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(if bytes.len() >= most {
            format!("the line is longer than {most} bytes")
        } else {
            "the file was cut off in this line".to_owned()
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| "the line is no text".to_owned())?;
    Ok(Some(text))
}
