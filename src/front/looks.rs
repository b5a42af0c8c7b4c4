//! Questions about the state, answered from it. They are no events: nothing is decided.

use std::sync::Arc;

use allexmaster_inspect::source::Page;
use allexmaster_journal::{Compaction, Stopped, Wish};
use allexmaster_state::{Reply, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::driver::Shared;
use super::input::Input;
use super::upgrade;
use crate::local::asked::Asked;
use crate::machine::EventInbox;
use crate::status;

/// Has a question answered, on the loop's thread.
pub(super) fn look(shared: &Arc<Shared>, request: RequestId, asked: Asked) {
    let answering = Arc::clone(shared);
    shared.runtime.spawn(async move {
        let inbox = &answering.inbox;
        let answer = match asked {
            Asked::Status => {
                let endpoint = answering.endpoints.first().map(ToString::to_string);
                let endpoint = endpoint.unwrap_or_default();
                let keeper = answering.keeper();
                let outage = inbox.outage();
                let look = inbox.look(move |state| {
                    json(&status::status(state, &endpoint, keeper, outage.as_ref()))
                });
                look.await
            }
            Asked::Needs => inbox.look(|state| json(&status::needs(state))).await,
            // The loop is the only user of the journal.
            Asked::Journal(wish) => {
                let page = inbox.read(move |journal| Page::read(journal, wish));
                page.await.map(|page| json(&page))
            }
            Asked::Compact(wish) => compact(inbox, wish).await.map(|done| json(&done)),
            Asked::Upgrade(program) => return upgrade::begin(&answering, request, program),
            // Those are events.
            Asked::Stop
            | Asked::Restart(_)
            | Asked::Kill(_)
            | Asked::AddNeed(_)
            | Asked::RemoveNeed(_)
            | Asked::ModuleEngaged(_) => return,
        };
        // Where the loop has ended, the program ends.
        if let Ok(value) = answer {
            let reply = Reply::Done(value);
            answering.enter(Input::Answered { request, reply });
        }
    });
}

/// What became of the wish to compact the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compacted {
    /// It was done, or would be.
    Done(Compaction),
    /// Why it was not.
    Refused(String),
}

/// A compaction, which goes on beside the loop.
async fn compact(inbox: &EventInbox, wish: Wish) -> Result<Compacted, Stopped> {
    let begun = inbox.read(move |journal| journal.compact_in_background(wish));
    Ok(match begun.await?.await {
        Ok(Ok(told)) => Compacted::Done(told),
        Ok(Err(error)) => Compacted::Refused(error.to_string()),
        Err(_) => Compacted::Refused("the master has stopped meanwhile".to_owned()),
    })
}

/// A document as JSON. Texts and numbers always have a JSON form.
fn json(document: &impl Serialize) -> Value {
    serde_json::to_value(document).unwrap_or_default()
}
