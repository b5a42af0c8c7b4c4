//! `journal info`: what a journal is.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use allexmaster_journal::header::JOURNAL_FORMAT;
use allexmaster_journal::record::FORMAT;
use allexmaster_state::{Event, State};
use clap::Args;
use serde_json::{Value, json};

use super::{Answer, Place, Setting, begins};
use crate::error::InspectError;
use crate::failure;
use crate::replay::{Past, Step, Watch};
use crate::screen::{Screen, Tone};
use crate::source::{Beginning, FolderSource, journal_folder};
use crate::time::{duration, rfc3339};

/// So many starts are listed.
const STARTS_SHOWN: usize = 10;

/// Tell what the journal is: its events, times, starts of the master, size, checkpoint and health.
#[derive(Debug, Args)]
pub(super) struct Info {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Info {
    pub(super) fn run(
        &self,
        place: &Place,
        setting: &mut Setting<'_>,
    ) -> Result<Answer, InspectError> {
        let mut past = place.open(setting)?;
        let mut census = Census::default();
        let health = past.replay(past.first()..=u64::MAX, &mut census);
        let mut damage = past.hole_notes();
        match health {
            Ok(()) => {}
            Err(error) if error.is_damage() => damage.push(error.to_string()),
            Err(error) => return Err(error),
        }
        let health = (!damage.is_empty()).then(|| damage.join("; "));
        let facts = Facts {
            disk: Disk::of(place.path(setting)),
            past: &past,
            census,
            health,
        };
        if self.json {
            setting.screen.json(&facts.document())?;
        } else {
            facts.write(&mut setting.screen)?;
        }
        Ok(Answer::of(facts.health.is_none()))
    }
}

/// Counts what there is.
#[derive(Default)]
struct Census {
    first_at: Option<u64>,
    last: Option<(u64, u64)>,
    kinds: std::collections::BTreeMap<&'static str, u64>,
    failures: u64,
    starts: Vec<Start>,
}

struct Start {
    sequence: u64,
    at: u64,
    pid: u32,
    survivors: usize,
}

impl Watch for Census {
    fn before(&mut self, state: &State, recorded: &allexmaster_state::Recorded) {
        if failure::tone(state, recorded) == Tone::Bad {
            self.failures += 1;
        }
    }

    fn after(&mut self, step: Step<'_>) -> ControlFlow<()> {
        let (sequence, at) = (step.recorded.sequence, step.recorded.at.0);
        self.first_at.get_or_insert(at);
        self.last = Some((sequence, at));
        *self
            .kinds
            .entry(step.recorded.event.kind_name())
            .or_default() += 1;
        if let Event::MasterStarted { pid, survivors, .. } = &step.recorded.event {
            self.starts.push(Start {
                sequence,
                at,
                pid: pid.0,
                survivors: survivors.len(),
            });
        }
        ControlFlow::Continue(())
    }
}

/// What only a folder has.
struct Disk {
    folder: PathBuf,
    bytes: u64,
    sealed_files: usize,
    sealed_through: u64,
    unsealed_blocks: u64,
    acknowledged: u64,
    checkpoint: Option<Result<u64, String>>,
    set_aside: usize,
}

impl Disk {
    fn of(path: &Path) -> Option<Self> {
        let folder = journal_folder(path);
        let mut source = FolderSource::open(&folder).ok()?;
        let journal = source.journal();
        let checkpoint = journal.stored_checkpoint().ok()?;
        Some(Self {
            bytes: size(&folder),
            sealed_files: journal.span().map_or(0, |span| span.files()),
            sealed_through: journal.sealed_through(),
            unsealed_blocks: journal.extent().unsealed_blocks,
            acknowledged: journal.extent().acknowledged,
            checkpoint: checkpoint.map(|stored| stored.map(|(position, _)| position.sequence)),
            set_aside: entries(&folder.join("set-aside")),
            folder,
        })
    }

    fn checkpoint_text(&self) -> String {
        match &self.checkpoint {
            None => "none yet; a start replays every event".to_owned(),
            Some(Ok(sequence)) => format!("after event #{sequence}"),
            Some(Err(why)) => format!("not usable ({why}); a start replays every event"),
        }
    }
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => size(&entry.path()),
            Ok(facts) => facts.len(),
            Err(_) => 0,
        })
        .sum()
}

struct Facts<'a> {
    disk: Option<Disk>,
    past: &'a Past,
    census: Census,
    health: Option<String>,
}

