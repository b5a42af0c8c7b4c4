//! Mistakes of a configuration, for people and for programs.

use std::ops::Range;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, NamedSource, SourceSpan};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A configuration that cannot be used.
#[derive(Debug, Error, Diagnostic)]
pub enum ConfigError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Mistakes(Box<Mistakes>),
    #[error("{} is not text: byte {position} is not UTF-8", file.display())]
    #[diagnostic(help("save it as UTF-8"))]
    NotText {
        file: PathBuf,
        /// The first bad byte, from 0.
        position: usize,
    },
    #[error("{} has more than {most} bytes", file.display())]
    #[diagnostic(help("this cannot be a configuration: look what has been put there"))]
    TooLarge {
        file: PathBuf,
        /// The limit in bytes.
        most: u64,
    },
    #[error("{} cannot be read", file.display())]
    #[diagnostic(help("make it a file that this user may read"))]
    Unreadable {
        file: PathBuf,
        source: std::io::Error,
    },
    /// There is none, and the master that asks for it runs with another one.
    #[error("there is no {}", file.display())]
    #[diagnostic(help("put it back; `allexmaster config show --text` prints the one in force"))]
    Missing { file: PathBuf },
    /// There is no file, and the default cannot be written.
    #[error("there is no {}, and the default cannot be written", file.display())]
    #[diagnostic(help("start in a folder that exists and that this user may write to"))]
    Unwritable {
        file: PathBuf,
        source: std::io::Error,
    },
}

/// All mistakes of one configuration, in the order of their places.
#[derive(Debug, Error, Diagnostic)]
#[error("{} in {}", counted(self.all.len()), self.file.display())]
pub struct Mistakes {
    file: PathBuf,
    #[source_code]
    code: NamedSource<String>,
    #[related]
    all: Vec<Mistake>,
}

#[derive(Clone, PartialEq, Eq, Debug, Error, Diagnostic)]
#[error("{message}")]
pub struct Mistake {
    message: String,
    label: String,
    #[help]
    help: Option<String>,
    #[label("{label}")]
    place: Option<SourceSpan>,
}

/// A mistake, for programs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    pub file: PathBuf,
    /// The line, from 1; absent where the mistake is not in the file (but in a flag, say).
    pub line: Option<usize>,
    /// The column in characters, from 1; absent with the line.
    pub column: Option<usize>,
    pub message: String,
    /// What to do about it, where that can be said.
    pub help: Option<String>,
}

impl ConfigError {
    /// All of it for people: each mistake with the line of the file, and a mark below it.
    #[must_use]
    pub fn for_people(self) -> String {
        format!("{:?}", miette::Report::new(self))
    }

    /// Every mistake for itself, in the order of their places.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        let whole_file = |file: &Path| {
            let help = self.help().map(|help| help.to_string());
            let mut message = self.to_string();
            if let Some(source) = std::error::Error::source(self) {
                message = format!("{message}: {source}");
            }
            vec![Report {
                file: file.to_owned(),
                line: None,
                column: None,
                message,
                help,
            }]
        };
        match self {
            Self::Mistakes(mistakes) => mistakes.reports(),
            Self::NotText { file, .. }
            | Self::TooLarge { file, .. }
            | Self::Unreadable { file, .. }
            | Self::Missing { file }
            | Self::Unwritable { file, .. } => whole_file(file),
        }
    }
}

impl Report {
    /// For the log, and where there is one line for it.
    #[must_use]
    pub fn one_line(&self) -> String {
        let mut text = self.file.display().to_string();
        if let (Some(line), Some(column)) = (self.line, self.column) {
            text.push_str(&format!(":{line}:{column}"));
        }
        text.push_str(&format!(": {}", self.message));
        if let Some(help) = &self.help {
            text.push_str(&format!("; {help}"));
        }
        text
    }
}

impl Mistakes {
    pub(super) fn new(file: &Path, text: String, mut all: Vec<Mistake>) -> Self {
        all.sort_by_key(|mistake| mistake.place.map(|place| place.offset()));
        Self {
            file: file.to_owned(),
            code: NamedSource::new(file.display().to_string(), text).with_language("json"),
            all,
        }
    }

    fn reports(&self) -> Vec<Report> {
        self.all
            .iter()
            .map(|mistake| mistake.report(&self.file, self.code.inner()))
            .collect()
    }
}

impl Mistake {
    /// A mistake: what is wrong as a whole, and, in few words, at its place.
    pub(super) fn new(
        place: Option<Range<usize>>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self {
            message: message.into(),
            label: label.into(),
            help: None,
            place: place.map(SourceSpan::from),
        }
    }

    /// With what to do about it.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn report(&self, file: &Path, text: &str) -> Report {
        let place = self
            .place
            .map(|place| line_and_column(text, place.offset()));
        Report {
            file: file.to_owned(),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            message: self.message.clone(),
            help: self.help.clone(),
        }
    }
}

fn counted(mistakes: usize) -> String {
    match mistakes {
        1 => "a mistake".to_owned(),
        several => format!("{several} mistakes"),
    }
}

pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before
        .get(line_start..)
        .map_or(0, |start| start.chars().count())
        + 1;
    (line, column)
}
