//! `replay`: the state at any point.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use allexmaster_journal::Position;
use allexmaster_state::{ServiceStatus, State};
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::copies::export;
use super::show::write_changes;
use super::{Answer, Place, Setting};
use crate::compare::{Comparison, compare, trace};
use crate::error::InspectError;
use crate::explorer::{self, App, Indexing};
use crate::replay::{Past, Step};
use crate::screen::{Screen, Tone};
use crate::time::{find, rfc3339};
use crate::words::{self, SHORT};

/// How often the progress is drawn.
const PROGRESS_EVERY: u64 = 4096;

/// Rebuild the state of the master at any point of its life.
///
/// Without a point it is the present state. Nothing is changed anywhere: effects are computed, and
/// not performed.
#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    place: Place,
    /// The point: an event's number, a time (03:12:07, "2026-11-22 03:12"), or how long before the end (10m)
    #[arg(long, visible_alias = "to", value_name = "WHEN")]
    at: Option<String>,
    /// Show what differs from an earlier point
    #[arg(long, value_name = "WHEN", conflicts_with = "verify")]
    from: Option<String>,
    /// Recompute everything from the beginning, and check records, checkpoint and invariants
    #[arg(long)]
    verify: bool,
    /// Replay it in another build of this program too, and tell every event at which they part
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["from", "verify"])]
    compare: Option<PathBuf>,
    /// One line for each event, with hashes of what it led to: what --compare reads
    #[arg(long, hide = true)]
    trace: bool,
    /// Go through it in the terminal, forwards and backwards
    #[arg(long, conflicts_with_all = ["from", "verify", "json"])]
    tui: bool,
    /// Print JSON: the whole state
    #[arg(long)]
    json: bool,
}

impl Replay {
    /// Does what was asked.
    ///
    /// # Errors
    /// What cannot be done, and why.
    pub fn run(&self, setting: &mut Setting<'_>) -> Result<Answer, InspectError> {
        let mut past = self.place.open(setting)?;
        if self.trace {
            return write_traces(&mut past, &mut setting.screen);
        }
        if let Some(other) = &self.compare {
            return self.compare_builds(&mut past, other, &mut setting.screen);
        }
        if self.tui {
            return self.explore(past, setting);
        }
        if self.verify {
            return self.verify(&mut past, &mut setting.screen);
        }
        let zone = setting.screen.zone.clone();
        let to = match &self.at {
            Some(when) => find(&mut past, &zone, when)?,
            None => past.end()?.sequence,
        };
        if self.at.is_some() {
            past.must_have(to)?;
        }
        match &self.from {
            None => self.show(&mut past, to, &mut setting.screen),
            Some(when) => {
                let from = find(&mut past, &zone, when)?;
                self.compare(&mut past, (from, to), &mut setting.screen)
            }
        }
    }

    fn compare_builds(
        &self,
        past: &mut Past,
        other: &Path,
        screen: &mut Screen<'_>,
    ) -> Result<Answer, InspectError> {
        let failed = |source| InspectError::Io {
            action: "make a temporary file in",
            path: std::env::temp_dir(),
            source,
        };
        let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
        // Of what is before a hole an older build could not know.
        let first = past.first_behind_holes()?;
        export(
            past,
            first..=u64::MAX,
            false,
            std::io::BufWriter::new(&mut file),
        )?;
        let comparison = compare(past, first, other, file.path())?;
        if self.json {
            screen.json(&comparison)?;
        } else {
            screen.note(past.note())?;
            screen.holes(past)?;
            tell_comparison(&comparison, screen)?;
        }
        let same = comparison.effects.is_empty() && comparison.states.is_empty();
        Ok(Answer::of(same))
    }

    fn explore(&self, past: Past, setting: &Setting<'_>) -> Result<Answer, InspectError> {
        let frames = past.frames();
        let mut app = App::new(past, setting.screen.zone.clone())?;
        let other = self.place.reopen(setting);
        // What the reader of the index keeps on its way, a jump starts from.
        let indexing = Indexing::begin(move || Ok(other()?.sharing(frames)))?;
        if let Some(when) = &self.at {
            app.visit(when)?;
        }
        explorer::run(app, &indexing)?;
        Ok(Answer::Done)
    }