impl Facts<'_> {
    /// The oldest format that can hold the journal: that is the one which it is written in.
    fn format(&self) -> String {
        let (major, minor) = match self.past.beginning() {
            Beginning::Compacted => JOURNAL_FORMAT,
            Beginning::Whole | Beginning::Stretch => FORMAT,
        };
        format!("{major}.{minor}")
    }

    fn document(&self) -> Value {
        let census = &self.census;
        let disk = self.disk.as_ref().map(|disk| {
            json!({
                "folder": disk.folder,
                "bytes": disk.bytes,
                "sealedfiles": disk.sealed_files,
                "sealedthrough": disk.sealed_through,
                "unsealedblocks": disk.unsealed_blocks,
                "acknowledged": disk.acknowledged,
                "checkpoint": disk.checkpoint.as_ref().and_then(|stored| stored.as_ref().ok()),
                "setaside": disk.set_aside,
            })
        });
        json!({
            "place": self.past.place(),
            "identity": self.past.identity(),
            "format": self.format(),
            "first": self.past.first(),
            "begins": begins(self.past),
            "last": census.last.map(|(sequence, _)| sequence),
            "from": census.first_at.map(rfc3339),
            "to": census.last.map(|(_, at)| rfc3339(at)),
            "failures": census.failures,
            "kinds": census.kinds,
            "starts": census.starts.iter().map(|start| json!({
                "sequence": start.sequence, "at": rfc3339(start.at), "pid": start.pid,
                "survivors": start.survivors,
            })).collect::<Vec<_>>(),
            "disk": disk,
            "healthy": self.health.is_none(),
            "damage": self.health,
            "holes": self.past.holes(),
        })
    }

    fn write(&self, screen: &mut Screen<'_>) -> Result<(), InspectError> {
        let mut row = |name: &str, tone: Tone, text: &str| {
            let plain = format!("{name:<12}");
            let head = screen.paint(Tone::Strong, &plain);
            screen.hanging(&head, &plain, tone, text)
        };
        row("journal", Tone::Plain, &self.past.place())?;
        let identity = self.past.identity();
        let format = format!("{}, identity {identity}", self.format());
        row("format", Tone::Plain, &format)?;
        let census = &self.census;
        let first = self.past.first();
        match census.last {
            None => row("events", Tone::Plain, "none")?,
            Some((last, _)) => {
                let text = format!("#{first} to #{last}, {} of them bad news", census.failures);
                row("events", Tone::Plain, &text)?;
            }
        }
        if let Some(note) = self.past.note() {
            row("beginning", Tone::Waiting, &note)?;
        }
        if let Some(disk) = &self.disk {
            let text = format!(
                "{} kB: {} sealed files up to #{}, {} blocks not sealed yet",
                disk.bytes.div_ceil(1024),
                disk.sealed_files,
                disk.sealed_through,
                disk.unsealed_blocks
            );
            row("size", Tone::Plain, &text)?;
            row("checkpoint", Tone::Plain, &disk.checkpoint_text())?;
            if disk.set_aside > 0 {
                let text = format!(
                    "{} (see {})",
                    disk.set_aside,
                    disk.folder.join("set-aside").display()
                );
                row("set aside", Tone::Waiting, &text)?;
            }
        }
        match &self.health {
            None => row(
                "health",
                Tone::Good,
                "every record is the one that was written",
            )?,
            Some(why) => row("health", Tone::Bad, why)?,
        }
        self.write_times(screen)?;
        self.write_starts(screen)?;
        self.write_kinds(screen)
    }

    fn write_times(&self, screen: &mut Screen<'_>) -> Result<(), InspectError> {
        let (Some(from), Some((_, to))) = (self.census.first_at, self.census.last) else {
            return Ok(());
        };
        let plain = format!("{:<12}", "times");
        let text = format!(
            "{} to {} ({})",
            screen.zone.moment_with_zone(from),
            screen.zone.moment_with_zone(to),
            duration(to.saturating_sub(from))
        );
        let head = screen.paint(Tone::Strong, &plain);
        screen.hanging(&head, &plain, Tone::Plain, &text)
    }

    fn write_starts(&self, screen: &mut Screen<'_>) -> Result<(), InspectError> {
        let starts = &self.census.starts;
        screen.line("")?;
        let heading = format!("The master was started {}", times(starts.len()));
        screen.line(&screen.paint(Tone::Strong, &heading))?;
        let skipped = starts.len().saturating_sub(STARTS_SHOWN);
        if skipped > 0 {
            screen.line(&format!("  … {skipped} earlier starts"))?;
        }
        for start in starts.iter().skip(skipped) {
            let found = match start.survivors {
                0 => String::new(),
                1 => ", found 1 child alive".to_owned(),
                count => format!(", found {count} children alive"),
            };
            let when = screen.zone.moment(start.at);
            let text = format!(
                "  {when}  {:<7} process {}{found}",
                format!("#{}", start.sequence),
                start.pid
            );
            screen.line(&text)?;
        }
        Ok(())
    }

    fn write_kinds(&self, screen: &mut Screen<'_>) -> Result<(), InspectError> {
        let mut kinds: Vec<(&&str, &u64)> = self.census.kinds.iter().collect();
        kinds.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), **name));
        screen.line("")?;
        screen.line(&screen.paint(Tone::Strong, "Its events by kind"))?;
        for (name, count) in kinds {
            screen.line(&format!("  {count:>7}  {name}"))?;
        }
        Ok(())
    }
}

fn times(count: usize) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}
