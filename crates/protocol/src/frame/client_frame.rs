//! Frames from the client (the side that introduces itself) to the server.

use serde::{Deserialize, Serialize};
use serde_json::{Value, from_value, json};

use super::{CallId, FrameError, SessionId, parse};

/// What a call is addressed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// `"."`: a method of the user object of the service.
    User,
    /// `"!"`: a method of the session itself (`subConnect`, `query`, `die`, `bid`, …).
    Session,
    /// Any other text: the callable of a subservice with this name.
    Sub(String),
}

/// One frame from client to server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClientFrame {
    /// `[id, [session, credentials]]`: open a session, or claim a reserved one.
    Introduce {
        /// Names this request in the answer.
        id: CallId,
        /// The reserved session to claim; none for a new one.
        session: Option<SessionId>,
        /// Strategy name to strategy data; null when a session is claimed.
        #[serde(with = "crate::json_text")]
        credentials: Value,
    },
    /// `[id, [session, null], [where, [method, arguments]]]`: call a method.
    Call {
        /// Names this request in the answers.
        id: CallId,
        /// The session that is called.
        session: SessionId,
        /// The object in that session.
        target: Target,
        /// The name of the method.
        method: String,
        /// The positional arguments; none stands for an explicit null.
        #[serde(with = "crate::json_text")]
        arguments: Option<Vec<Value>>,
    },
    /// `["?", stamp]`: a ping.
    Ping {
        /// Echoed unchanged; a number in practice.
        #[serde(with = "crate::json_text")]
        stamp: Value,
    },
    /// `["!", stamp]`: the answer to a server's ping (SignalR only).
    Pong {
        /// The stamp of the ping.
        #[serde(with = "crate::json_text")]
        stamp: Value,
    },
}

impl ClientFrame {
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
        let Some(kind) = Kind::of(&value) else {
            return Err(FrameError::Unrecognised { value });
        };
        let frame = match kind {
            Kind::Ping => from_value(value).map(|(_, stamp): (String, Value)| Self::Ping { stamp }),
            Kind::Pong => from_value(value).map(|(_, stamp): (String, Value)| Self::Pong { stamp }),
            Kind::Introduce => {
                from_value(value).map(|(id, (session, credentials)): IntroduceShape| {
                    Self::Introduce {
                        id: id.into(),
                        session: session.map(SessionId::from),
                        credentials,
                    }
                })
            }
            Kind::Call => from_value(value).map(
                |(id, (session, _), (target, (method, arguments))): CallShape| Self::Call {
                    id: id.into(),
                    session: session.into(),
                    target: Target::from_text(target),
                    method,
                    arguments,
                },
            ),
        };
        frame.map_err(|error| FrameError::NotJson {
            reason: error.to_string(),
        })
    }

    /// The frame as a JSON value.
    #[must_use]
    pub fn into_value(self) -> Value {
        match self {
            Self::Introduce {
                id,
                session,
                credentials,
            } => {
                json!([
                    id.as_str(),
                    [session.as_ref().map(SessionId::as_str), credentials]
                ])
            }
            Self::Call {
                id,
                session,
                target,
                method,
                arguments,
            } => {
                json!([
                    id.as_str(),
                    [session.as_str(), null],
                    [target.as_str(), [method, arguments]]
                ])
            }
            Self::Ping { stamp } => json!(["?", stamp]),
            Self::Pong { stamp } => json!(["!", stamp]),
        }
    }

    /// The frame as one JSON text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.into_value().to_string()
    }
}

impl Target {
    /// The target as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::User => ".",
            Self::Session => "!",
            Self::Sub(name) => name,
        }
    }

    fn from_text(text: String) -> Self {
        match text.as_str() {
            "." => Self::User,
            "!" => Self::Session,
            _ => Self::Sub(text),
        }
    }
}

type IntroduceShape = (String, (Option<String>, Value));
type CallShape = (
    String,
    (String, Value),
    (String, (String, Option<Vec<Value>>)),
);

/// The shape of a value, decided without taking it apart, so that what is not a frame can be given
/// back whole.
enum Kind {
    Ping,
    Pong,
    Introduce,
    Call,
}

impl Kind {
    fn of(value: &Value) -> Option<Self> {
        let members = value.as_array()?;
        let first = members.first()?.as_str()?;
        match (first, members.len()) {
            ("?", 2) => Some(Self::Ping),
            ("!", 2) => Some(Self::Pong),
            (_, 2) => {
                let pair = pair_of(members.get(1)?)?;
                (pair.0.is_string() || pair.0.is_null()).then_some(Self::Introduce)
            }
            (_, 3) => {
                let session = pair_of(members.get(1)?)?;
                let target = pair_of(members.get(2)?)?;
                let method = pair_of(target.1)?;
                let arguments_are_well_formed = method.1.is_array() || method.1.is_null();
                let well_formed =
                    session.0.is_string() && target.0.is_string() && method.0.is_string();
                (well_formed && arguments_are_well_formed).then_some(Self::Call)
            }
            _ => None,
        }
    }
}

fn pair_of(value: &Value) -> Option<(&Value, &Value)> {
    match value.as_array()?.as_slice() {
        [first, second] => Some((first, second)),
        _ => None,
    }
}
