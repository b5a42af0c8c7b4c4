//! `allexmaster logs`: what the services wrote, over rotations.

use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use crossterm::style::{Color, Stylize as _};
use serde_json::json;

use super::{Common, OUTPUT_CLOSED, complain, names, print, report};
use crate::client::AskError;
use crate::config::log_folder;
use crate::exit_code;
use crate::logs::{Follower, files_of};

/// How often it is looked for more.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// So many lines are shown where nothing is said.
const LINES: usize = 50;
/// The same for a follower.
const LINES_BEFORE_FOLLOWING: usize = 10;
/// The colours of the names, one after the other.
const COLORS: [Color; 6] = [
    Color::Cyan,
    Color::Yellow,
    Color::Green,
    Color::Magenta,
    Color::Blue,
    Color::Red,
];

/// Show what services wrote to their standard output and error.
///
/// Old files of the rotation are read through, and no master has to run. Without a name all services are
/// shown, one after the other, each line with the name of its service.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  allexmaster logs Web
  allexmaster logs -f               all services, as they write
  allexmaster logs 'job-*' -n 5")]
pub(super) struct Logs {
    /// Names of services, or patterns such as 'web-*'
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Go on as more is written, over rotations and restarts
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only the last so many lines of each; 50, or 10 with --follow
    #[arg(long = "lines", short = 'n', value_name = "LINES")]
    lines: Option<usize>,
    /// No name before the lines
    #[arg(long)]
    no_prefix: bool,
    /// Print JSON: one object a line, with `instancename` and `text`
    #[arg(long)]
    json: bool,
}

impl Logs {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        match self.show(common) {
            Ok(()) => ExitCode::from(exit_code::OK),
            Err(error) => report(&error, self.json),
        }
    }

    fn show(&self, common: &Common) -> Result<(), AskError> {
        let folder = log_folder(&common.directory);
        let picked = || {
            let known = files_of(&folder);
            let known = known.iter().map(|(name, _)| name.as_str());
            names::pick_names(&Vec::from_iter(known), &self.names)
        };
        let first = picked()?;
        if first.is_empty() && !self.follow {
            complain(&format!(
                "no service has written anything in {}",
                folder.display()
            ));
        }
        let files: BTreeMap<String, _> = files_of(&folder).into_iter().collect();
        let lines = self.lines.unwrap_or(if self.follow {
            LINES_BEFORE_FOLLOWING
        } else {
            LINES
        });
        let mut width = first
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or_default();
        let mut followed: BTreeMap<String, Follower> = BTreeMap::new();
        for name in first {
            let Some(path) = files.get(&name) else {
                continue;
            };
            let mut last: VecDeque<String> = VecDeque::new();
            let mut follower = Follower::from_the_oldest(path);
            let mut keep = |line: String| {
                if last.len() >= lines {
                    last.pop_front();
                }
                if lines > 0 {
                    last.push_back(line);
                }
            };
            follower.read(&mut keep);
            if !self.follow {
                follower.rest(&mut keep);
            }
            for line in last {
                self.tell(&name, followed.len(), width, &line);
            }
            followed.insert(name, follower);
        }
        while self.follow && !OUTPUT_CLOSED.load(Ordering::Relaxed) {
            sleep(LOOK_EVERY);
            // Services that have not written before are shown as well.
            for (name, path) in files_of(&folder) {
                let fits =
                    |wish: &String| names::pick_names(&[&name], std::slice::from_ref(wish)).is_ok();
                let is_meant = self.names.is_empty() || self.names.iter().any(fits);
                if is_meant && !followed.contains_key(&name) {
                    width = width.max(name.chars().count());
                    followed.insert(name, Follower::from_the_oldest(&path));
                }
            }
            for (index, (name, follower)) in followed.iter_mut().enumerate() {
                follower.read(&mut |line| self.tell(name, index, width, &line));
            }
        }
        Ok(())
    }

    fn tell(&self, name: &str, index: usize, width: usize, line: &str) {
        if self.json {
            print(&format!(
                "{}\n",
                json!({ "instancename": name, "text": line })
            ));
        } else if self.no_prefix {
            print(&format!("{line}\n"));
        } else {
            let prefix = format!("{name:width$} |");
            let color = COLORS.get(index % COLORS.len()).copied();
            let plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stdout().is_terminal();
            match color.filter(|_| !plain) {
                Some(color) => print(&format!("{} {line}\n", prefix.with(color))),
                None => print(&format!("{prefix} {line}\n")),
            }
        }
    }
}
