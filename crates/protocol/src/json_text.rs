//! Values of a peer inside an image of a machine, as JSON text.
//!
//! A value may be nested as deeply as a reader allows; inside an image it would stand deeper than
//! that, and the image could be written but never read. As a text it cannot, and images need no
//! format that describes itself.

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes the value as the text of its JSON.
pub(crate) fn serialize<Written, To>(value: &Written, to: To) -> Result<To::Ok, To::Error>
where
    Written: Serialize,
    To: Serializer,
{
    to.serialize_str(&serde_json::to_string(value).map_err(To::Error::custom)?)
}

/// Reads what [`serialize`] wrote.
pub(crate) fn deserialize<'de, Read, From>(from: From) -> Result<Read, From::Error>
where
    Read: DeserializeOwned,
    From: Deserializer<'de>,
{
    let text = String::deserialize(from)?;
    serde_json::from_str(&text).map_err(From::Error::custom)
}
