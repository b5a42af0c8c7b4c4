//! What holds for every sequence of events: late, doubled, stale and mad ones too.

use allexmaster_machine::{Stamp, Wall};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn names() -> impl Strategy<Value = InstanceName> {
    prop::sample::select(vec!["A", "B", "C"]).prop_map(|text| InstanceName::parse(text).unwrap())
}

fn masters() -> impl Strategy<Value = MasterId> {
    prop::sample::select(vec!["m1", "m2", "m3", "m4"])
        .prop_map(|text| MasterId::parse(text).unwrap())
}

fn identities() -> impl Strategy<Value = Option<MasterIdentity>> {
    let named = prop::sample::select(vec!["A", "B"]);
    prop::option::of(named.prop_map(|text| MasterIdentity::parse(text).unwrap()))
}

fn bidders() -> impl Strategy<Value = SessionId> {
    prop::sample::select(vec!["b1", "b2", "b3"]).prop_map(|text| SessionId::parse(text).unwrap())
}

fn needs() -> impl Strategy<Value = Need> {
    (names(), prop::option::of(0..3_u16)).prop_map(|(name, port)| {
        Need::from_json(json!({"instancename": name, "httpport": port})).unwrap()
    })
}

/// An event before it is known which openings, tickets and checks are current.
#[derive(Clone, Debug)]
enum Draft {
    Ready(Event),
    Bid(InstanceName, SessionId, Option<MasterId>),
    BidderGone(InstanceName, SessionId),
    /// Any session responds with the ticket of the active bid.
    Respond(InstanceName, SessionId, MasterId),
    RespondRightly(InstanceName, MasterId),
    Checked(InstanceName, bool),
    Stale(InstanceName, SessionId),
}

fn drafts() -> impl Strategy<Value = Draft> {
    let request = RequestId(1);
    let address = prop::sample::select(vec!["10.0.0.1", "10.0.0.2"])
        .prop_map(|text| Address::parse(text).unwrap());
    let files = || {
        let layer = || prop::collection::vec(needs(), 0..4);
        (layer(), layer()).prop_map(|(needs, runtime)| Files {
            needs,
            runtime,
            ..Files::default()
        })
    };
    let settings = || Settings {
        ip_strategies: Vec::new(),
        reconnect_grace: 50,
        edition: EDITION,
    };
    prop_oneof![
        1 => (any::<bool>(), files()).prop_map(|(first, files)| Draft::Ready(Event::FilesRead { first, files })),
        1 => Just(Draft::Ready(Event::Started { settings: settings() })),
        3 => (masters(), address, identities()).prop_map(move |(master, address, identity)| Draft::Ready(Event::MasterConnected { request, master, address, identity })),
        2 => masters().prop_map(|master| Draft::Ready(Event::MasterGone { master })),
        3 => needs().prop_map(move |need| Draft::Ready(Event::NeedAdded { request, need })),
        1 => names().prop_map(move |name| Draft::Ready(Event::NeedRemoved { request, name })),
        2 => (names(), prop::option::of(masters())).prop_map(move |(name, reporter)| Draft::Ready(Event::ServiceDownReported { request, name, reporter })),
        1 => Just(Draft::Ready(Event::CaughtUp)),
        1 => (0..9_u64).prop_map(|revision| Draft::Ready(Event::RuntimeNeedsWritten { revision })),
        1 => Just(Draft::Ready(Event::DeadlineReached)),
        4 => (names(), bidders(), prop::option::of(masters())).prop_map(|(name, bidder, master)| Draft::Bid(name, bidder, master)),
        2 => (names(), bidders()).prop_map(|(name, bidder)| Draft::BidderGone(name, bidder)),
        2 => (names(), bidders(), masters()).prop_map(|(name, bidder, master)| Draft::Respond(name, bidder, master)),
        4 => (names(), masters()).prop_map(|(name, master)| Draft::RespondRightly(name, master)),
        6 => (names(), prop::bool::weighted(0.8)).prop_map(|(name, reachable)| Draft::Checked(name, reachable)),
        1 => (names(), bidders()).prop_map(|(name, bidder)| Draft::Stale(name, bidder)),
    ]
}

fn event(state: &State, draft: Draft) -> Event {
    let request = RequestId(1);
    let current = |name: &InstanceName| Opening {
        name: name.clone(),
        since: state.open.get(name).map_or(0, |need| need.since),
    };
    let active = |name: &InstanceName| state.open.get(name).and_then(|need| need.active.clone());
    let ticket = |name: &InstanceName| {
        active(name).map_or_else(|| Ticket::from_sequence(0), |active| active.ticket)
    };
    let descriptor = || {
        let value = json!({"ipaddress": "10.0.0.1", "pid": 1, "wsport": 1});
        Descriptor::from_json(&value).ok()
    };
    match draft {
        Draft::Ready(event) => event,
        Draft::Bid(name, bidder, master) => Event::BidPlaced {
            request,
            opening: current(&name),
            bidder,
            offered: None,
            master,
        },
        Draft::BidderGone(name, bidder) => Event::BidderGone {
            opening: current(&name),
            bidder,
        },
        Draft::Respond(name, bidder, master) => Event::Responded {
            request,
            opening: current(&name),
            bidder,
            master,
            ticket: ticket(&name),
            descriptor: descriptor(),
        },
        Draft::RespondRightly(name, master) => Event::Responded {
            request,
            opening: current(&name),
            bidder: active(&name).map_or_else(
                || SessionId::parse("nobody").unwrap(),
                |active| active.bidder,
            ),
            master,
            ticket: ticket(&name),
            descriptor: descriptor(),
        },
        Draft::Checked(name, reachable) => {
            let response = match active(&name).map(|active| active.progress) {
                Some(super::state::Progress::Checking { response, .. }) => response,
                Some(super::state::Progress::Preparing) | None => 0,
            };
            let opening = current(&name);
            Event::PortsChecked {
                check: PortsCheck { opening, response },
                reachable,
            }
        }
        Draft::Stale(name, bidder) => Event::BidderGone {
            opening: Opening { name, since: 0 },
            bidder,
        },
    }
}

