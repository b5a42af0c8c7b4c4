//! `journal log`: events as lines.

use std::ops::ControlFlow;
use std::time::Duration;

use allexmaster_state::{Effect, Pid, Port, Recorded, State};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::{Answer, Place, Range, Setting};
use crate::error::InspectError;
use crate::failure;
use crate::filter::Filter;
use crate::replay::{Step, Watch};
use crate::screen::{Screen, Tone};
use crate::subject::Subjects;
use crate::time::rfc3339;
use crate::words;

/// How often a follower asks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(300);

/// Show the events as lines, newest last.
///
/// With --json each event is one object in a line: `sequence`, `at` (RFC 3339), `kind`, `text`,
/// `services`, `ports`, `pids`, `event`, and with --effects `effects` and `texts` of these. Fields are
/// only ever added. Where the first is not number 1, what was before is not there: `journal info` tells
/// why.
#[derive(Debug, Args)]
pub(super) struct Log {
    #[command(flatten)]
    range: Range,
    /// Only events that have to do with this service, or need; may be given more than once
    #[arg(long, visible_alias = "need", value_name = "NAME")]
    service: Vec<String>,
    /// Only events that have to do with this port
    #[arg(long, value_name = "PORT")]
    port: Vec<u16>,
    /// Only events that have to do with this process
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    /// Only events of this kind
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(allexmaster_state::Event::KINDS))]
    kind: Vec<String>,
    /// Show what each event caused
    #[arg(long)]
    effects: bool,
    /// Only the last so many events
    #[arg(long, short = 'n', value_name = "NUMBER")]
    last: Option<usize>,
    /// Go on as more events come; only where a master runs
    #[arg(long, short = 'f')]
    follow: bool,
    /// One JSON object in each line
    #[arg(long)]
    json: bool,
}

impl Log {
    pub(super) fn run(
        &self,
        place: &Place,
        setting: &mut Setting<'_>,
    ) -> Result<Answer, InspectError> {
        let mut past = place.open(setting)?;
        let range = self.range.find(&mut past, &setting.screen.zone)?;
        let filter = Filter {
            instances: self
                .service
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
            ports: self.port.iter().copied().map(Port).collect(),
            pids: self.pid.iter().copied().map(Pid).collect(),
            kinds: self.kind.clone(),
        };
        let range = match self.last {
            // Where nothing is filtered the last ones are known without reading the others.
            Some(last) if filter.is_empty() => {
                let end = past.end()?.sequence.min(*range.end());
                let first = (end + 1).saturating_sub(last as u64).max(*range.start());
                if past.has_hole_in(first, end) {
                    range
                } else {
                    first..=end
                }
            }
            Some(_) | None => range,
        };
        if !self.json && *range.start() <= past.first() {
            setting.screen.note(past.note())?;
        }
        if !self.json {
            setting.screen.holes(&past)?;
        }
        let mut lines = Lines {
            filter,
            effects: self.effects,
            json: self.json,
            pending: None,
            kept: self
                .last
                .map(|last| (last, std::collections::VecDeque::new())),
            day: String::new(),
            screen: &mut setting.screen,
            failed: None,
        };
        past.replay(range, &mut lines)?;
        lines.flush()?;
        if self.follow {
            if place.journal.is_some() || (setting.master)().is_none() {
                return Err(InspectError::Refused(
                    "there is no running master to follow: start one, or leave --follow out"
                        .to_owned(),
                ));
            }
            let mut lines = Lines {
                kept: None,
                ..lines
            };
            let mut next = past.end()?.sequence + 1;
            loop {
                past.replay(next..=u64::MAX, &mut lines)?;
                lines.flush()?;
                lines.screen.output.flush()?;
                next = past.look_up_end()?.sequence.max(next - 1) + 1;
                std::thread::sleep(FOLLOW_EVERY);
            }
        }
        Ok(Answer::Done)
    }
}

/// Writes what passes the filter.
struct Lines<'screen, 'output> {
    filter: Filter,
    effects: bool,
    json: bool,
    pending: Option<Pending>,
    /// Only the last ones are wanted: they are written at the end.
    kept: Option<(usize, std::collections::VecDeque<Entry>)>,
    day: String,
    screen: &'screen mut Screen<'output>,
    failed: Option<InspectError>,
}

