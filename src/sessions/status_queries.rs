//! Questions about the state, answered from it. They are no events: nothing is decided.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use allexmaster_inspect::source::{Page, PageWish};
use allexmaster_journal::{Compaction, Hole, Journal, Stopped};
use allexmaster_state::{Reply, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::runtime::Shared;
use super::{reload, upgrade};
use crate::logs;
use crate::machine::EventInbox;
use crate::status::{self, JournalDocument};
use allexmaster_sessions::{CompactionRequest, Input, LocalRequest};

/// Has a question answered, on the loop's thread.
pub(super) fn answer(shared: &Arc<Shared>, request: RequestId, asked: LocalRequest) {
    let answering = Arc::clone(shared);
    shared.runtime.spawn(async move {
        let inbox = &answering.inbox;
        let answer = match asked {
            LocalRequest::Status => {
                let config = Arc::clone(&answering.config);
                let file = answering
                    .runtime
                    .spawn_blocking(move || status::configuration(&config));
                let Ok(file) = file.await else {
                    return; // the program ends
                };
                let accepted = answering.config.accepted();
                let endpoint = accepted
                    .config
                    .lan_endpoints
                    .first()
                    .map(ToString::to_string);
                let endpoint = endpoint.unwrap_or_default();
                let keeper = answering.keeper();
                let outage = inbox.outage();
                let look = inbox
                    .look(move |state| status::status(state, &endpoint, keeper, outage.as_ref()));
                match look.await {
                    Ok(mut status) => {
                        status.configuration = Some(file);
                        status.journal.holes = holes(&answering).await;
                        name_largest_log(&mut status.journal, &answering.log_folder);
                        Ok(json(&status))
                    }
                    Err(stopped) => Err(stopped),
                }
            }
            LocalRequest::Needs => {
                let needs = inbox.look(status::needs).await;
                needs.map(|needs| json(&needs))
            }
            // The loop is the only user of the journal.
            LocalRequest::Journal(request) => {
                let page = inbox.read(move |journal| {
                    Page::read(
                        journal,
                        PageWish {
                            from: request.from,
                            most: request.most,
                            base: request.base,
                            state: request.state,
                        },
                    )
                });
                match page.await {
                    Ok(mut page) if request.base == Some(0) && request.state.is_none() => {
                        page.holes = holes(&answering).await;
                        Ok(json(&page))
                    }
                    page => page.map(|page| json(&page)),
                }
            }
            LocalRequest::Compact(request) => compact(inbox, request).await.map(|done| json(&done)),
            LocalRequest::Configuration => {
                Ok(json(&status::in_force(&answering.config.accepted())))
            }
            LocalRequest::Reload { dry_run } => {
                let reloaded = reload::reload(&answering, dry_run).await;
                reloaded.map(|reloaded| json(&reloaded))
            }
            LocalRequest::Upgrade(program) => return upgrade::begin(&answering, request, program),
            // Those are events.
            LocalRequest::Stop
            | LocalRequest::StopNow
            | LocalRequest::Restart(_)
            | LocalRequest::Hold(_)
            | LocalRequest::Start(_)
            | LocalRequest::Kill(_)
            | LocalRequest::AddNeed(_)
            | LocalRequest::RemoveNeed(_)
            | LocalRequest::ModuleEngaged(_) => return,
        };
        // Where the loop has ended, the program ends.
        if let Ok(value) = answer {
            let reply = Reply::Done(value);
            answering.enter(Input::Answered { request, reply });
        }
    });
}

/// Where the journal cannot be written, the log that takes the most room of the disk is a part of the reason.
fn name_largest_log(journal: &mut JournalDocument, logs: &Path) {
    let Some(reason) = &mut journal.reason else {
        return;
    };
    if let Some((file, bytes)) = logs::largest(logs) {
        reason.push_str(&format!(
            "; the largest log is {} with {} kB",
            file.display(),
            bytes.div_ceil(1000)
        ));
    }
}

/// Writes into the log which events of the journal are damaged.
pub(super) async fn warn_of_holes(shared: Arc<Shared>) {
    for hole in holes(&shared).await {
        tracing::warn!(
            "{hole}; nothing else is lost, and `allexmaster journal compact` removes the damage"
        );
    }
}

/// The damaged stretches of the journal's sealed history. Its files are read beside the loop, and only those
/// that have changed since the last time.
async fn holes(shared: &Shared) -> Vec<Hole> {
    let Ok(Ok(span)) = shared.inbox.read(Journal::span).await else {
        // The journal is closed; there is an outage, which is told.
        return Vec::new();
    };
    let survey = Arc::clone(&shared.survey);
    let look = move || {
        let mut survey = survey.lock().unwrap_or_else(PoisonError::into_inner);
        survey.look(&span)
    };
    let looked = shared.runtime.spawn_blocking(look).await;
    looked.unwrap_or_default()
}

/// What became of the request to compact the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compacted {
    /// It was done, or would be.
    Done(Compaction),
    /// Why it was not.
    Refused(String),
}

/// A compaction, which goes on beside the loop.
async fn compact(inbox: &EventInbox, request: CompactionRequest) -> Result<Compacted, Stopped> {
    let request = allexmaster_journal::CompactionRequest {
        keep: request.keep,
        most_bytes: request.most_bytes,
        dry_run: request.dry_run,
        cut: request.cut,
    };
    let begun = inbox.read(move |journal| journal.compact_in_background(request));
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
