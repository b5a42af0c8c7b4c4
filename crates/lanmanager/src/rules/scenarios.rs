//! What the rules do, as transcripts (snapshots/lanmanager__*).

use allexmaster_machine::Wall;
use serde_json::{Value, json};

use super::transcript::Scenario;
use super::*;

fn name(text: &str) -> InstanceName {
    InstanceName::parse(text).unwrap()
}

fn need(value: Value) -> Need {
    Need::from_json(value).unwrap()
}

/// The files ask for the time service; two events.
fn start(scenario: &mut Scenario, at: u64) {
    let time = json!({"instancename": "Time", "modulename": "allex_timeservice"});
    let needs = vec![need(time)];
    let files = Files {
        needs,
        ..Files::default()
    };
    start_with(scenario, at, files);
}

/// The files say something else; two events.
fn start_with(scenario: &mut Scenario, at: u64, files: Files) {
    scenario.event(at, Event::FilesRead { first: true, files });
    let settings = Settings {
        ip_strategies: vec![IpStrategy {
            ip: "127.0.0.1/32".to_owned(),
            role: "user".to_owned(),
        }],
        reconnect_grace: 3_000,
        edition: 0,
    };
    scenario.event(at, Event::Started { settings });
}

fn connected(master: &str, address: &str) -> Event {
    Event::MasterConnected {
        request: RequestId(0),
        master: MasterId::parse(master).unwrap(),
        address: Address::parse(address).unwrap(),
        identity: None,
    }
}

fn gone(master: &str) -> Event {
    Event::MasterGone {
        master: MasterId::parse(master).unwrap(),
    }
}

fn opening(text: &str, since: u64) -> Opening {
    Opening {
        name: name(text),
        since,
    }
}

fn bid(request: u64, opening: Opening, bidder: &str) -> Event {
    Event::BidPlaced {
        request: RequestId(request),
        opening,
        bidder: SessionId::parse(bidder).unwrap(),
        offered: Some("127.0.0.1".to_owned()),
        master: None,
    }
}

fn respond(request: u64, opening: Opening, bidder: &str, master: &str, ticket: &str) -> Event {
    let descriptor =
        json!({"ipaddress": "127.0.0.1", "pid": 7, "httpport": 16000, "wsport": 17000});
    Event::Responded {
        request: RequestId(request),
        opening,
        bidder: SessionId::parse(bidder).unwrap(),
        master: MasterId::parse(master).unwrap(),
        ticket: Ticket::parse(ticket).unwrap(),
        descriptor: Descriptor::from_json(&descriptor).ok(),
    }
}

fn unusable(mut event: Event) -> Event {
    if let Event::Responded { descriptor, .. } = &mut event {
        *descriptor = None;
    }
    event
}

fn checked(opening: Opening, response: u64, reachable: bool) -> Event {
    Event::PortsChecked {
        check: PortsCheck { opening, response },
        reachable,
    }
}

/// Opened by a master that says who it is.
fn introduced(master: &str, address: &str, name: &str) -> Event {
    let mut event = connected(master, address);
    if let Event::MasterConnected { identity, .. } = &mut event {
        *identity = MasterIdentity::parse(name).ok();
    }
    event
}

/// A bid of a session below a root session.
fn bid_below(request: u64, opening: Opening, bidder: &str, of: &str) -> Event {
    let mut event = bid(request, opening, bidder);
    if let Event::BidPlaced { master, .. } = &mut event {
        *master = MasterId::parse(of).ok();
    }
    event
}

fn down(request: u64, text: &str, of: &str) -> Event {
    Event::ServiceDownReported {
        request: RequestId(request),
        name: name(text),
        reporter: MasterId::parse(of).ok(),
    }
}

/// Master `m1` of 10.0.0.1, which says that it is A, runs the service `Time`; six
/// events have happened.
fn running_at_a(prose: &str) -> Scenario {
    let mut scenario = Scenario::new(prose);
    start(&mut scenario, 0);
    scenario.event(10, introduced("m1", "10.0.0.1", "A"));
    scenario.event(20, bid_below(1, opening("Time", 2), "b1", "m1"));
    scenario.event(30, respond(2, opening("Time", 2), "b1", "m1", "bid-4"));
    scenario.event(40, checked(opening("Time", 2), 5, true));
    scenario
}

