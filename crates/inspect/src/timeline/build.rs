//! Makes the lanes.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};

use allexmaster_state::{
    Effect, Event, InstanceName, Recorded, ServiceState, ServiceStatus, State,
};

use super::{Bar, Lane, Sort, Timeline};
use crate::error::InspectError;
use crate::failure;
use crate::replay::{Past, Step, Watch};
use crate::screen::Tone;
use crate::subject::Subjects;
use crate::words;

/// So many services have lanes: a page with more is no help, and no browser draws it well.
const MAX_LANES: usize = 500;
/// Maximum bars and marks of a lane; later ones are left out, and the page says so.
const MAX_BARS: usize = 20_000;

/// Makes the lanes of a range of events.
///
/// # Errors
/// The journal cannot be read.
pub fn build(past: &mut Past, range: RangeInclusive<u64>) -> Result<Timeline, InspectError> {
    let mut builder = Builder::default();
    let first = (*range.start()).max(past.first());
    if first > 1 {
        builder.begin(past.state_after(first - 1)?);
    }
    past.replay(range, &mut builder)?;
    Ok(builder.finish())
}

#[derive(Default)]
struct Builder {
    master: Track,
    lan: Track,
    services: BTreeMap<InstanceName, Track>,
    modules: BTreeMap<InstanceName, String>,
    subjects: Subjects,
    text: String,
    tone: Option<Tone>,
    first_at: Option<u64>,
    last_at: u64,
    events: u64,
    left_out: Vec<InstanceName>,
}

/// A lane that is being made.
#[derive(Default)]
struct Track {
    bars: Vec<Bar>,
    marks: Vec<(u64, u64, String)>,
    now: Option<(Sort, String)>,
}

impl Track {
    fn set(&mut self, at: u64, sequence: u64, cause: &str, now: Option<(Sort, String)>) {
        if self.now == now {
            return;
        }
        self.close(at);
        if let Some((sort, note)) = &now
            && self.bars.len() < MAX_BARS
        {
            self.bars.push(Bar {
                sort: *sort,
                from: at,
                to: u64::MAX,
                sequence,
                cause: cause.to_owned(),
                note: note.clone(),
            });
        }
        self.now = now;
    }

    fn close(&mut self, at: u64) {
        if let Some(bar) = self.bars.last_mut().filter(|bar| bar.to == u64::MAX) {
            bar.to = at;
        }
    }

    fn mark(&mut self, at: u64, sequence: u64, text: &str) {
        if self.marks.len() < MAX_BARS {
            self.marks.push((at, sequence, text.to_owned()));
        }
    }

    fn lane(mut self, end: u64, name: String, about: String) -> Lane {
        self.close(end);
        Lane {
            name,
            about,
            bars: self.bars,
            marks: self.marks,
        }
    }
}

impl Builder {
    /// What was before the first event that is shown.
    fn begin(&mut self, state: &State) {
        let at = state.now.0;
        self.first_at = Some(at);
        if let Some(master) = &state.master {
            let now = Some((Sort::Running, format!("process {}", master.pid)));
            self.master.set(at, 0, "before", now);
        }
        self.lan.set(at, 0, "before", lan_now(state));
        for status in state.service_statuses() {
            self.service(at, 0, "before", &status.instance.clone(), Some(&status));
        }
    }

    fn service(
        &mut self,
        at: u64,
        sequence: u64,
        cause: &str,
        instance: &InstanceName,
        status: Option<&ServiceStatus>,
    ) {
        if !self.services.contains_key(instance) {
            let Some(status) = status else {
                return;
            };
            if self.services.len() >= MAX_LANES {
                if !self.left_out.contains(instance) && self.left_out.len() < MAX_LANES {
                    self.left_out.push(instance.clone());
                }
                return;
            }
            self.modules
                .insert(instance.clone(), status.module.to_string());
        }
        let track = self.services.entry(instance.clone()).or_default();
        track.set(at, sequence, cause, status.map(service_now));
    }

    fn services(&mut self, step: Step<'_>, instances: &[InstanceName]) {
        let (at, sequence) = (step.recorded.at.0, step.recorded.sequence);
        let cause = std::mem::take(&mut self.text);
        for instance in instances {
            let status = step.state.status_of(instance);
            self.service(at, sequence, &cause, instance, status.as_ref());
        }
        self.text = cause;
    }

