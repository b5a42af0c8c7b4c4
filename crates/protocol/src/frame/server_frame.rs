//! Frames from the server to the client, and the two notices that a child sends to its parent.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, from_value, json};

use super::{CallId, FrameError, RemoteError, SessionId, parse};
use crate::state_stream::StateItem;

/// What arrives beside the answers, in the name of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OutOfBand {
    /// Channel `"s"`: a change of the state that the session sees.
    State(StateItem),
    /// Channel `"x"`: exclusivity, such as `["SESSION_ALREADY_EXISTS", text]`.
    Exclusivity(#[serde(with = "crate::json_text")] Value),
    /// Channel `"-"`: the session is dead. The item is `true`.
    Dead,
    /// A channel or an item that this program does not know; kept so that nothing is lost.
    Other {
        /// The name of the channel.
        channel: String,
        /// What came over it.
        #[serde(with = "crate::json_text")]
        item: Value,
    },
}

/// One frame from server to client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ServerFrame {
    /// `["r", id, value]`: the final answer.
    Result {
        /// The request that is answered.
        id: CallId,
        /// What it gave.
        #[serde(with = "crate::json_text")]
        value: Value,
    },
    /// `["e", id, {code, message}]`: the final refusal.
    Failure {
        /// The request that is refused.
        id: CallId,
        /// Why.
        error: RemoteError,
    },
    /// `["n", id, data]`: progress of a call that stays open; carries the data streams.
    Progress {
        /// The open request.
        id: CallId,
        /// What happened, see [`DataEvent`](crate::table::DataEvent).
        #[serde(with = "crate::json_text")]
        data: Value,
    },
    /// `["oob", [session, channel, item]]`.
    OutOfBand {
        /// The session that is told.
        session: SessionId,
        /// What it is told.
        item: OutOfBand,
    },
    /// `["f", request]`: the request was not understood or its session is unknown.
    Forget {
        /// The complete request.
        #[serde(with = "crate::json_text")]
        request: Value,
    },
    /// `["?", stamp]`: a ping (SignalR only).
    Ping {
        /// To be echoed unchanged.
        #[serde(with = "crate::json_text")]
        stamp: Value,
    },
    /// `["!", stamp]`: the answer to a ping.
    Pong {
        /// The stamp of the ping.
        #[serde(with = "crate::json_text")]
        stamp: Value,
    },
    /// `["~", remaining, chunk]`: a part of a text that was too long for one SignalR record.
    Chunk {
        /// How many characters are still to come; the last chunk has 0.
        remaining: u64,
        /// The part.
        chunk: String,
    },
    /// `{"err": …}`: credentials refused. It carries no request id.
    AuthenticationFailed {
        /// The reason, in practice empty.
        error: RemoteError,
    },
    /// `{"child_init": pid}`: a child is ready and listens (IPC only).
    ChildReady {
        /// The pid of the child.
        process: u32,
    },
    /// `{"uncaughtException": …}`: a child failed before it was ready (IPC only).
    ChildFailed {
        /// What it says, with the code `MODULE_NOT_FOUND` when its module is missing.
        error: RemoteError,
    },
}

impl ServerFrame {
    /// Reads one JSON text.
    ///
    /// # Errors
    /// [`FrameError`] when the text is not JSON or not a frame of this direction.
    pub fn from_text(text: &str) -> Result<Self, FrameError> {
        Self::from_value(parse(text)?)
    }

    /// Reads one JSON value.
    ///
    /// # Errors
    /// [`FrameError::Unrecognised`], which gives the value back.
    pub fn from_value(value: Value) -> Result<Self, FrameError> {
        match value {
            Value::Array(members) => from_members(members),
            Value::Object(members) => from_notice(members),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Err(FrameError::Unrecognised { value })
            }
        }
    }

    /// The frame as a JSON value.
    #[must_use]
    pub fn into_value(self) -> Value {
        match self {
            Self::Result { id, value } => json!(["r", id.as_str(), value]),
            Self::Failure { id, error } => json!(["e", id.as_str(), error.into_value()]),
            Self::Progress { id, data } => json!(["n", id.as_str(), data]),
            Self::OutOfBand { session, item } => {
                let (channel, item) = item.into_parts();
                json!(["oob", [session.as_str(), channel, item]])
            }
            Self::Forget { request } => json!(["f", request]),
            Self::Ping { stamp } => json!(["?", stamp]),
            Self::Pong { stamp } => json!(["!", stamp]),
            Self::Chunk { remaining, chunk } => json!(["~", remaining, chunk]),
            Self::AuthenticationFailed { error } => json!({ "err": error.into_value() }),
            Self::ChildReady { process } => json!({ "child_init": process }),
            Self::ChildFailed { error } => json!({ "uncaughtException": error.into_value() }),
        }
    }

    /// The frame as one JSON text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.into_value().to_string()
    }
}