/// Master `m1` of 10.0.0.1 runs the service `Time`; six events have happened.
fn running(prose: &str) -> Scenario {
    let mut scenario = Scenario::new(prose);
    start(&mut scenario, 0);
    scenario.event(10, connected("m1", "10.0.0.1"));
    scenario.event(20, bid(1, opening("Time", 2), "b1"));
    scenario.event(30, respond(2, opening("Time", 2), "b1", "m1", "bid-4"));
    scenario.event(40, checked(opening("Time", 2), 5, true));
    scenario
}

#[track_caller]
fn assert_transcript(snapshot: &str, scenario: Scenario) {
    assert_text(snapshot, &scenario.text());
}

#[track_caller]
fn assert_text(snapshot: &str, text: &str) {
    allexmaster_testkit::assert_snapshot(&format!("lanmanager__{snapshot}"), text);
}

#[test]
fn a_start_merges_the_layers_and_tells_all_tables() {
    let mut scenario =
        Scenario::new("The files say what is needed; the tables are told all of it.");
    start_with(
        &mut scenario,
        0,
        Files {
            needs: vec![need(
                json!({"instancename": "Time", "modulename": "allex_timeservice"}),
            )],
            overlay: vec![need(
                json!({"instancename": "Time", "ipaddress": "10.0.0.0/8"}),
            )],
            runtime: vec![need(
                json!({"instancename": "Web", "modulename": "exec:web"}),
            )],
            nat: vec![need(json!({"instancename": "row"})).fields().clone()],
        },
    );
    assert_transcript("start", scenario);
}

#[test]
fn a_bid_a_response_and_reachable_ports_make_a_service() {
    assert_transcript(
        "bid_to_service",
        running("One master bids, responds, and its ports answer."),
    );
}

#[test]
fn a_second_bid_waits_and_ends_with_the_need() {
    let mut scenario = Scenario::new(
        "A second bid is not answered while the first is active. A repeated bid of the \
         active bidder is answered as before. When the need is satisfied, both are over.",
    );
    start(&mut scenario, 0);
    scenario.event(10, connected("m1", "10.0.0.1"));
    scenario.event(20, bid(1, opening("Time", 2), "b1"));
    scenario.event(30, bid(2, opening("Time", 2), "b2"));
    scenario.event(31, bid(3, opening("Time", 2), "b2"));
    scenario.event(32, bid(4, opening("Time", 2), "b1"));
    scenario.event(40, respond(5, opening("Time", 2), "b1", "m1", "bid-4"));
    scenario.event(50, checked(opening("Time", 2), 8, true));
    assert_transcript("second_bid", scenario);
}

#[test]
fn the_next_bid_has_its_turn_when_the_first_bidder_goes() {
    let mut scenario = Scenario::new(
        "Three bid; the second gives up, then the first while its ports are checked: the \
         third has its turn, and the late result of the check means nothing.",
    );
    start(&mut scenario, 0);
    scenario.event(10, connected("m1", "10.0.0.1"));
    for (request, bidder) in [(1, "b1"), (2, "b2"), (3, "b3")] {
        scenario.event(20, bid(request, opening("Time", 2), bidder));
    }
    let bidder_gone = |bidder: &str| Event::BidderGone {
        opening: opening("Time", 2),
        bidder: SessionId::parse(bidder).unwrap(),
    };
    scenario.event(30, bidder_gone("b2"));
    scenario.event(40, respond(4, opening("Time", 2), "b1", "m1", "bid-4"));
    scenario.event(50, bidder_gone("b1"));
    scenario.event(60, checked(opening("Time", 2), 8, true));
    assert_transcript("next_bid", scenario);
}

#[test]
fn dead_ports_leave_the_ticket_good_for_another_response() {
    let mut scenario =
        Scenario::new("The ports do not answer at first; the same ticket is used again.");
    start(&mut scenario, 0);
    scenario.event(10, connected("m1", "10.0.0.1"));
    scenario.event(20, bid(1, opening("Time", 2), "b1"));
    scenario.event(30, respond(2, opening("Time", 2), "b1", "m1", "bid-4"));
    scenario.event(31, respond(3, opening("Time", 2), "b1", "m1", "bid-4"));
    scenario.event(40, checked(opening("Time", 2), 5, false));
    scenario.event(50, respond(4, opening("Time", 2), "b1", "m1", "bid-4"));
    scenario.event(60, checked(opening("Time", 2), 8, true));
    assert_transcript("dead_ports", scenario);
}

