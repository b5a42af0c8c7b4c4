//! One event of each kind, and one of each variant that a kind has within.

use std::sync::Arc;

use allexmaster_state::{
    BidAnswer, BootId, Connection, Descendant, Ended, Event, Holder, Identity, Incarnation,
    InstanceName, JournalId, LanAnswer, Launcher, Listed, MissingPackage, ModuleName, Need,
    Outcome, PerProtocol, Pid, Place, Port, RequestId, ResponseAnswer, Sender, Settings,
    StopSource, Survivor,
};
use serde_json::{Map, Value, json};

const CONNECTION: Connection = Connection(2);
const REQUEST: RequestId = RequestId(41);
const BID: Incarnation = Incarnation {
    sequence: 5,
    index: 1,
};

/// The first of the chain.
pub(crate) fn first() -> Event {
    let serves = PerProtocol {
        tcp: false,
        http: true,
        ws: false,
    };
    let mut settings = Settings::default();
    settings.launchers.insert(
        ModuleName::from("exec:web"),
        Launcher {
            serves,
            takes: serves,
            command: None,
        },
    );
    Event::SettingsLoaded { settings }
}

/// The one after `event`; the chain ends after the last kind. A new kind of
/// event does not compile here before it has its sample.
pub(crate) fn after(event: &Event) -> Option<Event> {
    Some(match event {
        Event::SettingsLoaded { .. } => started(false),
        Event::MasterStarted { resumed: false, .. } => started(true),
        Event::MasterStarted { resumed: true, .. } => connected(None),
        Event::LanConnected { grace: None, .. } => connected(Some(30_000)),
        Event::LanConnected { grace: Some(_), .. } => closed(0),
        Event::LanClosed { silent: 0, .. } => closed(20_000),
        Event::LanClosed { .. } => Event::NeedsListed {
            connection: CONNECTION,
            needs: vec![bare_need(), full_need()],
        },
        Event::NeedsListed { .. } => Event::NeedAppeared {
            connection: CONNECTION,
            need: full_need(),
        },
        Event::NeedAppeared { .. } => Event::NeedWithdrawn {
            connection: CONNECTION,
            instance: instance(),
        },
        Event::NeedWithdrawn { .. } => Event::ServicesListed {
            connection: CONNECTION,
            services: [
                Place::Here,
                Place::Elsewhere(Arc::from("192.168.1.8:16000")),
                Place::Nowhere,
            ]
            .map(|place| Listed {
                instance: instance(),
                place,
            })
            .into(),
        },
        Event::ServicesListed { .. } => bid_answered(BidAnswer::Challenged),
        Event::BidAnswered { answer, .. } => match answer {
            BidAnswer::Challenged => bid_answered(BidAnswer::Rejected),
            BidAnswer::Rejected => bid_answered(BidAnswer::Failed(Arc::from("timeout"))),
            BidAnswer::Failed(_) => response_answered(ResponseAnswer::Approved),
        },
        Event::ResponseAnswered { answer, .. } => match answer {
            ResponseAnswer::Approved => response_answered(ResponseAnswer::Unreachable),
            ResponseAnswer::Unreachable => {
                response_answered(ResponseAnswer::Refused(Arc::from("NOT_ACCEPTED")))
            }
            ResponseAnswer::Refused(_) => {
                response_answered(ResponseAnswer::Failed(Arc::from("timeout")))
            }
            ResponseAnswer::Failed(_) => Event::ServiceDownAcknowledged {
                connection: CONNECTION,
                instance: instance(),
            },
        },
        Event::ServiceDownAcknowledged { .. } => Event::PortsProbed {
            incarnation: BID,
            taken: vec![Port(15_000), Port(17_000)],
            holders: Vec::new(),
        },
        Event::PortsProbed { holders, .. } if holders.is_empty() => Event::PortsProbed {
            incarnation: BID,
            taken: vec![Port(15_000)],
            holders: vec![(
                Port(15_000),
                Holder {
                    pid: Pid(4_711),
                    name: Arc::from("nginx"),
                },
            )],
        },
        Event::PortsProbed { .. } => Event::ChildSpawned {
            incarnation: BID,
            identity: identity(),
            launcher: None,
        },
        Event::ChildSpawned { .. } => Event::ChildNotSpawned {
            incarnation: BID,
            reason: Arc::from("python3: not found"),
            missing: None,
        },
        Event::ChildNotSpawned { missing: None, .. } => Event::ChildNotSpawned {
            incarnation: BID,
            reason: Arc::from("the module is not installed"),
            missing: Some(MissingPackage {
                package: Arc::from("allex_timeservice"),
                folder: Arc::from("/srv/allex"),
            }),
        },
        Event::ChildNotSpawned {
            missing: Some(_), ..
        } => Event::ChildReady { incarnation: BID },
        Event::ChildReady { .. } => Event::ChildFailed {
            incarnation: BID,
            reason: Arc::from("port 17000 is in use by another program"),
        },
        Event::ChildFailed { .. } => exited(Outcome::Exited(1)),
        Event::ChildExited { outcome, .. } => match outcome {
            Outcome::Exited(_) => exited(Outcome::Signaled(9)),
            Outcome::Signaled(_) => exited(Outcome::Lost(Arc::from("not our child"))),
            Outcome::Lost(_) => module_engaged(None),
        },
        Event::ModuleEngaged { request: None, .. } => module_engaged(Some(REQUEST)),
        Event::ModuleEngaged {
            request: Some(_), ..
        } => Event::StopRequested {
            request: Some(REQUEST),
            source: StopSource::Operator,
            urgent: false,
        },
        Event::StopRequested { source, urgent, .. } => match source {
            StopSource::Operator if !urgent => Event::StopRequested {
                request: Some(REQUEST),
                source: StopSource::Operator,
                urgent: true,
            },
            StopSource::Operator => Event::StopRequested {
                request: None,
                source: StopSource::Signal,
                urgent: false,
            },
            StopSource::Signal => Event::StopRequested {
                request: None,
                source: StopSource::Interrupt,
                urgent: false,
            },
            StopSource::Interrupt => Event::RestartRequested {
                request: REQUEST,
                instance: instance(),
                sender: None,
            },
        },
        Event::RestartRequested { .. } => Event::AddNeedRequested {
            request: REQUEST,
            need: json!({ "instancename": "Web", "modulename": "exec:web" }),
            sender: None,
        },
        Event::AddNeedRequested { .. } => Event::RemoveNeedRequested {
            request: REQUEST,
            instance: instance(),
            sender: None,
        },
        Event::RemoveNeedRequested { .. } => lan_answered(LanAnswer::Done(json!("Web"))),
        Event::LanCallAnswered { answer, .. } => match answer {
            LanAnswer::Done(_) => lan_answered(LanAnswer::Refused {
                code: Some(Arc::from("ALREADY_EXISTS")),
                message: Arc::from("there is a need of this name"),
            }),
            LanAnswer::Refused { .. } => Event::DeadlineReached,
        },
        Event::DeadlineReached => Event::ClockJumped { by: 3_600_000 },
        Event::ClockJumped { .. } => Event::ForeignListener {
            incarnation: BID,
            port: Port(17_000),
        },
        Event::ForeignListener { .. } => install_ended(None),
        Event::InstallEnded {
            complaint: None, ..
        } => install_ended(Some("E404")),
        Event::InstallEnded {
            complaint: Some(_), ..
        } => Event::HoldRequested {
            request: REQUEST,
            instance: instance(),
            sender: Some(sender()),
        },
        Event::HoldRequested { .. } => Event::StartRequested {
            request: REQUEST,
            instance: instance(),
            sender: None,
        },
        Event::StartRequested { .. } => Event::DescendantsLeft {
            incarnation: BID,
            outcome: Outcome::Exited(0),
            left: vec![
                descendant(true, &[]),
                descendant(false, &["127.0.0.1:17000"]),
            ],
        },
        Event::DescendantsLeft { .. } => Event::DescendantsEnded {
            incarnation: BID,
            killed: vec![Pid(102)],
            left: vec![Pid(103)],
        },
        Event::DescendantsEnded { .. } => Event::StraysFound {
            strays: vec![Survivor {
                incarnation: BID,
                identity: identity(),
            }],
        },
        Event::StraysFound { .. } => Event::PortsFreed {
            ports: vec![Port(15_000), Port(17_000)],
        },
        Event::PortsFreed { .. } => return None,
    })
}