impl OutOfBand {
    fn from_parts(channel: String, item: Value) -> Self {
        match channel.as_str() {
            "s" => match StateItem::from_value(&item) {
                Some(state_item) => Self::State(state_item),
                None => Self::Other { channel, item },
            },
            "x" => Self::Exclusivity(item),
            "-" => Self::Dead,
            _ => Self::Other { channel, item },
        }
    }

    fn into_parts(self) -> (String, Value) {
        match self {
            Self::State(item) => ("s".to_owned(), item.into_value()),
            Self::Exclusivity(item) => ("x".to_owned(), item),
            Self::Dead => ("-".to_owned(), Value::Bool(true)),
            Self::Other { channel, item } => (channel, item),
        }
    }
}

type AnswerShape = (String, String, Value);
type OutOfBandShape = (String, (String, String, Value));

fn from_members(members: Vec<Value>) -> Result<ServerFrame, FrameError> {
    let kind = match (members.first().and_then(Value::as_str), members.len()) {
        (Some(kind @ ("r" | "e" | "n")), 3) if members.get(1).is_some_and(Value::is_string) => {
            kind.to_owned()
        }
        (Some(kind @ ("f" | "?" | "!")), 2) => kind.to_owned(),
        (Some("oob"), 2) if members.get(1).is_some_and(is_out_of_band) => "oob".to_owned(),
        (Some("~"), 3)
            if members.get(1).is_some_and(Value::is_u64)
                && members.get(2).is_some_and(Value::is_string) =>
        {
            "~".to_owned()
        }
        _ => {
            return Err(FrameError::Unrecognised {
                value: Value::Array(members),
            });
        }
    };
    let value = Value::Array(members);
    let frame = match kind.as_str() {
        "r" => from_value(value).map(|(_, id, value): AnswerShape| ServerFrame::Result {
            id: id.into(),
            value,
        }),
        "e" => from_value(value).map(|(_, id, error): AnswerShape| ServerFrame::Failure {
            id: id.into(),
            error: RemoteError::from_value(error),
        }),
        "n" => from_value(value).map(|(_, id, data): AnswerShape| ServerFrame::Progress {
            id: id.into(),
            data,
        }),
        "oob" => from_value(value).map(|(_, (session, channel, item)): OutOfBandShape| {
            ServerFrame::OutOfBand {
                session: session.into(),
                item: OutOfBand::from_parts(channel, item),
            }
        }),
        "f" => {
            from_value(value).map(|(_, request): (String, Value)| ServerFrame::Forget { request })
        }
        "?" => from_value(value).map(|(_, stamp): (String, Value)| ServerFrame::Ping { stamp }),
        "!" => from_value(value).map(|(_, stamp): (String, Value)| ServerFrame::Pong { stamp }),
        _ => from_value(value).map(|(_, remaining, chunk): (String, u64, String)| {
            ServerFrame::Chunk { remaining, chunk }
        }),
    };
    frame.map_err(|error| FrameError::NotJson {
        reason: error.to_string(),
    })
}

fn is_out_of_band(value: &Value) -> bool {
    matches!(
        value.as_array().map(Vec::as_slice),
        Some([Value::String(_), Value::String(_), _])
    )
}

fn from_notice(mut members: Map<String, Value>) -> Result<ServerFrame, FrameError> {
    if let Some(process) = members
        .get("child_init")
        .and_then(Value::as_u64)
        .and_then(|pid| u32::try_from(pid).ok())
    {
        return Ok(ServerFrame::ChildReady { process });
    }
    if let Some(error) = members.remove("uncaughtException") {
        return Ok(ServerFrame::ChildFailed {
            error: RemoteError::from_value(error),
        });
    }
    if let Some(error) = members.remove("err") {
        return Ok(ServerFrame::AuthenticationFailed {
            error: RemoteError::from_value(error),
        });
    }
    Err(FrameError::Unrecognised {
        value: Value::Object(members),
    })
}