#[test]
fn bids_and_responses_that_do_not_fit_are_refused() {
    let mut scenario = Scenario::new(
        "For another machine; for a need that is not open or an earlier opening; without \
         a bid; with a wrong ticket; from the wrong session; for a master that is not there; without a \
         place.",
    );
    start_with(
        &mut scenario,
        0,
        Files {
            needs: vec![
                need(json!({"instancename": "Here", "ipaddress": "10.0.0.0/8"})),
                need(json!({"instancename": "Time"})),
            ],
            ..Files::default()
        },
    );
    scenario.event(10, connected("m1", "10.0.0.1"));
    scenario.event(20, bid(1, opening("Here", 2), "b1"));
    scenario.event(21, bid(2, opening("Nowhere", 2), "b1"));
    scenario.event(22, bid(3, opening("Time", 0), "b1"));
    scenario.event(23, respond(4, opening("Time", 2), "b1", "m1", "bid-2"));
    scenario.event(24, bid(5, opening("Time", 2), "b1"));
    scenario.event(25, respond(6, opening("Time", 2), "b1", "m1", "bid-2"));
    scenario.event(26, respond(7, opening("Time", 2), "b2", "m1", "bid-8"));
    scenario.event(27, respond(8, opening("Time", 2), "b1", "m9", "bid-8"));
    scenario.event(
        28,
        unusable(respond(9, opening("Time", 2), "b1", "m1", "bid-8")),
    );
    assert_transcript("refused_bids", scenario);
}

#[test]
fn a_service_reported_down_is_needed_again() {
    let mut scenario =
        running("The master reports its service down; a second report finds nothing.");
    let report = |request: u64| Event::ServiceDownReported {
        request: RequestId(request),
        name: name("Time"),
        reporter: None,
    };
    scenario.event(50, report(3));
    scenario.event(60, report(4));
    assert_transcript("service_down", scenario);
}

#[test]
fn a_gone_masters_services_are_needed_after_the_grace() {
    let mut scenario = running("The master's connection closes and nobody comes back.");
    scenario.event(1_000, gone("m1"));
    scenario.event(1_500, Event::DeadlineReached);
    scenario.event(4_000, Event::DeadlineReached);
    assert_transcript("grace_ends", scenario);
}

#[test]
fn a_master_that_comes_back_is_asked_at_once() {
    let mut scenario = running(
        "The master's connection closes and it connects again within the grace: its \
         services are needs at once, so that it answers from its running children.",
    );
    scenario.event(1_000, gone("m1"));
    scenario.event(1_100, connected("m2", "10.0.0.1"));
    assert_transcript("master_back", scenario);
}

#[test]
fn another_client_leaves_the_services_of_those_who_are_there() {
    let mut scenario = running(
        "A second client from the same address, then one from another address: the first \
         master is there, so its service stands (the JavaScript LanManager deletes it).",
    );
    scenario.event(1_000, connected("m2", "10.0.0.1"));
    scenario.event(1_100, connected("m3", "10.0.0.2"));
    scenario.event(1_200, gone("m2"));
    scenario.event(1_300, gone("m9"));
    assert_transcript("second_client", scenario);
}

#[test]
fn services_stand_over_a_restart_until_the_grace_ends() {
    let mut scenario = running(
        "The LanManager starts again: the service stands, its owner is gone. Nobody comes \
         back, so it is needed when the grace ends.",
    );
    start(&mut scenario, 10_000);
    scenario.event(13_000, Event::DeadlineReached);
    assert_transcript("restart", scenario);
}