fn descendant(in_group: bool, listens: &[&str]) -> Descendant {
    Descendant {
        identity: identity(),
        in_group,
        listens: listens.iter().copied().map(Arc::from).collect(),
    }
}

fn sender() -> Sender {
    Sender {
        uid: 1_000,
        name: Some(Arc::from("ann")),
        pid: Pid(4_711),
    }
}

fn install_ended(complaint: Option<&str>) -> Event {
    Event::InstallEnded {
        package: Arc::from("allex_timeservice"),
        complaint: complaint.map(Arc::from),
    }
}

fn module_engaged(request: Option<RequestId>) -> Event {
    Event::ModuleEngaged {
        module: ModuleName::from("allex_timeservice"),
        request,
    }
}

fn started(resumed: bool) -> Event {
    Event::MasterStarted {
        journal: JournalId::from("6a7c1f7e-3b0e-4f2b-9c55-0a4f1e2d3c4b"),
        boot: boot(),
        pid: Pid(100),
        survivors: vec![Survivor {
            incarnation: BID,
            identity: identity(),
        }],
        ended: vec![Ended {
            incarnation: Incarnation {
                sequence: 7,
                index: 0,
            },
            outcome: Outcome::Exited(0),
        }],
        resumed,
    }
}

fn connected(grace: Option<u64>) -> Event {
    Event::LanConnected {
        connection: CONNECTION,
        endpoint: Arc::from("ws://127.0.0.1:23552"),
        address: Arc::from("192.168.1.7"),
        grace,
    }
}

