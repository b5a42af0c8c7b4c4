//! The one function that decides.

use allexmaster_machine::Stamp;

use super::effect::Effect;
use super::event::Event;
use super::state::State;
use super::{bidding, masters, needs};

/// The number of an event kind in the journal. Never reused, never changed.
#[must_use]
pub fn kind(event: &Event) -> u16 {
    match event {
        Event::FilesRead { .. } => 1,
        Event::Started { .. } => 2,
        Event::MasterConnected { .. } => 3,
        Event::MasterGone { .. } => 4,
        Event::NeedAdded { .. } => 5,
        Event::NeedRemoved { .. } => 6,
        Event::BidPlaced { .. } => 7,
        Event::BidderGone { .. } => 8,
        Event::Responded { .. } => 9,
        Event::PortsChecked { .. } => 10,
        Event::ServiceDownReported { .. } => 11,
        Event::ModuleEngaged { .. } => 12,
        Event::RuntimeNeedsWritten { .. } => 13,
        Event::DeadlineReached => 14,
        Event::CaughtUp => 15,
    }
}

/// Takes one event into the state and says what must be done. Total: there is no
/// event that it refuses, and a request that is refused is answered by an effect.
#[must_use]
pub fn step(mut state: State, stamp: Stamp, event: Event) -> (State, Vec<Effect>) {
    let mut effects = Vec::new();
    let change = &mut Change {
        state: &mut state,
        effects: &mut effects,
        stamp,
    };
    match event {
        Event::FilesRead { first, files } => needs::files_read(change, first, files),
        Event::Started { settings } => needs::started(change, settings),
        Event::MasterConnected {
            request,
            master,
            address,
            identity,
        } => masters::connected(change, request, master, address, identity),
        Event::MasterGone { master } => masters::gone(change, &master),
        Event::NeedAdded { request, need } => needs::added(change, request, need),
        Event::NeedRemoved { request, name } => needs::removed(change, request, &name),
        Event::BidPlaced {
            request,
            opening,
            bidder,
            offered,
            master,
        } => {
            let offer = bidding::Offer {
                request,
                bidder,
                master,
                address: offered,
            };
            bidding::placed(change, &opening, offer);
        }
        Event::BidderGone { opening, bidder } => bidding::bidder_gone(change, &opening, &bidder),
        Event::Responded {
            request,
            opening,
            bidder,
            master,
            ticket,
            descriptor,
        } => {
            let response = bidding::Response {
                request,
                bidder,
                master,
                ticket,
                descriptor,
            };
            bidding::responded(change, &opening, response);
        }
        Event::PortsChecked { check, reachable } => {
            bidding::ports_checked(change, &check, reachable);
        }
        Event::ServiceDownReported {
            request,
            name,
            reporter,
        } => needs::service_down_reported(change, request, &name, reporter.as_ref()),
        Event::ModuleEngaged { request, module } => needs::module_engaged(change, request, module),
        Event::RuntimeNeedsWritten { revision } => needs::runtime_needs_written(change, revision),
        Event::DeadlineReached => masters::deadline_reached(change),
        Event::CaughtUp => masters::caught_up(change),
    }
    #[cfg(debug_assertions)]
    state.assert_invariants();
    (state, effects)
}

/// One step under way: what the topic modules work on.
pub(super) struct Change<'step> {
    pub(super) state: &'step mut State,
    pub(super) effects: &'step mut Vec<Effect>,
    pub(super) stamp: Stamp,
}

impl Change<'_> {
    /// Adds an effect.
    pub(super) fn perform(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Answers a request.
    pub(super) fn reply(&mut self, request: super::RequestId, reply: super::Reply) {
        self.perform(Effect::Reply { request, reply });
    }

    pub(super) fn refuse(&mut self, request: super::RequestId, refusal: super::Refusal) {
        self.reply(request, super::Reply::Refused(refusal));
    }
}