#[test]
fn needs_are_added_changed_and_removed() {
    let mut scenario = Scenario::new(
        "Added; added again as it is; changed while somebody bids for it; written; removed; \
         removed although nobody wants it.",
    );
    let added = |request: u64, port: u16| Event::NeedAdded {
        request: RequestId(request),
        need: need(json!({"instancename": "Web", "modulename": "exec:web", "httpport": port})),
    };
    let removed = |request: u64| Event::NeedRemoved {
        request: RequestId(request),
        name: name("Web"),
    };
    start_with(&mut scenario, 0, Files::default());
    scenario.event(10, added(1, 80));
    scenario.event(20, added(2, 80));
    scenario.event(30, bid(3, opening("Web", 3), "b1"));
    scenario.event(40, added(4, 81));
    scenario.event(50, Event::RuntimeNeedsWritten { revision: 2 });
    scenario.event(60, removed(5));
    scenario.event(70, removed(6));
    assert_transcript("needs_by_request", scenario);
}

#[test]
fn a_master_that_is_back_takes_its_services_over() {
    let mut scenario = running_at_a(
        "A is back with a second session while the first still seems to be there; the first \
         then ends, and so does the second: nothing changes in the tables until the grace of \
         the second is over.",
    );
    scenario.event(50, introduced("m2", "10.0.0.1", "A"));
    scenario.event(60, gone("m1"));
    scenario.event(70, gone("m2"));
    scenario.event(80, introduced("m3", "10.0.0.1", "A"));
    scenario.event(90, gone("m3"));
    scenario.event(3_090, Event::DeadlineReached);
    assert_transcript("taken_over", scenario);
}

#[test]
fn what_a_half_open_session_has_bid_for_is_free() {
    let mut scenario = Scenario::new(
        "A bids, its line breaks unseen, and it is back: its earlier bid ends, and B, which \
         waited, has its turn.",
    );
    start(&mut scenario, 0);
    scenario.event(10, introduced("m1", "10.0.0.1", "A"));
    scenario.event(11, introduced("m2", "10.0.0.2", "B"));
    scenario.event(20, bid_below(1, opening("Time", 2), "b1", "m1"));
    scenario.event(21, bid_below(2, opening("Time", 2), "b2", "m2"));
    scenario.event(30, introduced("m3", "10.0.0.1", "A"));
    assert_transcript("half_open_bid", scenario);
}

#[test]
fn a_stranger_at_the_same_address_releases_nothing() {
    let mut scenario = running_at_a(
        "A is gone. Two others come from its address, one that says who it is and one that \
         does not; A is back in time.",
    );
    scenario.event(50, gone("m1"));
    scenario.event(60, introduced("m2", "10.0.0.1", "B"));
    scenario.event(70, connected("m3", "10.0.0.1"));
    scenario.event(80, introduced("m4", "10.0.0.1", "A"));
    scenario.event(4_000, Event::DeadlineReached);
    assert_transcript("stranger", scenario);
}

#[test]
fn a_master_that_is_back_with_another_address_is_asked_anew_and_first() {
    let mut scenario = running_at_a(
        "A is back from another address: its row is out of date. It is asked first, so the \
         bid of B waits although it came before.",
    );
    scenario.state.settings.edition = EDITION;
    scenario.event(41, introduced("m2", "10.0.0.2", "B"));
    scenario.event(50, introduced("m3", "10.0.0.9", "A"));
    scenario.event(60, bid_below(3, opening("Time", 8), "b2", "m2"));
    scenario.event(70, bid_below(4, opening("Time", 8), "b3", "m3"));
    assert_transcript("another_address", scenario);
}

#[test]
fn a_master_that_is_back_twice_with_another_address_does_not_wait_for_itself() {
    let mut scenario = running_at_a(
        "A is back from another address, and again, while the session before still seems to be \
         there: nothing is kept for that one any more.",
    );
    scenario.state.settings.edition = EDITION;
    scenario.event(50, introduced("m3", "10.0.0.9", "A"));
    scenario.event(60, introduced("m4", "10.0.0.9", "A"));
    scenario.event(70, bid_below(4, opening("Time", 7), "b4", "m4"));
    assert_transcript("another_address_twice", scenario);
}

#[test]
fn a_master_of_javascript_that_is_back_is_asked_first_for_as_long_as_the_grace() {
    let mut scenario = running(
        "A master that does not say who it is is back, and does not bid: B has its turn when \
         the time for that is over.",
    );
    scenario.state.settings.edition = EDITION;
    scenario.event(41, introduced("m2", "10.0.0.2", "B"));
    scenario.event(50, gone("m1"));
    scenario.event(60, connected("m3", "10.0.0.1"));
    scenario.event(70, bid_below(3, opening("Time", 9), "b2", "m2"));
    scenario.event(3_060, Event::DeadlineReached);
    assert_transcript("asked_first", scenario);
}

