//! The one decision function.

use alloc::format;
use alloc::vec::Vec;

use crate::requests::LanCall;
use crate::survivors::Survivors;
use crate::{
    ChildEffect, Connection, Deadline, Effect, Event, Incarnation, Recorded, Reply, RequestId,
    SessionEffect, Shutdown, State, Timestamp, boot, child, claim, clock, install, lan, needs,
    requests, shutdown,
};

/// Takes the next event. Total: no input makes it fail or panic; what is out of
/// date (of an earlier attempt, an earlier connection) changes nothing.
#[must_use]
pub fn step(mut state: State, recorded: Recorded<Event>) -> (State, Vec<Effect>) {
    let mut turn = Turn::new(&recorded);
    state.now = recorded.at;
    decide(&mut state, &mut turn, recorded.event);
    fill_places(&mut state, &mut turn);
    if state.shutdown != Shutdown::No {
        shutdown::advance(&mut state, &mut turn);
    }
    #[cfg(debug_assertions)]
    if let Err(broken) = state.check() {
        // Not a reaction to input: a mistake in the rules themselves, in a build made to find it.
        #[expect(
            clippy::panic,
            reason = "debug builds stop at the first broken invariant"
        )]
        {
            panic!("after event {}: {broken}", turn.sequence);
        }
    }
    (state, turn.effects)
}

/// One arm for each event, each one call into a topic module.
fn decide(state: &mut State, turn: &mut Turn, event: Event) {
    match event {
        Event::SettingsLoaded { settings } => boot::settings_loaded(state, turn, settings),
        Event::MasterStarted {
            journal,
            boot,
            pid,
            survivors,
            ended,
            resumed,
        } => {
            let zombies: Vec<Incarnation> = ended.iter().map(|end| end.incarnation).collect();
            let found = Survivors::new(survivors, ended);
            boot::started(state, turn, (journal, boot, pid), found, resumed);
            install::restarted(state, turn, resumed);
            for incarnation in zombies {
                turn.effect(ChildEffect::Reap { incarnation });
            }
        }
        Event::LanConnected {
            connection,
            endpoint,
            address,
            grace,
        } => {
            let seen_as = lan::SeenAs {
                endpoint,
                address,
                grace,
            };
            lan::connected(state, turn, connection, seen_as);
        }
        Event::LanClosed {
            connection,
            reason,
            silent,
        } => lan::closed(state, turn, connection, reason, silent),
        Event::NeedsListed { connection, needs } => needs::listed(state, turn, connection, needs),
        Event::NeedAppeared { connection, need } => needs::appeared(state, turn, connection, need),
        Event::NeedWithdrawn {
            connection,
            instance,
        } => {
            needs::withdrawn(state, turn, connection, &instance);
        }
        Event::ServicesListed {
            connection,
            services,
        } => claim::listed(state, turn, connection, services),
        Event::BidAnswered {
            instance,
            bid,
            answer,
        } => {
            claim::bid_answered(state, turn, &instance, bid, answer);
        }
        Event::ResponseAnswered {
            instance,
            bid,
            answer,
        } => {
            claim::response_answered(state, turn, &instance, bid, answer);
        }
        Event::ServiceDownAcknowledged {
            connection,
            instance,
        } => {
            lan::down_acknowledged(state, turn, connection, &instance);
        }
        Event::PortsProbed {
            incarnation,
            taken,
            holders,
        } => {
            child::probed(state, turn, incarnation, &taken, &holders);
        }
        Event::PortsFreed { ports } => {
            for port in ports {
                state.ports.left(port);
            }
        }
        Event::ChildSpawned {
            incarnation,
            identity,
            launcher,
        } => {
            child::spawned(state, turn, incarnation, identity, launcher);
        }
        Event::ChildNotSpawned {
            incarnation,
            reason,
            missing,
        } => {
            child::not_spawned(state, turn, incarnation, reason, missing);
        }
        Event::ChildReady { incarnation } => child::ready(state, turn, incarnation),
        Event::ChildFailed {
            incarnation,
            reason,
        } => child::failed(state, turn, incarnation, reason),
        Event::ForeignListener { incarnation, port } => {
            let reason = format!("another program listens on its port {port}");
            child::failed(state, turn, incarnation, reason.into());
        }
        Event::ChildExited {
            incarnation,
            outcome,
        } => {
            child::exited(state, turn, incarnation, outcome);
            turn.effect(ChildEffect::Reap { incarnation });
        }
        Event::DescendantsLeft {
            incarnation,
            outcome,
            left,
        } => child::left_descendants(state, turn, incarnation, &outcome, &left),
        // What had to be killed is history, and what cannot be ended is nothing to be decided.
        Event::DescendantsEnded { .. } => {}
        Event::StraysFound { strays } => {
            let found = Survivors::new(strays, Vec::new());
            found.end_strays(turn, state.settings.stop_grace);
        }
        Event::InstallEnded { package, complaint } => {
            install::ended(state, turn, package, complaint);
        }
        Event::ModuleEngaged { module, request } => {
            lan::module_engaged(state, turn, module);
            if let Some(request) = request {
                turn.reply(request, Reply::Done(true.into()));
            }
        }
        Event::StopRequested {
            request,
            source,
            urgent,
        } => {
            if let Some(request) = request {
                turn.reply(request, Reply::Done(true.into()));
            }
            shutdown::requested(state, turn, source, urgent);
        }
        Event::RestartRequested {
            request, instance, ..
        } => requests::restart(state, turn, request, instance),
        Event::HoldRequested {
            request,
            instance,
            sender,
        } => requests::hold(state, turn, request, instance, sender),
        Event::StartRequested {
            request, instance, ..
        } => requests::start(state, turn, request, instance),
        Event::AddNeedRequested { request, need, .. } => {
            requests::relay(state, turn, request, LanCall::AddNeed(need));
        }
        Event::RemoveNeedRequested {
            request, instance, ..
        } => {
            requests::relay(state, turn, request, LanCall::RemoveNeed(instance));
        }
        Event::LanCallAnswered { request, answer } => {
            requests::answered(state, turn, request, answer);
        }
        Event::DeadlineReached => deadlines(state, turn),
        Event::ClockJumped { by } => clock::jumped(state, by),
    }
}

