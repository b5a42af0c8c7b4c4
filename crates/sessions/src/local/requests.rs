//! What local peers ask for, that is not answered at the sockets.

use std::path::PathBuf;

use allexmaster_protocol::frame::RemoteError;
use allexmaster_protocol::limits::{MAX_NAME_BYTES, MAX_NEED_BYTES, check_name};
use allexmaster_protocol::vocabulary::method;
use allexmaster_state::{Event, InstanceName, ModuleName, RequestId, Sender, StopSource};
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
    /// The configuration in force.
    Configuration,
    /// That the configuration is read again and put in force; with `dry_run`, what that would change.
    Reload { dry_run: bool },
    /// That the engine is replaced by another build of the program.
    Upgrade(PathBuf),
    /// That the master stops.
    Stop,
    /// The same, without a grace for its children.
    StopNow,
    /// That a service is started anew.
    Restart(InstanceName),
    /// That a service ends, and does not run here until it is started.
    Hold(InstanceName),
    /// That a service runs that was stopped, or that failed.
    Start(InstanceName),
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
    /// Reads the call of a method; only its first argument counts.
    ///
    /// # Errors
    ///
    /// There is no such method, or its argument is not one of its kind.
    pub(super) fn parse(name: &str, arguments: Vec<Value>) -> Result<Self, RemoteError> {
        let argument = arguments.into_iter().next().unwrap_or(Value::Null);
        match name {
            method::STATUS => Ok(Self::Status),
            method::JOURNAL => page(argument),
            method::COMPACT => compact(argument),
            method::CONFIGURATION => Ok(Self::Configuration),
            method::RELOAD => Ok(Self::Reload {
                dry_run: argument == Value::Bool(true),
            }),
            method::NEEDS => Ok(Self::Needs),
            method::UPGRADE => program(&argument).map(Self::Upgrade),
            method::STOP if argument["now"] == true => Ok(Self::StopNow),
            method::STOP => Ok(Self::Stop),
            // In AllexJS a killed child comes back as well, since its need does.
            method::KILL => name_in(&argument).map(|name| Self::Kill(InstanceName::from(name))),
            method::RESTART => {
                name_in(&argument).map(|name| Self::Restart(InstanceName::from(name)))
            }
            method::HOLD => name_in(&argument).map(|name| Self::Hold(InstanceName::from(name))),
            method::START => name_in(&argument).map(|name| Self::Start(InstanceName::from(name))),
            method::ADD_NEED => need(argument).map(Self::AddNeed),
            method::REMOVE_NEED => {
                name_in(&argument).map(|name| Self::RemoveNeed(InstanceName::from(name)))
            }
            method::NOTIFY_MODULE_ENGAGED => {
                name_in(&argument).map(|name| Self::ModuleEngaged(ModuleName::from(name)))
            }
            _ => Err(RemoteError::method_does_not_exist(name)),
        }
    }

    /// What the rules are told of it, and of who asks.
    ///
    /// # Errors
    ///
    /// It is a question about the state, and comes back.
    pub fn into_event(self, request: RequestId, sender: Option<Sender>) -> Result<Event, Self> {
        Ok(match self {
            Self::Status
            | Self::Needs
            | Self::Journal(_)
            | Self::Compact(_)
            | Self::Configuration
            | Self::Reload { .. }
            | Self::Upgrade(_) => {
                return Err(self);
            }
            Self::Stop | Self::StopNow => Event::StopRequested {
                request: Some(request),
                source: StopSource::Operator,
                urgent: self == Self::StopNow,
            },
            Self::Restart(instance) | Self::Kill(instance) => Event::RestartRequested {
                request,
                instance,
                sender,
            },
            Self::Hold(instance) => Event::HoldRequested {
                request,
                instance,
                sender,
            },
            Self::Start(instance) => Event::StartRequested {
                request,
                instance,
                sender,
            },
            Self::AddNeed(need) => Event::AddNeedRequested {
                request,
                need,
                sender,
            },
            Self::RemoveNeed(instance) => Event::RemoveNeedRequested {
                request,
                instance,
                sender,
            },
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
    /// In place of the base: the oldest kept state after this event or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<u64>,
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
    /// Whatever is damaged goes too, and all before it.
    #[serde(default)]
    pub cut: bool,
}

pub(super) fn name_in(argument: &Value) -> Result<&str, RemoteError> {
    let text = argument.as_str().unwrap_or_default();
    if check_name(text).is_err() {
        return Err(RemoteError::wrong_argument(format!(
            "expected a name of at most {MAX_NAME_BYTES} bytes, without control characters"
        )));
    }
    Ok(text)
}

fn page(argument: Value) -> Result<LocalRequest, RemoteError> {
    let request = serde_json::from_value(argument).map(LocalRequest::Journal);
    request.map_err(|_| {
        RemoteError::wrong_argument("expected an object with the numbers `from` and `most`")
    })
}

fn compact(argument: Value) -> Result<LocalRequest, RemoteError> {
    let request = serde_json::from_value(argument).map(LocalRequest::Compact);
    request.map_err(|_| {
        RemoteError::wrong_argument(
            "expected an object with `keep` (milliseconds), `most_bytes` (a number or null) and `dry_run`",
        )
    })
}

fn program(argument: &Value) -> Result<PathBuf, RemoteError> {
    let path = argument.as_str().map(PathBuf::from);
    path.filter(|path| path.is_absolute())
        .ok_or_else(|| RemoteError::wrong_argument("expected the full path of a program"))
}

fn need(argument: Value) -> Result<Value, RemoteError> {
    if !argument.is_object() {
        return Err(RemoteError::wrong_argument(
            "expected a need, a JSON object",
        ));
    }
    if name_in(argument.get("instancename").unwrap_or(&Value::Null)).is_err() {
        return Err(RemoteError::need_not_defined());
    }
    if argument.to_string().len() > MAX_NEED_BYTES {
        return Err(RemoteError::wrong_argument(format!(
            "the need is larger than {MAX_NEED_BYTES} bytes"
        )));
    }
    Ok(argument)
}
