//! Whatever goes in: the log makes the sessions again, and that one goes on as the first one would.

use allexmaster_protocol::close::CloseReason;
use allexmaster_sessions::{ChildWire, ConnectionName, Input, Mark};
use allexmaster_state::{
    Connection, Incarnation, InstanceName, LanEffect, Need, PerProtocol, Pid, Port, Reply,
    RequestId, ServiceRecord, SessionEffect,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::world::{TOOL, World};

/// One thing that happens. Whom it concerns is chosen by a number among those that there are.
#[derive(Clone, Debug)]
enum Step {
    Accept(u32),
    Tool(usize, usize, usize),
    Open(usize, bool),
    Child(usize, usize, usize),
    Dial(bool),
    Lan(usize),
    Journaled(usize, u64),
    Look,
    Pass(u64),
    Send(usize, usize, bool),
    SendAll,
    End(usize, bool),
    Other(usize, u64),
    Bytes(usize, Vec<u8>),
    Split,
    Restart(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let eighths = prop_oneof![3 => Just(8_usize), 2 => 0..9_usize];
    let step = prop_oneof![
        3 => (0..3_u32).prop_map(Step::Accept),
        12 => (any::<usize>(), 0..10_usize, eighths.clone()).prop_map(|(who, what, cut)| Step::Tool(who, what, cut)),
        2 => (0..2_usize, any::<bool>()).prop_map(|(who, own)| Step::Open(who, own)),
        8 => (any::<usize>(), 0..8_usize, eighths.clone()).prop_map(|(who, what, cut)| Step::Child(who, what, cut)),
        2 => any::<bool>().prop_map(Step::Dial),
        8 => eighths.prop_map(Step::Lan),
        5 => (0..10_usize, 1..6_u64).prop_map(|(what, which)| Step::Journaled(what, which)),
        2 => Just(Step::Look),
        3 => prop_oneof![0..50_u64, 1_000..40_000_u64].prop_map(Step::Pass),
        3 => (any::<usize>(), 1..40_usize, any::<bool>()).prop_map(|(who, most, works)| Step::Send(who, most, works)),
        10 => Just(Step::SendAll),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(who, by_peer)| Step::End(who, by_peer)),
        2 => (0..5_usize, 1..6_u64).prop_map(|(what, which)| Step::Other(what, which)),
        1 => (any::<usize>(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(who, bytes)| Step::Bytes(who, bytes)),
        1 => Just(Step::Split),
        1 => any::<bool>().prop_map(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn sessions_are_made_again_of_their_log_and_go_on_alike(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            take(&mut world, step);
            world.check();
        }
    }
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Accept(socket) => {
            world.accept(socket);
        }
        Step::Tool(who, what, eighths) => {
            if let Some(line) = pick(world.tools.keys(), who) {
                let frame = tool_frame(world, &line, what);
                world.tool_says(&line, &frame, eighths);
            }
        }
        Step::Open(who, own_socket) => {
            let wire = if own_socket {
                ChildWire::OwnSocket
            } else {
                ChildWire::Inherited
            };
            world.open_child(["Time", "Clock"][who], wire);
        }
        Step::Child(who, what, eighths) => {
            if let Some(line) = pick(world.children.keys(), who) {
                match child_frame(what) {
                    Some(frame) => world.child_says(&line, &frame, eighths),
                    None => world.child_answers(&line, eighths),
                }
            }
        }
        Step::Dial(tls) => world.dial(tls),
        Step::Lan(eighths) => world.lan_answers(eighths),
        Step::Journaled(what, which) => world.journaled(effects(what, which)),
        Step::Look => world.answer_a_look(),
        Step::Pass(milliseconds) => world.pass(milliseconds),
        Step::Send(who, most, works) => {
            if let Some(line) = any_line(world, who) {
                world.send(&line, most, works);
            }
        }
        Step::SendAll => world.send_all(),
        Step::End(who, by_peer) => {
            if let Some(line) = any_line(world, who) {
                end(world, line, by_peer);
            }
        }
        Step::Other(what, which) => world.enter(&other(what, which)),
        Step::Bytes(who, bytes) => {
            if let Some(line) = any_line(world, who) {
                world.receive(&line, &bytes);
                world.mark(&line, Mark::Consumed);
            }
        }
        Step::Split => world.split(),
        Step::Restart(with_image) => world.restart(with_image),
    }
}

fn end(world: &mut World, line: ConnectionName, by_peer: bool) {
    world.tools.remove(&line);
    world.children.remove(&line);
    let reason = if by_peer {
        CloseReason::ByPeer
    } else {
        CloseReason::Io {
            reason: "no route".to_owned(),
        }
    };
    world.enter(&Input::Ended { name: line, reason });
}

fn pick<'names>(
    names: impl Iterator<Item = &'names ConnectionName>,
    who: usize,
) -> Option<ConnectionName> {
    let names: Vec<&ConnectionName> = names.collect();
    let count = names.len();
    (count > 0).then(|| names[who % count].clone())
}

fn any_line(world: &World, who: usize) -> Option<ConnectionName> {
    let lines = world.sessions().connections();
    pick(lines.iter().map(|(line, _)| line), who)
}

fn tool_frame(world: &mut World, line: &ConnectionName, what: usize) -> Value {
    let peer = world.tools.get_mut(line).unwrap();
    let call = peer.name_of_call();
    let Some(session) = peer.session.clone() else {
        let credentials = json!({"samemachineprocess": {"pid": TOOL, "role": "service"}});
        return json!([call, [null, credentials]]);
    };
    let of = json!([session, null]);
    match what {
        0 => json!([call, of, [".", ["status", []]]]),
        1 => json!([call, of, [".", ["restart", ["Time"]]]]),
        2 => json!([call, of, [".", ["notifyModuleEngaged", ["allex_x"]]]]),
        3 => json!([call, of, [".", ["needs", []]]]),
        4 => {
            json!([call, of, [".", ["addNeed", [{"instancename": "Time", "modulename": "allex_x"}]]]])
        }
        5 => json!([call, of, ["!", ["query", [{"continuous": true}]]]]),
        6 | 7 => json!([call, of, ["!", ["subConnect", ["Time", {"role": "user", "name": "t"}]]]]),
        8 => json!([
            call,
            [format!("tool{}", world.now), null],
            [".", ["add", [1, 2]]]
        ]),
        _ => json!([call, of, [".", ["noSuchMethod", []]]]),
    }
}

/// What a child says of itself; none: it answers.
fn child_frame(what: usize) -> Option<Value> {
    match what {
        0 => Some(json!({"child_init": 2})),
        1 => Some(json!(["oob", ["1", "s", {"p": ["debug"], "o": "s", "d": true}]])),
        2 => Some(json!(["oob", ["1", "-", true]])),
        3 => Some(json!({"uncaughtException": {"code": "X", "message": "no such thing"}})),
        _ => None,
    }
}

fn effects(what: usize, which: u64) -> Vec<SessionEffect> {
    let instance = InstanceName::from("Time");
    let connection = Connection(which);
    let bid = Incarnation {
        sequence: 1,
        index: 0,
    };
    let record = ServiceRecord {
        need: Need {
            instance: instance.clone(),
            module: "allex_x".into(),
            address: None,
            ports: PerProtocol::default(),
            details: Map::new(),
        }
        .into(),
        pid: Pid(2),
        ports: PerProtocol {
            tcp: Some(Port(1)),
            http: None,
            ws: None,
        },
        address: None,
    };
    let request = RequestId(which);
    match what {
        0 => vec![SessionEffect::Publish { record }],
        1 => vec![SessionEffect::Retract { instance }],
        2 => vec![SessionEffect::Reply {
            request,
            reply: Reply::Done(json!(true)),
        }],
        3 => vec![SessionEffect::HangUp { connection }],
        4 => vec![SessionEffect::Lan(LanEffect::Bid {
            connection,
            instance,
            bid,
            address: "127.0.0.1".into(),
        })],
        5 => vec![SessionEffect::Lan(LanEffect::Respond { bid, record })],
        6 => vec![SessionEffect::Lan(LanEffect::ReportDown {
            connection,
            instance,
        })],
        7 => vec![SessionEffect::Lan(LanEffect::AddNeed {
            connection,
            request,
            need: json!({}),
        })],
        8 => vec![SessionEffect::Lan(LanEffect::Abandon { instance, bid })],
        _ => Vec::new(),
    }
}

fn other(what: usize, which: u64) -> Input {
    match what {
        0 => Input::ChildFailed {
            incarnation: Incarnation {
                sequence: which,
                index: 0,
            },
            reason: "its ports do not answer".to_owned(),
        },
        1 => Input::JournalOut {
            outage: which.is_multiple_of(2).then(|| "no room".to_owned()),
        },
        2 => Input::DialFailed {
            connection: Connection(which),
            reason: "refused".to_owned(),
        },
        3 => Input::Stopping,
        _ => Input::Upgrading {
            request: RequestId(which),
            program: "/bin/true".into(),
        },
    }
}
