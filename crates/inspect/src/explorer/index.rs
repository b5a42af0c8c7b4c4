//! What is known of every event without replaying it: when, which kind, whom, good or bad.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{Receiver, Sender, channel};

use allexmaster_state::{InstanceName, Recorded, ServiceState, State};

use crate::error::InspectError;
use crate::failure;
use crate::replay::{Past, Step, Watch};
use crate::screen::Tone;
use crate::subject::Subjects;

/// So many facts are handed over together.
const PORTION: usize = 4096;
/// What is known of one event: 24 bytes, so that a million take 24 MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The number of the kind.
    pub kind: u16,
    pub bad: bool,
    pub start: bool,
    /// The service that it is about, by its place in [`Index::names`]; none, or several, are 0.
    pub service: u32,
    /// What that service became, where that changed.
    pub became: Option<ServiceState>,
}

/// What is known so far.
#[derive(Debug, Default)]
pub struct Index {
    /// The number of the first event.
    pub first: u64,
    /// The events, from the first one on.
    pub facts: Vec<Fact>,
    /// The places of the bad news in `facts`.
    bad: Vec<usize>,
    /// The places of the starts of the master in `facts`.
    starts: Vec<usize>,
    /// The services; the first place stands for none.
    pub names: Vec<InstanceName>,
    /// Why the reading ended before the end, if it did.
    pub damage: Option<String>,
    pub complete: bool,
}

/// A portion of facts, with the names that are new in it.
struct Portion {
    facts: Vec<Fact>,
    names: Vec<InstanceName>,
    end: Option<Option<String>>,
}

/// The reading of a journal that goes on in a thread of its own.
pub struct Indexing {
    portions: Receiver<Portion>,
}

impl Index {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(first: u64) -> Self {
        Self {
            first,
            names: vec![InstanceName::from("")],
            ..Self::default()
        }
    }

    /// Reads the whole journal before it returns. Damage is recorded in the index.
    #[must_use]
    pub fn whole(past: &mut Past) -> Self {
        let mut index = Self::new(past.first());
        let (sender, receiver) = channel();
        read(past, &sender);
        for portion in receiver.try_iter() {
            index.take(portion);
        }
        index
    }

    /// What is known of an event.
    #[must_use]
    pub fn fact(&self, sequence: u64) -> Option<&Fact> {
        let place = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.facts.get(place)
    }

    /// The last event that is known.
    #[must_use]
    pub fn last(&self) -> u64 {
        (self.first + self.facts.len() as u64).saturating_sub(1)
    }

    /// The service that an event is about.
    #[must_use]
    pub fn service(&self, fact: &Fact) -> Option<&InstanceName> {
        let place = usize::try_from(fact.service)
            .ok()
            .filter(|place| *place > 0)?;
        self.names.get(place)
    }

    /// The next event that fits, after `from` or before it.
    pub fn search(
        &self,
        from: u64,
        backwards: bool,
        mut fits: impl FnMut(&Fact) -> bool,
    ) -> Option<u64> {
        if backwards {
            (self.first..from)
                .rev()
                .find(|sequence| self.fact(*sequence).is_some_and(&mut fits))
        } else {
            (from + 1..=self.last()).find(|sequence| self.fact(*sequence).is_some_and(&mut fits))
        }
    }

    /// Whether there is bad news in a range of `facts`.
    #[must_use]
    pub fn any_bad(&self, range: &Range<usize>) -> bool {
        any_in(&self.bad, range)
    }

    /// Whether the master was started in a range of `facts`.
    #[must_use]
    pub fn any_start(&self, range: &Range<usize>) -> bool {
        any_in(&self.starts, range)
    }

    fn take(&mut self, portion: Portion) {
        for (place, fact) in (self.facts.len()..).zip(&portion.facts) {
            if fact.bad {
                self.bad.push(place);
            }
            if fact.start {
                self.starts.push(place);
            }
        }
        self.facts.extend(portion.facts);
        self.names.extend(portion.names);
        if let Some(damage) = portion.end {
            self.damage = damage;
            self.complete = true;
        }
    }
}

/// Whether a list in ascending order has something of a range.
fn any_in(list: &[usize], range: &Range<usize>) -> bool {
    let next = list.partition_point(|place| *place < range.start);
    list.get(next).is_some_and(|place| *place < range.end)
}