    fn show(
        &self,
        past: &mut Past,
        sequence: u64,
        screen: &mut Screen<'_>,
    ) -> Result<Answer, InspectError> {
        let state = past.state_after(sequence)?;
        if self.json {
            screen.json(
                &json!({ "sequence": sequence, "at": rfc3339(state.now.0), "state": state }),
            )?;
            return Ok(Answer::Done);
        }
        let heading = format!(
            "{}  {}  {}",
            screen.paint(Tone::Strong, &format!("after #{sequence}")),
            screen.zone.moment(state.now.0),
            screen.paint(Tone::Faint, &words::outline(state))
        );
        screen.line(&heading)?;
        write_state(screen, state)?;
        screen.holes(past)?;
        Ok(Answer::Done)
    }

    fn compare(
        &self,
        past: &mut Past,
        (from, to): (u64, u64),
        screen: &mut Screen<'_>,
    ) -> Result<Answer, InspectError> {
        let before = past.state_after(from)?.clone();
        let after = past.state_after(to)?;
        let changes = SHORT.difference(&before, after);
        if self.json {
            let changes: Vec<_> = changes
                .iter()
                .map(|change| {
                    json!({ "place": change.place, "before": change.before, "after": change.after })
                })
                .collect();
            screen.json(&json!({ "from": from, "to": to, "changes": changes }))?;
            return Ok(Answer::Done);
        }
        let heading = format!("from #{from} to #{to} it changed");
        write_changes(screen, &changes, &heading)?;
        screen.holes(past)?;
        Ok(Answer::Done)
    }

    fn verify(&self, past: &mut Past, screen: &mut Screen<'_>) -> Result<Answer, InspectError> {
        let checkpoint = past.source().checkpoint()?;
        let end = past.source().end().map_or(0, |end| end.sequence);
        let bar = progress(end, screen.progress);
        let mut check = Check::default();
        let start = past.source().start();
        if let Some((position, state)) = &checkpoint
            && *position == start.position
        {
            check.compare(state == &start.state, position.sequence);
        }
        let replayed = past.replay(past.first()..=u64::MAX, &mut |step: Step<'_>| {
            if step.recorded.sequence.is_multiple_of(PROGRESS_EVERY) {
                bar.set_position(step.recorded.sequence);
            }
            check.look(step, checkpoint.as_ref())
        });
        bar.finish_and_clear();
        let holes = past.hole_notes();
        check.broken.extend(holes);
        match replayed {
            Ok(()) => {}
            Err(error) if error.is_damage() => check.broken.push(error.to_string()),
            Err(error) => return Err(error),
        }
        let checkpoint = checkpoint.map(|(position, _)| position);
        check.tell(self.json, checkpoint, past.note(), screen)
    }
}