/// Does everything whose time has come.
fn deadlines(state: &mut State, turn: &mut Turn) {
    while let Some(reason) = state.deadlines.pop_due(turn.at) {
        match reason {
            Deadline::Dial => lan::dial(state, turn),
            Deadline::Service(instance) => {
                claim::deadline(state, turn, &instance);
                child::deadline(state, turn, &instance);
                needs::deadline(state, turn, &instance);
            }
            Deadline::PortUsable(port) => state.ports.unblock(port),
            Deadline::Bids => claim::patience_over(state, turn),
            Deadline::Request(request) => requests::deadline(state, turn, request),
            Deadline::Drain => shutdown::finish(state, turn),
        }
    }
}

/// Free places go to those who have waited longest. A bid that is won but not
/// started counts as open: nobody hoards needs that another machine could start.
fn fill_places(state: &mut State, turn: &mut Turn) {
    while state.services.starting() < state.settings.starts_at_once {
        let Some(instance) = state.services.next_starter() else {
            break;
        };
        child::start(state, turn, &instance);
    }
    if state.settings.bids_with_care() {
        return claim::fill_bids(state, turn);
    }
    while state.services.bidding() + state.services.starters() < state.settings.bids_at_once {
        let Some(instance) = state.services.next_bidder() else {
            break;
        };
        claim::bid(state, turn, &instance);
    }
}

/// What the topic modules need to know of the event, and where they leave their effects.
pub(crate) struct Turn {
    pub(crate) sequence: u64,
    pub(crate) at: Timestamp,
    pub(crate) entropy: u32,
    attempts: u32,
    effects: Vec<Effect>,
}

impl Turn {
    fn new(recorded: &Recorded<Event>) -> Self {
        Self {
            sequence: recorded.sequence,
            at: recorded.at,
            entropy: recorded.entropy,
            attempts: 0,
            effects: Vec::new(),
        }
    }

    /// A name for a new attempt.
    pub(crate) fn incarnation(&mut self) -> Incarnation {
        let index = self.attempts;
        self.attempts += 1;
        Incarnation {
            sequence: self.sequence,
            index,
        }
    }

    /// The name of the connection that this event has dialed.
    pub(crate) const fn connection(&self) -> Connection {
        Connection(self.sequence)
    }

    pub(crate) fn effect(&mut self, effect: impl Into<Effect>) {
        self.effects.push(effect.into());
    }

    pub(crate) fn reply(&mut self, request: RequestId, reply: Reply) {
        self.effect(SessionEffect::Reply { request, reply });
    }
}
