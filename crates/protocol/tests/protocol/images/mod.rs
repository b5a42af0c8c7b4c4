//! A machine that is written down at any moment and read again goes on as if nothing had happened.

mod client;
mod server;
mod tables;

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The machine after it was written and read, in a format that describes itself and in one that does
/// not; each copy is the same in every member and has the same image as the original.
pub(crate) fn copies<Machine>(machine: &Machine) -> [Machine; 2]
where
    Machine: Serialize + DeserializeOwned + Debug,
{
    let text = serde_json::to_string(machine).unwrap();
    let bytes = postcard::to_allocvec(machine).unwrap();
    let from_text: Machine = serde_json::from_str(&text).unwrap();
    let from_bytes: Machine = postcard::from_bytes(&bytes).unwrap();
    let members = format!("{machine:?}");
    for copy in [&from_text, &from_bytes] {
        assert_eq!(format!("{copy:?}"), members);
        assert_eq!(serde_json::to_string(copy).unwrap(), text);
        assert_eq!(postcard::to_allocvec(copy).unwrap(), bytes);
    }
    [from_text, from_bytes]
}