#[test]
fn after_a_start_the_grace_counts_from_when_all_are_in() {
    let mut scenario = running_at_a(
        "The LanManager starts again. Long after its grace would be over the doors have \
         caught up; the grace of A begins then.",
    );
    let settings = Settings {
        ip_strategies: Vec::new(),
        reconnect_grace: 3_000,
        edition: EDITION,
    };
    let wanted = json!({"instancename": "Time", "modulename": "allex_timeservice"});
    let files = Files {
        needs: vec![need(wanted)],
        ..Files::default()
    };
    scenario.event(1_000, Event::FilesRead { first: true, files });
    scenario.event(1_000, Event::Started { settings });
    assert_eq!(scenario.state.next_deadline(), None);
    scenario.event(9_000, Event::DeadlineReached);
    scenario.event(9_000, Event::CaughtUp);
    scenario.event(12_000, Event::DeadlineReached);
    assert_transcript("caught_up", scenario);
}

#[test]
fn the_end_of_a_copy_that_is_not_the_listed_one_ends_nothing() {
    let mut scenario = running_at_a(
        "B, at the address of A, reports the end of its own copy of Time; then A that of the \
         listed one.",
    );
    scenario.event(41, introduced("m2", "10.0.0.1", "B"));
    scenario.event(50, down(3, "Time", "m2"));
    scenario.event(60, down(4, "Time", "m1"));
    assert_transcript("down_of_a_copy", scenario);
}

#[test]
fn a_removed_need_of_the_files_stays_removed_until_its_entry_is_changed() {
    let mut scenario = Scenario::new(
        "A need of the file is removed. It does not come back with the next start, but does \
         when its entry is changed.",
    );
    let start = |scenario: &mut Scenario, at, module: &str| {
        let needs = vec![need(json!({"instancename": "Web", "modulename": module}))];
        let files = Files {
            needs,
            ..Files::default()
        };
        scenario.event(at, Event::FilesRead { first: true, files });
        let settings = Settings {
            edition: EDITION,
            ..Settings::default()
        };
        scenario.event(at, Event::Started { settings });
        scenario.event(at, Event::RuntimeNeedsWritten { revision: 1 });
    };
    start(&mut scenario, 0, "exec:web");
    let removed = Event::NeedRemoved {
        request: RequestId(1),
        name: name("Web"),
    };
    scenario.event(10, removed);
    scenario.event(11, Event::RuntimeNeedsWritten { revision: 1 });
    start(&mut scenario, 20, "exec:web");
    assert_eq!(scenario.state.counts(), (0, 0));
    start(&mut scenario, 30, "exec:other");
    assert_eq!(scenario.state.counts(), (1, 0));
    assert_transcript("removed_for_good", scenario);
}

#[test]
fn a_removed_need_leaves_its_service_running_but_not_coming_back() {
    let mut scenario =
        running("The need of a running service is removed; then the service goes down.");
    scenario.event(
        50,
        Event::NeedRemoved {
            request: RequestId(3),
            name: name("Time"),
        },
    );
    scenario.event(
        60,
        Event::ServiceDownReported {
            request: RequestId(4),
            name: name("Time"),
            reporter: None,
        },
    );
    assert_transcript("removed_while_running", scenario);
}

#[test]
fn a_need_added_while_its_service_runs_waits_for_its_end() {
    let mut scenario = running(
        "While the service runs its need is added (nothing changes), removed and added \
         again: then it comes back when the service goes down.",
    );
    let added = |request: u64| Event::NeedAdded {
        request: RequestId(request),
        need: need(json!({"instancename": "Time", "modulename": "other"})),
    };
    scenario.event(50, added(3));
    scenario.event(
        60,
        Event::NeedRemoved {
            request: RequestId(4),
            name: name("Time"),
        },
    );
    scenario.event(70, added(5));
    scenario.event(
        80,
        Event::ServiceDownReported {
            request: RequestId(6),
            name: name("Time"),
            reporter: None,
        },
    );
    assert_transcript("added_while_running", scenario);
}

