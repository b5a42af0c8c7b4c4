//! Where the answers go: how wide it is, and whether it shows colours.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use crate::error::InspectError;
use crate::replay::Past;
use crate::time::Zone;

/// The output of a command.
pub struct Screen<'a> {
    pub output: &'a mut dyn Write,
    pub colour: bool,
    /// How many columns it has; none for a file, where no line is broken.
    pub width: Option<usize>,
    /// Where the reader's clock stands.
    pub zone: Zone,
    /// Whether a person is watching, so that progress is worth showing.
    pub progress: bool,
}

/// What a text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Faint,
    /// A heading, or a name.
    Strong,
    Good,
    Waiting,
    Bad,
}

impl Tone {
    const fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Faint => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Waiting => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
        }
    }
}

impl Screen<'_> {
    /// The text in the style of its tone.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour || tone == Tone::Plain || text.is_empty() {
            return text.to_owned();
        }
        let style = tone.style();
        format!("{style}{text}{style:#}")
    }

    /// Writes a line.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn line(&mut self, text: &str) -> Result<(), InspectError> {
        self.output.write_all(text.as_bytes())?;
        Ok(self.output.write_all(b"\n")?)
    }

    /// Writes a text behind a head, broken at the screen's width and hanging under its beginning.
    /// `plain_head` is the head without colours, to be measured.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn hanging(
        &mut self,
        head: &str,
        plain_head: &str,
        tone: Tone,
        text: &str,
    ) -> Result<(), InspectError> {
        let indent = plain_head.width();
        let room = self.width.map(|width| width.saturating_sub(indent).max(20));
        let mut head = head.to_owned();
        for part in broken(text, room) {
            let painted = self.paint(tone, &part);
            self.line(&format!("{head}{painted}"))?;
            head = " ".repeat(indent);
        }
        Ok(())
    }

    /// Writes a remark on a line of its own, where there is one.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn note(&mut self, text: Option<String>) -> Result<(), InspectError> {
        text.map_or(Ok(()), |text| {
            self.hanging("", "", Tone::Waiting, &format!("note: {text}"))
        })
    }

    /// Writes which events are damaged, each stretch in a remark.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn holes(&mut self, past: &Past) -> Result<(), InspectError> {
        past.hole_notes()
            .into_iter()
            .try_for_each(|text| self.note(Some(text)))
    }

    /// Writes a document as JSON, formatted for people too.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn json(&mut self, document: &impl serde::Serialize) -> Result<(), InspectError> {
        let text = serde_json::to_string_pretty(document).map_err(io::Error::from)?;
        self.line(&text)
    }
}

/// The text in lines of at most so many columns, broken between words where there are any.
fn broken(text: &str, room: Option<usize>) -> Vec<String> {
    let Some(room) = room else {
        return vec![text.to_owned()];
    };
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let used = line.width();
        if used > 0 && used + 1 + word.width() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        while line.width() > room {
            let split = fitting(&line, room);
            let rest = line.split_off(split);
            lines.push(std::mem::replace(&mut line, rest));
        }
    }
    lines.push(line);
    lines
}

/// How many bytes of a text fit into so many columns; at least one letter.
fn fitting(text: &str, room: usize) -> usize {
    let mut end = 0;
    for (start, letter) in text.char_indices() {
        let next = start + letter.len_utf8();
        if end > 0 && text[..next].width() > room {
            break;
        }
        end = next;
    }
    end
}

/// The text cut to so many columns, with a sign where something is missing.
#[must_use]
pub fn cut(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut kept = text[..fitting(text, room.saturating_sub(1))].to_owned();
    kept.push('…');
    kept
}
