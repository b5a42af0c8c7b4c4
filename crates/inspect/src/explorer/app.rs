//! Where we are, and where we go.

use std::ops::ControlFlow;

use allexmaster_state::ServiceState;

use super::index::{Fact, Index};
use super::shown::Shown;
use crate::error::InspectError;
use crate::replay::Past;
use crate::time::{self, Zone};

/// What is on the screen, and what it is made of.
pub struct App {
    past: Past,
    /// What is known of all events.
    pub index: Index,
    /// Where the reader's clock stands.
    pub zone: Zone,
    pub place: String,
    /// The event that is shown, with what is known of what it led to.
    pub shown: Shown,
    /// The last event of the journal.
    pub last: u64,
    /// The times of the first and the last event, in milliseconds since the Unix epoch.
    pub span: (u64, u64),
    /// The first line of the services that is shown.
    pub scroll: usize,
    pub typing: Option<Typing>,
    pub search: String,
    /// Where `space` stops.
    pub breakpoint: Option<Breakpoint>,
    pub status: Status,
    pub help: bool,
    pub quit: bool,
}

/// The message line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Quiet,
    Told(String),
    Failed(String),
}

/// A line that is being typed, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typing {
    pub what: TypingFor,
    /// What was typed so far.
    pub text: String,
}

/// What a line is typed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypingFor {
    Search,
    Breakpoint,
    /// A place to go to.
    Goto,
}

/// A condition that an event can meet: all of what is named.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Breakpoint {
    /// The service that it is about.
    pub service: Option<String>,
    pub kind: Option<&'static str>,
    /// The state that the service reaches.
    pub state: Option<&'static str>,
    pub text: String,
}

/// The words for the states of a service, as they are typed.
const STATES: [ServiceState; 10] = [
    ServiceState::Waiting,
    ServiceState::Bidding,
    ServiceState::Starting,
    ServiceState::Checking,
    ServiceState::Running,
    ServiceState::Superseded,
    ServiceState::Stopping,
    ServiceState::BackingOff,
    ServiceState::Failed,
    ServiceState::Held,
];

impl Breakpoint {
    /// Reads `Clock`, `child-exited`, `running`, or some of them together: `Clock backing-off`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut breakpoint = Self {
            text: text.trim().to_owned(),
            ..Self::default()
        };
        for word in text.split_whitespace() {
            let kind = allexmaster_state::Event::KINDS
                .into_iter()
                .find(|kind| *kind == word);
            let state = STATES
                .into_iter()
                .map(ServiceState::as_str)
                .find(|state| *state == word);
            if kind.is_some() {
                breakpoint.kind = kind;
            } else if state.is_some() {
                breakpoint.state = state;
            } else {
                breakpoint.service = Some(word.to_lowercase());
            }
        }
        (!breakpoint.text.is_empty()).then_some(breakpoint)
    }

    /// Whether an event meets it.
    #[must_use]
    pub fn meets(&self, index: &Index, fact: &Fact) -> bool {
        let service = index.service(fact).map(|name| name.as_str().to_lowercase());
        let kind = usize::from(fact.kind).checked_sub(1);
        let kind = kind.and_then(|place| allexmaster_state::Event::KINDS.get(place));
        self.service.is_none_or_same(service)
            && self.kind.is_none_or(|wanted| kind == Some(&wanted))
            && self
                .state
                .is_none_or(|wanted| fact.became.map(ServiceState::as_str) == Some(wanted))
    }
}

/// Nothing is wanted, or just this.
trait Wanted {
    fn is_none_or_same(&self, found: Option<String>) -> bool;
}

impl Wanted for Option<String> {
    fn is_none_or_same(&self, found: Option<String>) -> bool {
        self.is_none() || *self == found
    }
}

impl App {
    /// Begins at the last event, without waiting: see [`Shown`].
    ///
    /// # Errors
    /// The journal cannot be read at its beginning or its end, or is empty.
    pub fn new(mut past: Past, zone: Zone) -> Result<Self, InspectError> {
        let end = past.end()?;
        let last = end.sequence;
        if last < past.first() {
            return Err(InspectError::Refused(format!(
                "{} has no events yet",
                past.place()
            )));
        }
        let shown = Shown::at(&mut past, last, false)?;
        let first = past.first();
        let mut begin = end.at;
        past.visit_records(first, &mut |record| {
            begin = record.stamp.at;
            ControlFlow::Break(())
        })?;
        Ok(Self {
            index: Index::new(first),
            place: match past.note() {
                Some(note) => format!("{} ({note})", past.place()),
                None => past.place(),
            },
            past,
            zone,
            shown,
            last,
            span: (begin, end.at.max(begin)),
            scroll: 0,
            typing: None,
            search: String::new(),
            breakpoint: None,
            status: Status::Quiet,
            help: false,
            quit: false,
        })
    }