    fn master(&mut self, step: Step<'_>) {
        let (at, sequence) = (step.recorded.at.0, step.recorded.sequence);
        if let Event::MasterStarted { pid, .. } = &step.recorded.event {
            self.master.now = None;
            let now = Some((Sort::Running, format!("process {pid}")));
            self.master.set(at, sequence, &self.text, now);
        }
        if matches!(step.recorded.event, Event::StopRequested { .. }) {
            let now = Some((Sort::Stopping, "its children are ended first".to_owned()));
            self.master.set(at, sequence, &self.text, now);
        }
        if step.effects.contains(&Effect::Exit) {
            self.master.set(at, sequence, "it ended", None);
        }
    }

    fn finish(self) -> Timeline {
        let (from, to) = (self.first_at.unwrap_or(0), self.last_at);
        let mut lanes = vec![
            self.master
                .lane(to, "master".to_owned(), "this machine".to_owned()),
            self.lan
                .lane(to, "LanManager".to_owned(), "the connection".to_owned()),
        ];
        let mut modules = self.modules;
        lanes.extend(self.services.into_iter().map(|(instance, track)| {
            let module = modules.remove(&instance).unwrap_or_default();
            track.lane(to, instance.to_string(), module)
        }));
        Timeline {
            from,
            to,
            lanes,
            events: self.events,
            left_out: self.left_out,
        }
    }
}

impl Watch for Builder {
    fn before(&mut self, state: &State, recorded: &Recorded) {
        self.subjects = Subjects::of_event(state, recorded);
        self.text = words::event(state, recorded);
        self.tone = Some(failure::tone(state, recorded));
        // Between the last event of one run and the start of the next nothing was recorded: a gap.
        if matches!(recorded.event, Event::MasterStarted { .. }) && self.events > 0 {
            let last = self.last_at;
            self.master.set(last, recorded.sequence, "", None);
        }
    }

    fn after(&mut self, step: Step<'_>) -> ControlFlow<()> {
        let (at, sequence) = (step.recorded.at.0, step.recorded.sequence);
        self.first_at.get_or_insert(at);
        self.events += 1;
        self.subjects.add_effects(step.state, step.effects);
        let concerned: Vec<InstanceName> = if self.subjects.all {
            let known = self.services.keys().cloned();
            let present = step
                .state
                .services
                .iter()
                .map(|(instance, _)| instance.clone());
            let all: std::collections::BTreeSet<InstanceName> = known.chain(present).collect();
            all.into_iter().collect()
        } else {
            self.subjects.instances.iter().cloned().collect()
        };
        self.services(step, &concerned);
        self.master(step);
        self.lan.set(at, sequence, &self.text, lan_now(step.state));
        if self.tone == Some(Tone::Bad) {
            let text = self.text.clone();
            if matches!(step.recorded.event, Event::LanClosed { .. }) {
                self.lan.mark(at, sequence, &text);
            } else {
                for instance in &self.subjects.instances {
                    if let Some(track) = self.services.get_mut(instance) {
                        track.mark(at, sequence, &text);
                    }
                }
            }
        }
        self.last_at = at;
        ControlFlow::Continue(())
    }
}

fn lan_now(state: &State) -> Option<(Sort, String)> {
    let status = state.lan_status();
    let sort = match status.state {
        "connected" => Sort::Running,
        "connecting" | "away" => Sort::Failed,
        _ => Sort::Waiting,
    };
    let note = match (status.endpoint, sort) {
        (Some(endpoint), Sort::Running) => format!("connected to {endpoint}"),
        (Some(_) | None, _) => "away".to_owned(),
    };
    Some((sort, note))
}

fn service_now(status: &ServiceStatus) -> (Sort, String) {
    let sort = match status.state {
        // It waits for somebody; the note says who stopped it.
        ServiceState::Waiting | ServiceState::Held => Sort::Waiting,
        ServiceState::Bidding => Sort::Bidding,
        ServiceState::Starting => Sort::Starting,
        ServiceState::Checking => Sort::Checking,
        ServiceState::Running => Sort::Running,
        // It is about to end, unless the configuration lets it stay.
        ServiceState::Superseded | ServiceState::Stopping => Sort::Stopping,
        ServiceState::BackingOff => Sort::BackingOff,
        ServiceState::Failed => Sort::Failed,
    };
    let mut note = Vec::new();
    if let Some(pid) = status.pid {
        note.push(format!("process {pid}"));
        let ports: Vec<String> = status
            .ports
            .iter()
            .filter_map(|(protocol, port)| port.map(|port| format!("{protocol} {port}")))
            .collect();
        if !ports.is_empty() {
            note.push(ports.join(", "));
        }
    }
    note.extend(status.reason.clone());
    (sort, note.join("; "))
}
