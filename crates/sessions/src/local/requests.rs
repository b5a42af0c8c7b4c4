//! What local peers ask for, that is not answered at the sockets.

use std::path::PathBuf;

use allexmaster_state::{Event, InstanceName, ModuleName, RequestId, StopSource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a local peer asks for, that is not answered here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LocalRequest {
    /// The state of all services.
    Status,
    /// The unsatisfied needs.
    Needs,
    /// A page of the journal.
    Journal(PageRequest),
    /// That old history is removed from the journal.
    Compact(CompactionRequest),
    /// That the engine is replaced by another build of the program.
    Upgrade(PathBuf),
    /// That the master stops.
    Stop,
    /// That a service is started anew.
    Restart(InstanceName),
    /// That a child is ended: answered with true once that is recorded, also where there is none.
    Kill(InstanceName),
    /// That the LanManager gets a further need.
    AddNeed(Value),
    /// That the LanManager forgets a need.
    RemoveNeed(InstanceName),
    /// That a module counts as in use. Answered once that is recorded.
    ModuleEngaged(ModuleName),
}

impl LocalRequest {
    /// What the rules are told of it.
    ///
    /// # Errors
    ///
    /// It is a question about the state, and comes back.
    pub fn into_event(self, request: RequestId) -> Result<Event, Self> {
        Ok(match self {
            Self::Status | Self::Needs | Self::Journal(_) | Self::Compact(_) | Self::Upgrade(_) => {
                return Err(self);
            }
            Self::Stop => Event::StopRequested {
                request: Some(request),
                source: StopSource::Operator,
            },
            Self::Restart(instance) | Self::Kill(instance) => {
                Event::RestartRequested { request, instance }
            }
            Self::AddNeed(need) => Event::AddNeedRequested { request, need },
            Self::RemoveNeed(instance) => Event::RemoveNeedRequested { request, instance },
            Self::ModuleEngaged(module) => Event::ModuleEngaged {
                module,
                request: Some(request),
            },
        })
    }
}

/// Which records of the journal are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    /// The number of the first record.
    pub from: u64,
    /// At most so many records.
    pub most: u64,
    /// The offset of the first byte of the base that is wanted; none: no bytes of the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
}

/// What a compaction may remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionRequest {
    /// Events of the last so many milliseconds before the newest event are kept.
    pub keep: u64,
    /// The most bytes of sealed history that are kept, however new they are; none: no limit.
    pub most_bytes: Option<u64>,
    /// Nothing is removed; the answer says what would be.
    pub dry_run: bool,
}
