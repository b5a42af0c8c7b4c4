//! Calls: what masters ask for becomes events, or is refused as AllexJS refuses it.

use allexmaster_protocol::frame::{RemoteError, SessionId, Target};
use allexmaster_protocol::server::{ServiceId, Token};
use allexmaster_protocol::vocabulary::method;
use serde_json::Value;

use super::arguments::Arguments;
use super::{KnownAs, ROOT, Request, SUBSERVICES, Sessions, Task};
use crate::rules::{
    self, Descriptor, InstanceName, MasterId, ModuleName, Need, NeedError, Opening, RequestId,
    Ticket,
};

/// Methods that AllexJS has on the user of the LanManager and does not export.
const HIDDEN_AT_ROOT: [&str; 5] = [
    "deleteMyNeeds",
    "startTheDyingProcedure",
    "baseStartTheDyingProcedure",
    "getSessionCtor",
    "destroy",
];

/// Methods of AllexJS's tables that change them: here only the rules do.
const HIDDEN_AT_TABLES: [&str; 6] = ["create", "update", "upsert", "delete", "spawn", "kill"];

/// Longest address that a bid may offer: an IPv6 address with its zone has less.
const MAX_OFFER_BYTES: usize = 64;

pub(super) struct Caller {
    pub(super) token: Token,
    pub(super) session: SessionId,
    pub(super) service: ServiceId,
    pub(super) target: Target,
    pub(super) role: String,
}

/// What a call comes to.
enum Outcome {
    /// An event, made with the number under which the answer will come.
    Ask(Box<dyn FnOnce(RequestId) -> rules::Event>),
    /// An answer that needs no event.
    Answer(Value),
}

impl Sessions {
    /// Takes a call that the server does not answer itself.
    pub(super) fn call(&mut self, caller: Caller, method: &str, arguments: Vec<Value>) {
        let arguments = Arguments::new(arguments);
        let outcome = match (&caller.target, caller.service) {
            (Target::User, ROOT) if caller.role == "user" => {
                root_call(method, arguments, self.master_of(&caller.session))
            }
            (Target::User, service) if is_table(service) && HIDDEN_AT_TABLES.contains(&method) => {
                Err(RemoteError::method_not_executable(method))
            }
            (Target::Session, service) if service != ROOT && !is_table(service) => {
                self.need_call(&caller, method, arguments)
            }
            (Target::User | Target::Session | Target::Sub(_), _) => {
                Err(RemoteError::method_does_not_exist(method))
            }
        };
        match outcome {
            Ok(Outcome::Answer(value)) => self.server.answer(caller.token, Ok(value)),
            Err(error) => self.server.answer(caller.token, Err(error)),
            Ok(Outcome::Ask(event)) => {
                let request = self.next_request();
                if let Some(known) = self.sessions.get_mut(&caller.session) {
                    known.requests.insert(request);
                }
                let call = Request::Call {
                    token: caller.token,
                    session: caller.session,
                };
                self.requests.insert(request, call);
                self.tasks.push_back(Task::Event(event(request)));
            }
        }
    }

    /// The master whose root session it is or is below of.
    fn master_of(&self, session: &SessionId) -> Option<MasterId> {
        self.sessions.get(session)?.master.clone()
    }

    /// A call on the session of an open need.
    fn need_call(
        &mut self,
        caller: &Caller,
        method: &str,
        arguments: Arguments,
    ) -> Result<Outcome, RemoteError> {
        let opening = self.openings.opening(caller.service).cloned();
        let opening = opening.ok_or_else(RemoteError::already_destroyed);
        let session = rules::SessionId::parse(caller.session.as_str());
        let session = session.map_err(|_| RemoteError::already_destroyed());
        match method {
            method::BID => {
                let master = self.master_of(&caller.session);
                let outcome = bid(opening?, (session?, master), arguments)?;
                if let Some(known) = self.sessions.get_mut(&caller.session) {
                    known.known_as = KnownAs::Bidder;
                }
                Ok(outcome)
            }
            method::RESPOND => {
                let master = self.master_of(&caller.session);
                let master = master.ok_or_else(RemoteError::already_destroyed)?;
                respond(opening?, session?, master, arguments)
            }
            _ => Err(RemoteError::method_does_not_exist(method)),
        }
    }
}