fn progress(end: u64, shown: bool) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(end);
    let style = ProgressStyle::with_template(
        "{bar:40} {percent:>3}%  {human_pos} of {human_len} events, {per_sec}, {eta} left",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// Maximum broken invariants that are shown; one usually causes many.
const MAX_BROKEN: usize = 10;

#[derive(Default)]
struct Check {
    events: u64,
    checkpoint_seen: bool,
    broken: Vec<String>,
}

impl Check {
    /// The checkpoint was met.
    fn compare(&mut self, same: bool, sequence: u64) {
        self.checkpoint_seen = true;
        if !same {
            self.broken.push(format!(
                "the checkpoint after #{sequence} is not the state that the events lead to"
            ));
        }
    }

    fn look(&mut self, step: Step<'_>, checkpoint: Option<&(Position, State)>) -> ControlFlow<()> {
        self.events += 1;
        let sequence = step.recorded.sequence;
        if let Err(broken) = step.state.check() {
            self.broken.push(format!(
                "after #{sequence} an invariant is broken: {broken}"
            ));
        }
        if let Some((position, state)) = checkpoint
            && position.sequence == sequence
        {
            let same = state == step.state && *position == step.position;
            self.compare(same, sequence);
        }
        if self.broken.len() >= MAX_BROKEN {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn tell(
        self,
        json: bool,
        checkpoint: Option<Position>,
        note: Option<String>,
        screen: &mut Screen<'_>,
    ) -> Result<Answer, InspectError> {
        let good = self.broken.is_empty();
        if json {
            screen.json(&json!({
                "good": good, "events": self.events, "broken": self.broken,
                "checkpoint": checkpoint.map(|position| position.sequence),
                "checkpointverified": self.checkpoint_seen && good, "note": note,
            }))?;
        } else {
            screen.line(&format!("{} events were replayed", self.events))?;
            if let Some(note) = &note {
                screen.line(&format!(
                    "  {note}: they were replayed from the state before it"
                ))?;
            }
            for broken in &self.broken {
                screen.hanging("  ", "  ", Tone::Bad, broken)?;
            }
            if good {
                screen.line("  every record is the one that was written")?;
                screen.line("  after every event all invariants hold")?;
                if let Some(position) = checkpoint.filter(|_| self.checkpoint_seen) {
                    let text =
                        format!("  the checkpoint is the state after #{}", position.sequence);
                    screen.line(&text)?;
                }
            }
        }
        Ok(Answer::of(good))
    }
}

/// So many events at which two builds part are named.
const PARTINGS_SHOWN: usize = 20;

fn tell_comparison(told: &Comparison, screen: &mut Screen<'_>) -> Result<(), InspectError> {
    if told.effects.is_empty() && told.states.is_empty() {
        let text = format!(
            "{} events lead to the same effects and states in both",
            told.events
        );
        return screen.line(&text);
    }
    let numbers = |events: &[u64]| {
        let shown = events
            .iter()
            .take(PARTINGS_SHOWN)
            .map(|event| format!("#{event}"));
        let more = events.len().saturating_sub(PARTINGS_SHOWN);
        let more = (more > 0).then(|| format!("and {more} more"));
        shown.chain(more).collect::<Vec<_>>().join(" ")
    };
    for (what, events) in [("effects", &told.effects), ("states", &told.states)] {
        let text = match events.len() {
            0 => format!("the {what} are the same after all {} events", told.events),
            count => format!(
                "the {what} differ at {count} of {} events: {}",
                told.events,
                numbers(events)
            ),
        };
        screen.hanging("", "", Tone::Plain, &text)?;
    }
    screen.line("")?;
    write_changes(screen, &told.first, "at the first of them: here → there")
}

fn write_traces(past: &mut Past, screen: &mut Screen<'_>) -> Result<Answer, InspectError> {
    let mut failed = None;
    past.replay(past.first()..=u64::MAX, &mut |step: Step<'_>| {
        // Texts and numbers always have a JSON form.
        let line = serde_json::to_string(&trace(step)).unwrap_or_default();
        match screen.line(&line) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(Answer::Done), Err)
}

/// The state as tables.
fn write_state(screen: &mut Screen<'_>, state: &State) -> Result<(), InspectError> {
    let lan = state.lan_status();
    let reason = lan
        .reason
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    screen.line(&format!(
        "LanManager {} since {}{reason}",
        lan.state,
        screen.zone.time(lan.since.0)
    ))?;
    if let Some((at, _)) = state.next_deadline() {
        screen.line(&format!("next deadline {}", screen.zone.time(at.0)))?;
    }
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    let width = screen.width.and_then(|width| u16::try_from(width).ok());
    table.set_width(width.unwrap_or(u16::MAX));
    table.set_header([
        "NAME", "MODULE", "STATE", "PID", "TCP", "HTTP", "WS", "RESTARTS", "REASON",
    ]);
    let mut rows = 0;
    for status in state.service_statuses() {
        table.add_row(row(&status));
        rows += 1;
    }
    if rows > 0 {
        screen.line("")?;
        screen.line(&table.trim_fmt())?;
    }
    let blocked: Vec<String> = state
        .ports
        .blocked()
        .map(|(port, _)| port.to_string())
        .collect();
    if !blocked.is_empty() {
        screen.line("")?;
        screen.hanging(
            "",
            "",
            Tone::Faint,
            &format!("ports that cool down: {}", blocked.join(", ")),
        )?;
    }
    Ok(())
}

fn row(status: &ServiceStatus) -> [String; 9] {
    let number =
        |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let port = |port: Option<allexmaster_state::Port>| number(port.map(|port| u32::from(port.0)));
    [
        status.instance.to_string(),
        status.module.to_string(),
        status.state.to_string(),
        number(status.pid.map(|pid| pid.0)),
        port(status.ports.tcp),
        port(status.ports.http),
        port(status.ports.ws),
        status.restarts.to_string(),
        status.reason.clone().unwrap_or_default(),
    ]
}