    /// The number of the event that is shown.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.shown.recorded.sequence
    }

    /// Goes to an event; to the nearest one that there is.
    pub fn go(&mut self, sequence: u64) {
        let sequence = sequence.clamp(self.index.first, self.last);
        if sequence == self.at() {
            return;
        }
        if self.show(sequence) {
            self.status = Status::Quiet;
        }
    }

    /// More of the journal has been read: completes what is shown, where it now can be.
    pub fn catch_up(&mut self) {
        if self.shown.cause.is_none() {
            self.show(self.at());
        }
    }

    fn show(&mut self, sequence: u64) -> bool {
        match Shown::at(&mut self.past, sequence, self.index.complete) {
            Ok(shown) => {
                self.shown = shown;
                true
            }
            Err(error) => {
                self.status = Status::Failed(error.to_string());
                false
            }
        }
    }

    /// Goes to what a person wrote.
    ///
    /// # Errors
    /// It is no point of the journal.
    pub fn visit(&mut self, when: &str) -> Result<(), InspectError> {
        let sequence = time::find(&mut self.past, &self.zone, when)?;
        self.past.must_have(sequence)?;
        self.go(sequence);
        Ok(())
    }

    /// Goes so many events forwards, or backwards.
    pub fn step(&mut self, by: i64) {
        let sequence = self.at().saturating_add_signed(by);
        self.go(sequence);
    }

    /// Goes to a share of the whole life, in thousandths of its time.
    pub fn go_to_share(&mut self, thousandths: u64) {
        let (from, to) = self.span;
        let at = from + (to - from) * thousandths.min(1000) / 1000;
        if self.index.complete || self.index.facts.last().is_some_and(|fact| fact.at > at) {
            let place = self.index.facts.partition_point(|fact| fact.at <= at);
            self.go(self.index.first + (place as u64).saturating_sub(1));
            return;
        }
        // It is not read up to there yet.
        match self.past.sequence_at(at) {
            Ok(sequence) => self.go(sequence),
            Err(error) => self.status = Status::Failed(error.to_string()),
        }
    }

    /// Goes to the next start of the master, or the one before.
    pub fn boot(&mut self, backwards: bool) {
        let found = self.index.search(self.at(), backwards, |fact| fact.start);
        self.go_or_tell(found, backwards, "start of the master");
    }

    /// Goes to the next bad news, or the one before.
    pub fn failure(&mut self, backwards: bool) {
        let found = self.index.search(self.at(), backwards, |fact| fact.bad);
        self.go_or_tell(found, backwards, "failure");
    }

    /// Goes to where the breakpoint is met next.
    pub fn run(&mut self, backwards: bool) {
        let Some(breakpoint) = self.breakpoint.clone() else {
            self.status = Status::Told("there is no breakpoint: b sets one".to_owned());
            return;
        };
        let fits = |fact: &Fact| breakpoint.meets(&self.index, fact);
        let found = self.index.search(self.at(), backwards, fits);
        self.go_or_tell(found, backwards, &breakpoint.text);
    }

    /// Goes to the next event whose service, kind or reached state has the text that is looked for.
    pub fn find(&mut self, backwards: bool) {
        if self.search.is_empty() {
            self.status = Status::Told("nothing is looked for: / begins a search".to_owned());
            return;
        }
        let wanted = self.search.to_lowercase();
        let index = &self.index;
        let fits = |fact: &Fact| {
            let kind = usize::from(fact.kind).checked_sub(1);
            let kind = kind.and_then(|place| allexmaster_state::Event::KINDS.get(place));
            let name = index.service(fact);
            kind.is_some_and(|kind| kind.contains(&wanted))
                || name.is_some_and(|name| name.as_str().to_lowercase().contains(&wanted))
                || fact
                    .became
                    .is_some_and(|state| state.as_str().contains(&wanted))
        };
        let found = index.search(self.shown.recorded.sequence, backwards, fits);
        let search = self.search.clone();
        self.go_or_tell(found, backwards, &search);
    }

    fn go_or_tell(&mut self, found: Option<u64>, backwards: bool, what: &str) {
        match found {
            Some(sequence) => self.go(sequence),
            None => {
                let side = if backwards { "before" } else { "after" };
                let so_far = if self.index.complete {
                    ""
                } else {
                    " as far as it is read"
                };
                self.status = Status::Told(format!("no {what} {side} this event{so_far}"));
            }
        }
    }

    /// The line is typed.
    pub fn typed(&mut self) {
        let Some(Typing { what, text }) = self.typing.take() else {
            return;
        };
        match what {
            TypingFor::Search => {
                self.search = text.trim().to_owned();
                self.find(false);
            }
            TypingFor::Breakpoint => {
                self.breakpoint = Breakpoint::read(&text);
                self.status = match &self.breakpoint {
                    Some(breakpoint) => {
                        Status::Told(format!("space stops at: {}", breakpoint.text))
                    }
                    None => Status::Told("no breakpoint".to_owned()),
                };
            }
            TypingFor::Goto => match time::find(&mut self.past, &self.zone, &text) {
                // What was there once is not taken for what is nearest to it.
                Ok(sequence) if sequence > 0 && sequence < self.index.first => {
                    if let Err(error) = self.past.must_have(sequence) {
                        self.status = Status::Failed(error.to_string());
                    }
                }
                Ok(sequence) => self.go(sequence),
                Err(error) => self.status = Status::Failed(error.to_string()),
            },
        }
    }
}