#[test]
fn an_acknowledged_need_survives_a_crash_before_its_file_was_written() {
    let mut scenario = Scenario::new(
        "A need is added and acknowledged, the LanManager crashes before needs.runtime is \
         written: at the start the journal counts, and the file is written again.",
    );
    start_with(&mut scenario, 0, Files::default());
    scenario.event(
        10,
        Event::NeedAdded {
            request: RequestId(1),
            need: need(json!({"instancename": "Web", "modulename": "exec:web"})),
        },
    );
    start_with(&mut scenario, 20, Files::default());
    scenario.event(30, Event::RuntimeNeedsWritten { revision: 1 });
    start_with(&mut scenario, 40, Files::default());
    assert_transcript("crash_before_file", scenario);
}

#[test]
fn engaged_modules_are_listed_once() {
    let mut scenario = Scenario::new("A module is engaged twice.");
    start_with(&mut scenario, 0, Files::default());
    for request in [1, 2] {
        scenario.event(
            10,
            Event::ModuleEngaged {
                request: RequestId(request),
                module: ModuleName::parse("allex_timeservice").unwrap(),
            },
        );
    }
    assert_transcript("engaged_modules", scenario);
}

/// The recorded form of events is a format: what stands in a journal must be readable
/// for ever. A changed line here needs a new kind number and a conversion.
#[test]
fn events_keep_their_recorded_form() {
    let module = ModuleName::parse("m").unwrap();
    let time = || opening("Time", 1);
    let bidder_gone = Event::BidderGone {
        opening: time(),
        bidder: SessionId::parse("b").unwrap(),
    };
    let files = Files {
        needs: vec![need(json!({"instancename": "Time"}))],
        ..Files::default()
    };
    let settings = Settings {
        ip_strategies: vec![IpStrategy {
            ip: "127.0.0.1/32".to_owned(),
            role: "user".to_owned(),
        }],
        reconnect_grace: 3_000,
        edition: 0,
    };
    let request = RequestId(1);
    let events = [
        Event::FilesRead { first: true, files },
        Event::Started { settings },
        connected("m1", "10.0.0.1"),
        gone("m1"),
        Event::NeedAdded {
            request,
            need: need(json!({"instancename": "Time"})),
        },
        Event::NeedRemoved {
            request,
            name: name("Time"),
        },
        bid(1, time(), "b"),
        bidder_gone,
        respond(1, time(), "b", "m1", "bid-1"),
        checked(time(), 1, true),
        Event::ServiceDownReported {
            request,
            name: name("Time"),
            reporter: None,
        },
        Event::ModuleEngaged { request, module },
        Event::RuntimeNeedsWritten { revision: 1 },
        Event::DeadlineReached,
        Event::CaughtUp,
        introduced("m1", "10.0.0.1", "A"),
        bid_below(1, time(), "b", "m1"),
        down(1, "Time", "m1"),
    ];
    let lines = events
        .iter()
        .map(|event| format!("{} {}", kind(event), json!(event)));
    assert_text("event_forms", &lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_next_deadline_names_its_reason() {
    let mut scenario = running("");
    assert_eq!(scenario.state.next_deadline(), None);
    scenario.event(1_000, gone("m1"));
    let reason = DeadlineReason::ReconnectGraceEnds {
        master: MasterId::parse("m1").unwrap(),
        address: Address::parse("10.0.0.1").unwrap(),
    };
    assert_eq!(scenario.state.next_deadline(), Some((Wall(4_000), reason)));
}

#[test]
fn waiting_bids_are_bounded() {
    let mut scenario = Scenario::new("");
    start(&mut scenario, 0);
    for number in 0..=super::bidding::MAX_WAITING_BIDS {
        let number = number as u64;
        let effects = scenario.event(1, bid(number, opening("Time", 2), &format!("b{number}")));
        assert_eq!(effects.len(), usize::from(number == 0));
    }
    let effects = scenario.event(2, bid(9_999, opening("Time", 2), "late"));
    let refused = Effect::Reply {
        request: RequestId(9_999),
        reply: Reply::Refused(Refusal::TooManyBids),
    };
    assert_eq!(effects, [refused]);
}
