//! What the LanManager answers to our calls.

use std::sync::Arc;

use allexmaster_protocol::client::{CallError, reserved_session};
use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::filter::Row;
use allexmaster_protocol::table::RowKey;
use allexmaster_state::{
    BidAnswer, Event, Incarnation, InstanceName, LanAnswer, RequestId, ResponseAnswer,
};
use serde_json::Value;

use super::{Conversation, Output, Purpose, Table, VERDICT_TIMEOUT_MS, Verdict};
use crate::rows::brief;

/// The longest answer to a relayed call that is kept as it is, as JSON text.
const MAX_ANSWER_BYTES: usize = 64 * 1_024;

impl Conversation {
    pub(super) fn answered(
        &mut self,
        now: u64,
        purpose: Purpose,
        outcome: Result<Value, CallError>,
    ) {
        match purpose {
            Purpose::Introduce => self.fail("did not let us in", outcome.err()),
            Purpose::Reach(table) | Purpose::Claim(table) | Purpose::Follow(table) => {
                self.table_answered(now, table, outcome);
            }
            Purpose::ReachNeed { instance, bid } | Purpose::ClaimNeed { instance, bid } => {
                self.need_reached(now, instance, bid, outcome);
            }
            Purpose::Bid { instance, bid } => self.bid_answered(instance, bid, outcome),
            Purpose::Respond { instance, bid } => {
                self.response_answered(now, instance, bid, outcome);
            }
            Purpose::ReportDown(instance) => self.down_answered(now, instance, outcome),
            Purpose::Relay(request) => self.relayed(request, outcome),
            // One that failed is followed by the next.
            Purpose::ReadAgain(_) => {}
        }
    }

    pub(super) fn fail(&mut self, what: &str, error: Option<CallError>) {
        let reason = match error {
            Some(CallError::ConnectionEnded(_)) => return,
            Some(error) => format!("it {what}: {error}"),
            None => format!("it {what}"),
        };
        self.client.closed(CloseReason::Handshake { reason });
    }

    pub(super) fn table_answered(
        &mut self,
        now: u64,
        table: Table,
        outcome: Result<Value, CallError>,
    ) {
        let reserved = outcome.as_ref().ok().and_then(reserved_session);
        match reserved {
            Some(session) => {
                let call = self.client.claim(now, &session);
                self.calls.insert(call, Purpose::Claim(table));
            }
            None => {
                let name = table.name();
                self.fail(&format!("does not let us follow its {name}"), outcome.err());
            }
        }
    }

    pub(super) fn need_reached(
        &mut self,
        now: u64,
        instance: InstanceName,
        bid: Incarnation,
        outcome: Result<Value, CallError>,
    ) {
        match (outcome.as_ref().ok().and_then(reserved_session), outcome) {
            (Some(session), _) => {
                let call = self.client.claim(now, &session);
                self.calls
                    .insert(call, Purpose::ClaimNeed { instance, bid });
            }
            (None, Ok(_)) => self.bid_failed(instance, bid, "the need went away"),
            (None, Err(error)) => self.bid_failed(instance, bid, &error.to_string()),
        }
    }

    pub(super) fn bid_failed(&mut self, instance: InstanceName, bid: Incarnation, why: &str) {
        let why = brief(&format!("the bid came to nothing: {why}"));
        self.emit(Event::BidAnswered {
            instance,
            bid,
            answer: BidAnswer::Failed(why),
        });
    }

    pub(super) fn bid_answered(
        &mut self,
        instance: InstanceName,
        bid: Incarnation,
        outcome: Result<Value, CallError>,
    ) {
        let value = match outcome {
            Ok(value) => value,
            Err(error) => return self.bid_failed(instance, bid, &error.to_string()),
        };
        let answer = if let Some(ticket) = value.get("bid") {
            if let Some(open) = self.bids.get_mut(&instance).filter(|open| open.bid == bid) {
                open.ticket = Some(ticket.clone());
            }
            BidAnswer::Challenged
        } else if value.get("rejected").is_some() {
            BidAnswer::Rejected
        } else if value.get("a").is_some() {
            BidAnswer::Failed(Arc::from("somebody else has satisfied the need"))
        } else {
            BidAnswer::Failed(Arc::from(
                "the LanManager answered the bid in an unknown way",
            ))
        };
        self.emit(Event::BidAnswered {
            instance,
            bid,
            answer,
        });
    }

