//! `journal timeline`: the lanes as a page or a picture.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Answer, Question, Range};
use crate::error::InspectError;
use crate::replay::Past;
use crate::screen::Screen;
use crate::timeline;

/// Draw what each service did over time, as one page that can be mailed.
///
/// A lane for the master, the LanManager and each service; each bar tells what it was, for how long,
/// and which event began it. The page needs nothing but a browser, and asks nobody for anything.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("form").required(true).multiple(true).args(["html", "svg"])))]
pub(super) struct Timeline {
    #[command(flatten)]
    range: Range,
    /// Write the page here
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the picture here
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Question for Timeline {
    fn answer(&self, past: &mut Past, screen: &mut Screen<'_>) -> Result<Answer, InspectError> {
        let range = self.range.find(past, &screen.zone)?;
        let lanes = timeline::build(past, range)?;
        let zone = screen.zone.clone();
        if let Some(path) = &self.html {
            write(path, &timeline::html(&lanes, &zone))?;
            screen.line(&format!("the page is {}", path.display()))?;
        }
        if let Some(path) = &self.svg {
            write(path, &timeline::svg(&lanes, &zone))?;
            screen.line(&format!("the picture is {}", path.display()))?;
        }
        screen.note(past.note())?;
        screen.holes(past)?;
        Ok(Answer::Done)
    }
}

fn write(path: &Path, text: &str) -> Result<(), InspectError> {
    fs::write(path, text).map_err(|source| InspectError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}
