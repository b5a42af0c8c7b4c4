//! Effects: what the rules decide becomes answers, rows and ended sessions.

use allexmaster_protocol::frame::RemoteError;
use allexmaster_protocol::table::RowKey;
use serde_json::{Map, Value, json};

use super::{Request, Sessions, Task};
use crate::rules::{Effect, Opening, Refusal, Reply, RequestId, Row};

impl Sessions {
    /// Does what the rules decided. Times are milliseconds of a clock that does not go back.
    pub fn perform(&mut self, now: u64, effect: Effect) {
        match effect {
            Effect::Reply { request, reply } => self.reply(now, request, reply),
            Effect::NeedOpened { opening, row } => self.open(now, opening, row),
            Effect::NeedSatisfied { opening, row } => {
                tracing::info!(need = %opening.name, "a need is satisfied");
                // Whoever follows the table sees the row as it was satisfied, then its
                // end, as AllexJS words it.
                self.server.put_row(self.tables.needs, row);
                self.close(&opening);
            }
            Effect::NeedClosed { opening } => {
                tracing::info!(need = %opening.name, "a need is withdrawn");
                self.close(&opening);
            }
            Effect::ServiceUp { row } => self.server.put_row(self.tables.services, row),
            Effect::ServiceDown { name } => {
                tracing::info!(service = %name, "a service is down");
                let key = RowKey::of_text(name.as_str());
                self.server.remove_row(self.tables.services, &key);
            }
            Effect::NatListed { row } => self.server.put_row(self.tables.nat, row),
            Effect::ModuleListed { module } => {
                let row = Map::from_iter([("modulename".to_owned(), json!(module))]);
                self.server.put_row(self.tables.engaged_modules, row);
            }
            Effect::CheckPorts {
                check,
                address,
                ports,
            } => self.tasks.push_back(Task::CheckPorts {
                check,
                address,
                ports,
            }),
            Effect::WriteRuntimeNeeds { revision } => {
                self.tasks.push_back(Task::WriteRuntimeNeeds { revision });
            }
        }
    }

    fn open(&mut self, now: u64, opening: Opening, row: Row) {
        tracing::info!(need = %opening.name, "a need is open");
        let name = opening.name.clone();
        let (service, waiting) = self.openings.open(opening);
        self.server.put_row(self.tables.needs, row);
        for one in waiting {
            if let Some(known) = self.sessions.get_mut(&one.session) {
                known.waiting.retain(|(_, token)| *token != one.token);
            }
            tracing::debug!(need = %name, session = %one.session, "a session waited for this need");
            self.grant(now, one.token, &one.session, service, one.identity);
        }
    }

    /// Takes a need away; the sessions on it end.
    fn close(&mut self, opening: &Opening) {
        let key = RowKey::of_text(opening.name.as_str());
        self.server.remove_row(self.tables.needs, &key);
        for session in self.openings.close(opening) {
            self.server.kill(&session);
        }
    }

    /// Answers a request, if the one who asked is still there.
    fn reply(&mut self, now: u64, request: RequestId, reply: Reply) {
        match self.requests.remove(&request) {
            None => {}
            Some(Request::Introduction {
                token,
                master,
                address,
                is_ours,
            }) => {
                if let Reply::Welcome { reconnect_grace } = reply {
                    let grace = is_ours.then_some(reconnect_grace);
                    self.welcome(now, token, (master, &address), grace);
                }
            }
            Some(Request::Call { token, session }) => {
                if let Some(known) = self.sessions.get_mut(&session) {
                    known.requests.remove(&request);
                }
                self.server.answer(token, answer(reply));
            }
        }
    }
}

/// The answer as it goes over the wire.
fn answer(reply: Reply) -> Result<Value, RemoteError> {
    match reply {
        // AllexJS would put a time limit in the place of `true`, if it had one.
        Reply::BidActive { ticket } => Ok(json!({"bid": ticket, "c": true})),
        Reply::BidRejected => Ok(json!({"rejected": true})),
        Reply::Accepted { ticket } => Ok(json!({"a": ticket})),
        Reply::Welcome { .. } | Reply::Done => Ok(Value::Bool(true)),
        Reply::Count(count) => Ok(Value::from(count)),
        Reply::Module(module) => Ok(json!(module)),
        Reply::Refused(refusal) => Err(refused(refusal)),
    }
}

/// The refusals that AllexJS knows go out as it sends them: without words.
fn refused(refusal: Refusal) -> RemoteError {
    match refusal {
        Refusal::AlreadyDestroyed => RemoteError::already_destroyed(),
        Refusal::NoPortsReachable => RemoteError::no_ports_reachable(),
        Refusal::BiddingMismatch => RemoteError::new(refusal.code(), ""),
        Refusal::BidAlreadyWaiting
        | Refusal::TooManyBids
        | Refusal::CheckUnderWay
        | Refusal::IncompleteResponse
        | Refusal::TooManyNeeds
        | Refusal::TooManyModules => RemoteError::new(refusal.code(), refusal.to_string()),
    }
}