/// An event that was met, and is not decided yet.
struct Pending {
    wanted: Option<bool>,
    subjects: Subjects,
    text: String,
    tone: Tone,
}

/// What will be written of an event.
struct Entry {
    sequence: u64,
    at: u64,
    text: String,
    tone: Tone,
    effects: Vec<String>,
    json: Value,
}

impl Watch for Lines<'_, '_> {
    fn before(&mut self, state: &State, recorded: &Recorded) {
        let (wanted, subjects) = self.filter.before(state, recorded);
        self.pending = (wanted != Some(false)).then(|| Pending {
            wanted,
            subjects,
            text: words::event(state, recorded),
            tone: failure::tone(state, recorded),
        });
    }

    fn after(&mut self, step: Step<'_>) -> ControlFlow<()> {
        let Some(pending) = self.pending.take() else {
            return ControlFlow::Continue(());
        };
        let wanted = pending.wanted.unwrap_or_else(|| {
            self.filter
                .after(pending.subjects.clone(), step.state, step.effects)
        });
        if !wanted {
            return ControlFlow::Continue(());
        }
        let entry = self.entry(pending, step);
        if let Some((most, kept)) = &mut self.kept {
            kept.push_back(entry);
            if kept.len() > *most {
                kept.pop_front();
            }
            return ControlFlow::Continue(());
        }
        self.write(&entry)
    }
}

impl Lines<'_, '_> {
    fn entry(&self, pending: Pending, step: Step<'_>) -> Entry {
        let shown: &[Effect] = if self.effects { step.effects } else { &[] };
        let effects: Vec<String> = shown
            .iter()
            .map(|effect| words::effect(step.state, effect))
            .collect();
        let json = if self.json {
            document(&pending, &effects, self.effects, step)
        } else {
            Value::Null
        };
        Entry {
            sequence: step.recorded.sequence,
            at: step.recorded.at.0,
            text: pending.text,
            tone: pending.tone,
            effects,
            json,
        }
    }

    fn write(&mut self, entry: &Entry) -> ControlFlow<()> {
        match self.try_write(entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn try_write(&mut self, entry: &Entry) -> Result<(), InspectError> {
        if self.json {
            return self.screen.line(&entry.json.to_string());
        }
        let day = self.screen.zone.day(entry.at);
        if day != self.day {
            let heading = self.screen.paint(Tone::Faint, &format!("── {day} ──"));
            self.screen.line(&heading)?;
            self.day = day;
        }
        let (number, time) = (
            format!("#{}", entry.sequence),
            self.screen.zone.time(entry.at),
        );
        let plain = format!("{number:>7}  {time}  ");
        let head = format!(
            "{}  {}  ",
            self.screen.paint(Tone::Strong, &format!("{number:>7}")),
            self.screen.paint(Tone::Faint, &time)
        );
        self.screen
            .hanging(&head, &plain, entry.tone, &entry.text)?;
        for effect in &entry.effects {
            let plain = format!("{:23}→ ", "");
            self.screen.hanging(&plain, &plain, Tone::Faint, effect)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), InspectError> {
        if let Some((_, kept)) = &mut self.kept {
            for entry in std::mem::take(kept) {
                self.try_write(&entry)?;
            }
        }
        self.failed.take().map_or(Ok(()), Err)
    }
}

fn document(pending: &Pending, texts: &[String], with_effects: bool, step: Step<'_>) -> Value {
    let mut subjects = pending.subjects.clone();
    subjects.add_effects(step.state, step.effects);
    let mut document = json!({
        "sequence": step.recorded.sequence,
        "at": rfc3339(step.recorded.at.0),
        "kind": step.recorded.event.kind_name(),
        "text": pending.text,
        "services": subjects.instances,
        "ports": subjects.ports,
        "pids": subjects.pids,
        "event": step.recorded.event,
    });
    if with_effects {
        document["effects"] = json!(step.effects);
        document["texts"] = json!(texts);
    }
    document
}
