//! `journal compact`: removes old history, and keeps what it led to.

use allexmaster_journal::{Compaction, CompactionRequest, Journal, Options};
use clap::Args;
use serde_json::json;

use super::{Answer, Place, Setting, confirmed};
use crate::error::InspectError;
use crate::screen::{Screen, Tone};
use crate::source;
use crate::time::{before_the_end, rfc3339};
use allexmaster_state::Rules;

/// Remove old history. What it led to stays, as a state that is verified first.
///
/// Whole sealed files are removed, the oldest first, as far as all their events are older than --keep.
/// It tells first what it will do, and asks. What is kept begins with the state that the removed events
/// led to; `why` and all others tell that there was something before. Nothing goes unless a replay of
/// all of it leads to the very state of the newest checkpoint.
///
/// A running master is asked to do it, and is not disturbed. It does so by itself, too: see
/// `limits.journalkeep` and `limits.journalsize` of the configuration.
#[derive(Debug, Args)]
pub(super) struct Compact {
    /// Keep what happened within so long before the last event (36h, 14d, 0s)
    #[arg(long, value_name = "DURATION", default_value = "14d")]
    keep: String,
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Compact {
    pub(super) fn run(
        &self,
        place: &Place,
        setting: &mut Setting<'_>,
    ) -> Result<Answer, InspectError> {
        let keep = before_the_end(&self.keep).ok_or_else(|| InspectError::NoMoment {
            text: self.keep.clone(),
        })?;
        let wish = |dry_run| CompactionRequest {
            keep,
            most_bytes: None,
            dry_run,
            cut: true,
        };
        let told = compact(place, setting, wish(true))?;
        if told.events() == 0 || self.dry_run {
            self.tell(&told, &mut setting.screen)?;
            return Ok(Answer::Done);
        }
        if !self.yes {
            if !self.json {
                self.tell(&told, &mut setting.screen)?;
                setting.screen.output.flush()?;
            }
            if !confirmed("remove it?")? {
                setting.screen.line("nothing was done")?;
                return Ok(Answer::Found);
            }
        }
        let told = compact(place, setting, wish(false))?;
        self.tell(&told, &mut setting.screen)?;
        Ok(Answer::Done)
    }

    fn tell(&self, told: &Compaction, screen: &mut Screen<'_>) -> Result<(), InspectError> {
        if self.json {
            return screen.json(&json!({
                "done": told.done, "first": told.first, "through": told.through,
                "throughat": rfc3339(told.through_at), "events": told.events(),
                "freedbytes": told.freed_bytes, "keptbytes": told.kept_bytes, "last": told.last,
                "checkpoint": told.checkpoint,
            }));
        }
        if told.events() == 0 {
            let text = format!(
                "nothing is removed: no sealed file has only events that are older than {}; {} of sealed \
                 history stay",
                self.keep,
                size(told.kept_bytes)
            );
            return screen.hanging("", "", Tone::Plain, &text);
        }
        let goes = format!(
            "#{} to #{}, {} events until {}, {}",
            told.first,
            told.through,
            told.events(),
            screen.zone.moment(told.through_at),
            size(told.freed_bytes)
        );
        let stays = format!(
            "the state after #{}, and every event up to #{}, {} of them sealed",
            told.through,
            told.last,
            size(told.kept_bytes)
        );
        let proof = format!(
            "all of it was replayed, and led to the checkpoint after #{}",
            told.checkpoint
        );
        let done = if told.done { "removed" } else { "to remove" };
        for (name, text) in [(done, goes), ("kept", stays), ("verified", proof)] {
            let plain = format!("{name:<11}");
            let head = screen.paint(Tone::Strong, &plain);
            screen.hanging(&head, &plain, Tone::Plain, &text)?;
        }
        Ok(())
    }
}

/// Has the running master do it, or does it in the folder where none runs.
fn compact(
    place: &Place,
    setting: &Setting<'_>,
    wish: CompactionRequest,
) -> Result<Compaction, InspectError> {
    if place.journal.is_none()
        && !place.offline
        && let Some(answer) = (setting.compact)(wish)
    {
        return answer.map_err(InspectError::NotCompacted);
    }
    let path = place.path(setting);
    if path.is_file() {
        return Err(InspectError::Refused(format!(
            "{} is an export, which is not compacted: export a later stretch (--since), or import it \
             and compact that",
            path.display()
        )));
    }
    let folder = source::journal_folder(path);
    if wish.dry_run {
        return Ok(Journal::<Rules>::read_only(&folder)?.compact(wish)?);
    }
    let (mut journal, _) = Journal::<Rules>::open(&folder, Options::default())?;
    Ok(journal.compact(wish)?)
}

/// So many bytes, for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