fn closed(silent: u64) -> Event {
    Event::LanClosed {
        connection: CONNECTION,
        reason: Arc::from("no pong within 10 s"),
        silent,
    }
}

fn bid_answered(answer: BidAnswer) -> Event {
    Event::BidAnswered {
        instance: instance(),
        bid: BID,
        answer,
    }
}

fn response_answered(answer: ResponseAnswer) -> Event {
    Event::ResponseAnswered {
        instance: instance(),
        bid: BID,
        answer,
    }
}

fn exited(outcome: Outcome) -> Event {
    Event::ChildExited {
        incarnation: BID,
        outcome,
    }
}

fn lan_answered(answer: LanAnswer) -> Event {
    Event::LanCallAnswered {
        request: REQUEST,
        answer,
    }
}

fn instance() -> InstanceName {
    InstanceName::from("Web")
}

fn boot() -> BootId {
    BootId::from("f2d2b1f0-5d3e-4b43-8a53-0b6a3e3a1c11")
}

fn identity() -> Identity {
    Identity {
        boot: boot(),
        pid: Pid(4_242),
        started: 987_654,
    }
}

fn bare_need() -> Arc<Need> {
    Arc::new(Need {
        instance: InstanceName::from("Time"),
        module: ModuleName::from("sample:clock"),
        address: None,
        ports: PerProtocol::default(),
        details: Map::new(),
    })
}

fn full_need() -> Arc<Need> {
    let mut details = Map::new();
    details.insert("propertyhash".into(), json!({ "color": "blue" }));
    details.insert("strategies".into(), Value::Null);
    Arc::new(Need {
        instance: instance(),
        module: ModuleName::from("exec:web"),
        address: Some(Arc::from("192.168.1.0/24")),
        ports: PerProtocol {
            tcp: None,
            http: Some(Port(8_080)),
            ws: None,
        },
        details,
    })
}