fn is_table(service: ServiceId) -> bool {
    SUBSERVICES.iter().any(|(_, number, _)| *number == service)
}

/// A call on the user of the LanManager.
fn root_call(
    method: &str,
    mut arguments: Arguments,
    caller: Option<MasterId>,
) -> Result<Outcome, RemoteError> {
    match method {
        method::ADD_NEED => add_need(arguments.object("Need object")?),
        method::REMOVE_NEED => match named(arguments.text("Instance name")?) {
            Some(name) => ask(|request| rules::Event::NeedRemoved { request, name }),
            None => Ok(Outcome::Answer(Value::Bool(true))),
        },
        method::NOTIFY_SERVICE_DOWN => match named(arguments.text("Service instancename")?) {
            Some(name) => ask(|request| rules::Event::ServiceDownReported {
                request,
                name,
                reporter: caller,
            }),
            None => Ok(Outcome::Answer(Value::from(0))),
        },
        method::NOTIFY_MODULE_ENGAGED => match arguments.text("modulename")? {
            None => Ok(Outcome::Answer(Value::Null)),
            Some(module) => {
                let module = ModuleName::parse(module)
                    .map_err(|error| RemoteError::wrong_argument(format!("modulename: {error}")))?;
                ask(|request| rules::Event::ModuleEngaged { request, module })
            }
        },
        _ if HIDDEN_AT_ROOT.contains(&method) => Err(RemoteError::method_not_executable(method)),
        _ => Err(RemoteError::method_does_not_exist(method)),
    }
}

fn add_need(need: Option<Value>) -> Result<Outcome, RemoteError> {
    match Need::from_json(need.unwrap_or(Value::Null)) {
        Ok(need) => ask(|request| rules::Event::NeedAdded { request, need }),
        Err(NeedError::NotDefined) => Err(RemoteError::need_not_defined()),
        Err(error @ (NeedError::Name { .. } | NeedError::Port(_) | NeedError::TooLarge(_))) => {
            Err(RemoteError::wrong_argument(error.to_string()))
        }
    }
}

/// A bid. One without an offering is for nothing, as in AllexJS.
fn bid(
    opening: Opening,
    (bidder, master): (rules::SessionId, Option<MasterId>),
    mut arguments: Arguments,
) -> Result<Outcome, RemoteError> {
    let Some(offering) = arguments.object("Bid offering")? else {
        return Ok(Outcome::Answer(serde_json::json!({"rejected": true})));
    };
    let offered = offering.get("ipaddress").and_then(Value::as_str);
    let offered = offered.filter(|address| !address.is_empty());
    if offered.is_some_and(|address| address.len() > MAX_OFFER_BYTES) {
        let sentence = "Bid offering: \"ipaddress\" is too long for an address";
        return Err(RemoteError::wrong_argument(sentence));
    }
    let offered = offered.map(str::to_owned);
    ask(|request| rules::Event::BidPlaced {
        request,
        opening,
        bidder,
        offered,
        master,
    })
}

fn respond(
    opening: Opening,
    bidder: rules::SessionId,
    master: MasterId,
    mut arguments: Arguments,
) -> Result<Outcome, RemoteError> {
    let ticket = arguments.text("Bid ticket")?;
    let response = arguments.object("Response to bid challenge")?;
    let ticket = ticket.and_then(|ticket| Ticket::parse(ticket).ok());
    let ticket = ticket.ok_or_else(RemoteError::already_destroyed)?;
    let descriptor = match Descriptor::from_json(&response.unwrap_or(Value::Null)) {
        Ok(descriptor) => Some(descriptor),
        Err(error) => {
            tracing::info!(%opening, %error, "a bidder responded without saying where its service runs");
            None
        }
    };
    ask(|request| rules::Event::Responded {
        request,
        opening,
        bidder,
        master,
        ticket,
        descriptor,
    })
}

fn ask(event: impl FnOnce(RequestId) -> rules::Event + 'static) -> Result<Outcome, RemoteError> {
    Ok(Outcome::Ask(Box::new(event)))
}

/// A name that something can have; nothing has an empty or endless one.
fn named(text: Option<String>) -> Option<InstanceName> {
    text.and_then(|text| InstanceName::parse(text).ok())
}