fn play(drafts: Vec<(u64, Draft)>) -> (State, Vec<(Stamp, Event)>, Vec<Effect>) {
    let mut state = State::default();
    let (mut history, mut performed) = (Vec::new(), Vec::new());
    let mut at = 0;
    for (sequence, (pause, draft)) in (1..).zip(drafts) {
        at += pause;
        let stamp = Stamp {
            sequence,
            at: Wall(at),
            entropy: 0,
        };
        let event = event(&state, draft);
        history.push((stamp, event.clone()));
        let (next, effects) = step(state, stamp, event);
        next.check().unwrap();
        state = next;
        performed.extend(effects);
    }
    (state, history, performed)
}

/// The tables as a client sees them that follows the effects since the last start.
#[derive(Debug, Default, PartialEq)]
struct Tables {
    needs: std::collections::BTreeSet<InstanceName>,
    services: std::collections::BTreeSet<InstanceName>,
}

impl Tables {
    fn follow(&mut self, effect: &Effect) {
        let named = |row: &Row| InstanceName::parse(row["instancename"].as_str().unwrap()).unwrap();
        match effect {
            Effect::NeedOpened { opening, .. } => assert!(self.needs.insert(opening.name.clone())),
            Effect::NeedSatisfied { opening, .. } | Effect::NeedClosed { opening } => {
                assert!(self.needs.remove(&opening.name));
            }
            Effect::ServiceUp { row } => assert!(self.services.insert(named(row))),
            Effect::ServiceDown { name } => assert!(self.services.remove(name)),
            Effect::Reply { .. }
            | Effect::NatListed { .. }
            | Effect::ModuleListed { .. }
            | Effect::CheckPorts { .. }
            | Effect::WriteRuntimeNeeds { .. } => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_and_a_replay_gives_the_same_state(
        drafts in prop::collection::vec((0..30_u64, drafts()), 0..120),
    ) {
        let (live, history, _) = play(drafts);
        let mut replayed = State::default();
        for (stamp, event) in history {
            let recorded = serde_json::to_vec(&event).unwrap();
            let event = serde_json::from_slice(&recorded).unwrap();
            replayed = step(replayed, stamp, event).0;
        }
        prop_assert_eq!(&replayed, &live);
        let stored: State = serde_json::from_slice(&serde_json::to_vec(&live).unwrap()).unwrap();
        prop_assert_eq!(stored, live);
    }

    #[test]
    fn the_tables_follow_from_the_effects_alone(
        drafts in prop::collection::vec((0..30_u64, drafts()), 0..120),
    ) {
        let mut state = State::default();
        let mut tables = Tables::default();
        for (sequence, (pause, draft)) in (1..).zip(drafts) {
            let stamp = Stamp { sequence, at: Wall(pause * sequence), entropy: 0 };
            let event = event(&state, draft);
            if matches!(event, Event::Started { .. }) {
                tables = Tables::default();
            }
            let (next, effects) = step(state, stamp, event);
            effects.iter().for_each(|effect| tables.follow(effect));
            state = next;
            prop_assert!(tables.needs.iter().eq(state.open.keys()));
            prop_assert!(tables.services.iter().eq(state.services.keys()));
        }
    }

    #[test]
    fn no_service_outlives_its_master_and_the_grace(
        drafts in prop::collection::vec((0..30_u64, drafts()), 0..120),
    ) {
        let (mut state, history, _) = play(drafts);
        let (mut sequence, mut at) = history.last().map_or((0, 0), |(stamp, _)| (stamp.sequence, stamp.at.0));
        let everybody: Vec<_> = state.masters.keys().cloned().collect();
        let departures = everybody.into_iter().map(|master| (0, Event::MasterGone { master }));
        for (pause, event) in departures.chain([(0, Event::CaughtUp), (1_000, Event::DeadlineReached)]) {
            sequence += 1;
            at += pause;
            state = step(state, Stamp { sequence, at: Wall(at), entropy: 0 }, event).0;
        }
        prop_assert!(state.services.is_empty());
        prop_assert!(state.masters.is_empty());
        prop_assert_eq!(state.next_deadline(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn files_in_parts_are_the_files(needs in prop::collection::vec(needs(), 0..5), size in 0..50_000_usize) {
        let row = Row::from_iter([("text".to_owned(), json!("x".repeat(size)))]);
        let files = Files { needs: needs.clone(), overlay: needs.clone(), runtime: needs, nat: vec![row; 9] };
        let mut whole = Files::default();
        for part in files.clone().into_parts() {
            prop_assert!(serde_json::to_vec(&part).unwrap().len() < 1024 * 1024);
            whole.extend(part);
        }
        prop_assert_eq!(whole, files);
    }
}
