//! What belongs to an earlier attempt, bid or connection changes nothing.

use std::sync::Arc;

use allexmaster_state::{
    BidAnswer, Connection, Event, Incarnation, InstanceName, LanAnswer, Outcome, RequestId,
    ResponseAnswer,
};
use serde_json::json;

use crate::story::{Stage, Story, need};

/// An attempt, and a connection, of long ago.
const OLD: Incarnation = Incarnation {
    sequence: 1,
    index: 0,
};
const OLD_CONNECTION: Connection = Connection(1);

#[test]
fn an_old_connection_says_nothing() {
    let mut story = Story::about("Everything that an earlier connection says is ignored.");
    story.brought_to("Time", Stage::Approved);
    let instance = InstanceName::from("Time");
    let connection = OLD_CONNECTION;
    story.happens(Event::LanConnected {
        connection,
        endpoint: Arc::from("ws://old:1"),
        address: Arc::from("10.9.9.9"),
        grace: None,
    });
    story.happens(Event::LanClosed {
        connection,
        reason: Arc::from("old"),
        silent: 0,
    });
    story.happens(Event::NeedsListed {
        connection,
        needs: Vec::new(),
    });
    story.happens(Event::NeedAppeared {
        connection,
        need: Arc::new(need("Other")),
    });
    story.happens(Event::NeedWithdrawn {
        connection,
        instance: instance.clone(),
    });
    story.happens(Event::ServiceDownAcknowledged {
        connection,
        instance,
    });
    story.end("stale_connection");
}

#[test]
fn an_old_bid_wins_nothing() {
    let mut story = Story::about(
        "Answers to a bid, or a response, that was given up are ignored; so are answers for a service that nobody knows.",
    );
    story
        .brought_to("Bidding", Stage::Listed)
        .brought_to("Responding", Stage::Responding);
    for name in ["Bidding", "Responding", "Nobody"] {
        let instance = InstanceName::from(name);
        story.happens(Event::BidAnswered {
            instance: instance.clone(),
            bid: OLD,
            answer: BidAnswer::Challenged,
        });
        story.happens(Event::ResponseAnswered {
            instance,
            bid: OLD,
            answer: ResponseAnswer::Refused(Arc::from("old")),
        });
    }
    story.end("stale_bid");
}

#[test]
fn an_old_attempt_says_nothing_and_an_unknown_child_is_killed() {
    let mut story = Story::about(
        "Reports on an attempt that is over are ignored, except that a child nobody waits for would be lost: it is killed.",
    );
    story.brought_to("Time", Stage::Starting);
    let identity = story.new_process();
    story.happens(Event::PortsProbed {
        incarnation: OLD,
        taken: Vec::new(),
    });
    story.happens(Event::ChildNotSpawned {
        incarnation: OLD,
        reason: Arc::from("old"),
        missing: None,
    });
    story.happens(Event::ChildReady { incarnation: OLD });
    story.happens(Event::ChildExited {
        incarnation: OLD,
        outcome: Outcome::Exited(0),
    });
    story.happens(Event::ChildSpawned {
        incarnation: OLD,
        identity,
        launcher: None,
    });
    story.end("stale_attempt");
}

#[test]
fn repeated_reports_on_the_present_attempt_change_nothing() {
    let mut story =
        Story::about("Probed, spawned, not spawned and ready, each once more than it happened.");
    story.brought_to("Time", Stage::Responding);
    story
        .ports_are_free("Time")
        .spawned("Time")
        .not_spawned("Time")
        .ready("Time");
    story.happens(Event::LanCallAnswered {
        request: RequestId(99),
        answer: LanAnswer::Done(json!(null)),
    });
    story
        .happens(Event::DeadlineReached)
        .end("repeated_reports");
}