    pub(super) fn response_answered(
        &mut self,
        now: u64,
        instance: InstanceName,
        bid: Incarnation,
        outcome: Result<Value, CallError>,
    ) {
        let answer = match outcome {
            Ok(value) if value.get("a").is_some() => {
                self.end_bid(now, &instance);
                ResponseAnswer::Approved
            }
            Ok(_) => {
                ResponseAnswer::Refused(Arc::from("the LanManager answered in an unknown way"))
            }
            Err(CallError::Remote(error))
                if error.code.as_deref() == Some("NO_PORTS_REACHABLE") =>
            {
                ResponseAnswer::Unreachable
            }
            Err(CallError::Remote(error)) => ResponseAnswer::Refused(brief(&error.to_string())),
            Err(CallError::SessionEnded | CallError::SessionUnknown) => {
                return self.await_verdict(now, instance, bid);
            }
            Err(
                error @ (CallError::TimedOut { .. }
                | CallError::AuthenticationFailed
                | CallError::UnexpectedAnswer
                | CallError::ConnectionEnded(_)),
            ) => ResponseAnswer::Failed(Arc::from(error.to_string())),
        };
        self.emit(Event::ResponseAnswered {
            instance,
            bid,
            answer,
        });
    }

    /// The need's session ended without an answer: an approval ends it too.
    pub(super) fn await_verdict(&mut self, now: u64, instance: InstanceName, bid: Incarnation) {
        let row = self.bids.get(&instance).filter(|open| open.bid == bid);
        let Some(row) = row.and_then(|open| open.row.clone()) else {
            return;
        };
        let until = now + VERDICT_TIMEOUT_MS;
        self.verdicts.push_back(Verdict {
            until,
            instance,
            bid,
            row,
        });
        self.look_for_verdicts();
    }

    pub(super) fn look_for_verdicts(&mut self) {
        let mut open = std::mem::take(&mut self.verdicts);
        open.retain(|verdict| {
            let key = RowKey::of_text(verdict.instance.as_str());
            let listed = self.services.mirror.get(&key);
            let approved = listed.is_some_and(|row| is_ours(&row, &verdict.row));
            if approved {
                let (instance, bid) = (verdict.instance.clone(), verdict.bid);
                let answer = ResponseAnswer::Approved;
                self.outputs
                    .push_back(Output::Emit(Event::ResponseAnswered {
                        instance,
                        bid,
                        answer,
                    }));
            }
            !approved
        });
        self.verdicts = open;
    }

    pub(super) fn down_answered(
        &mut self,
        now: u64,
        instance: InstanceName,
        outcome: Result<Value, CallError>,
    ) {
        match outcome {
            // Not heard: told again.
            Err(CallError::TimedOut { .. }) => return self.report_down(now, instance),
            Err(CallError::ConnectionEnded(_)) => return,
            Err(error) => {
                self.outputs.push_back(Output::Warn(format!(
                    "the LanManager refused to hear that {instance} is down: {error}"
                )));
            }
            Ok(_) => {}
        }
        let connection = self.connection;
        self.emit(Event::ServiceDownAcknowledged {
            connection,
            instance,
        });
    }

    pub(super) fn relayed(&mut self, request: RequestId, outcome: Result<Value, CallError>) {
        let answer = match outcome {
            Ok(value) if is_small(&value) => LanAnswer::Done(value),
            Ok(_) => LanAnswer::Done(Value::from("done; the answer is too long to be told")),
            Err(CallError::Remote(error)) => LanAnswer::Refused {
                message: brief(&error.to_string()),
                code: error.code.as_deref().map(brief),
            },
            // The rules know how long the caller waits.
            Err(_) => return,
        };
        self.emit(Event::LanCallAnswered { request, answer });
    }
}

/// Whether a row of the LanManager's services is the one that we responded with.
fn is_ours(row: &Row, responded: &Row) -> bool {
    ["instancename", "ipaddress", "tcpport", "httpport", "wsport"]
        .iter()
        .all(|column| row.get(*column) == responded.get(*column))
}

/// Whether an answer is small enough for an event: `addNeed` and `removeNeed` say `true`.
fn is_small(value: &Value) -> bool {
    value.to_string().len() <= MAX_ANSWER_BYTES
}