impl Indexing {
    /// Begins to read in a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn begin(
        open: impl FnOnce() -> Result<Past, InspectError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, portions) = channel();
        std::thread::Builder::new()
            .name("journal-index".to_owned())
            .spawn(move || match open() {
                Ok(mut past) => read(&mut past, &sender),
                Err(error) => end(&sender, Some(error.to_string())),
            })?;
        Ok(Self { portions })
    }

    /// Takes over what the reading thread has sent; true if there was anything.
    pub fn take_into(&self, index: &mut Index) -> bool {
        let mut any = false;
        while let Ok(portion) = self.portions.try_recv() {
            index.take(portion);
            any = true;
        }
        any
    }
}

fn read(past: &mut Past, sender: &Sender<Portion>) {
    let mut reader = Reader {
        sender,
        facts: Vec::with_capacity(PORTION),
        known: BTreeMap::new(),
        fresh: Vec::new(),
        met: None,
        next: past.first(),
    };
    let replayed = past.replay(past.first()..=u64::MAX, &mut reader);
    reader.hand_over();
    end(sender, replayed.err().map(|error| error.to_string()));
}

fn end(sender: &Sender<Portion>, damage: Option<String>) {
    // Whoever wanted it may have gone.
    let _ = sender.send(Portion {
        facts: Vec::new(),
        names: Vec::new(),
        end: Some(damage),
    });
}

struct Reader<'a> {
    sender: &'a Sender<Portion>,
    facts: Vec<Fact>,
    known: BTreeMap<InstanceName, u32>,
    fresh: Vec<InstanceName>,
    met: Option<Met>,
    /// The number of the next fact.
    next: u64,
}

/// What an event met.
struct Met {
    bad: bool,
    about: Option<InstanceName>,
    was: Option<ServiceState>,
}

impl Reader<'_> {
    fn number(&mut self, name: &InstanceName) -> u32 {
        if let Some(number) = self.known.get(name) {
            return *number;
        }
        let number = u32::try_from(self.known.len() + 1).unwrap_or(0);
        self.known.insert(name.clone(), number);
        self.fresh.push(name.clone());
        number
    }

    /// Whether the receiver is still there.
    fn hand_over(&mut self) -> bool {
        let portion = Portion {
            facts: std::mem::take(&mut self.facts),
            names: std::mem::take(&mut self.fresh),
            end: None,
        };
        self.sender.send(portion).is_ok()
    }
}

impl Watch for Reader<'_> {
    fn before(&mut self, state: &State, recorded: &Recorded) {
        let subjects = Subjects::of_event(state, recorded);
        let mut names = subjects.instances.into_iter();
        let about = names.next().filter(|_| names.next().is_none());
        let status = about.as_ref().and_then(|name| state.status_of(name));
        self.met = Some(Met {
            bad: failure::tone(state, recorded) == Tone::Bad,
            was: status.map(|status| status.state),
            about,
        });
    }

    fn after(&mut self, step: Step<'_>) -> ControlFlow<()> {
        let Some(met) = self.met.take() else {
            return ControlFlow::Continue(());
        };
        let name = step.recorded.event.kind_name();
        let status = met
            .about
            .as_ref()
            .and_then(|name| step.state.status_of(name));
        let is = status.map(|status| status.state);
        // Events in a hole have a place too, about which nothing is known.
        let missing = step.recorded.sequence.saturating_sub(self.next);
        let nothing = Fact {
            at: step.recorded.at.0,
            kind: 0,
            bad: false,
            start: false,
            service: 0,
            became: None,
        };
        self.facts.extend(std::iter::repeat_n(
            nothing,
            usize::try_from(missing).unwrap_or(0),
        ));
        self.next = step.recorded.sequence + 1;
        let service = met.about.as_ref().map_or(0, |name| self.number(name));
        self.facts.push(Fact {
            at: step.recorded.at.0,
            kind: step.recorded.event.kind(),
            bad: met.bad,
            start: name == "master-started",
            service,
            became: is.filter(|_| is != met.was),
        });
        if self.facts.len() < PORTION || self.hand_over() {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(())
    }
}
