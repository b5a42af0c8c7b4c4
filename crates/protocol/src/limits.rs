//! Limits of what master and LanManager exchange: both programs use these and no others.
//!
//! What one end accepts the other end can take. The LanManager of AllexJS has no limits; what exceeds
//! these is refused with a message by whichever of our programs meets it first. Limits of the
//! transport (frames, queues, connections) are in [`crate::framing`] and [`crate::server`].

use thiserror::Error;

/// Longest name of an instance or a module, in bytes. Names are kept in the journal for ever and
/// appear in file names and log lines; AllexJS names have some tens of bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// Largest need that may be asked for or stand in a file, in bytes of JSON. A need is journaled and
/// sent to every master; a property hash beyond this size belongs into a file.
pub const MAX_NEED_BYTES: usize = 256 * 1_024;

/// Most networks that a LanManager lets in. It adds each to each need, with some 80 bytes.
pub const MAX_SUBNETS: usize = 1_000;

/// Largest row of a need or a service, in bytes of JSON: a need merged from its three files, with the
/// networks of the LanManager, its ports and its process.
pub const MAX_ROW_BYTES: usize = 4 * MAX_NEED_BYTES;

/// Most needs of a network. Each costs some kilobytes of memory and a row in every master.
pub const MAX_NEEDS: usize = 100_000;

/// Most modules that a master or a network lists as in use: the list only grows.
pub const MAX_ENGAGED_MODULES: usize = 10_000;

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    #[error("a name must not be empty")]
    Empty,
    /// The size of the text, in bytes.
    #[error("a name of {0} bytes is too long, the limit is {MAX_NAME_BYTES}")]
    TooLong(usize),
    /// It would break the lines of logs and the screens of terminals.
    #[error("a name must not have control characters")]
    ControlCharacters,
}

/// Checks the name of an instance or a module.
///
/// # Errors
/// [`NameError`] for a text that is empty, too long or has control characters.
pub fn check_name(text: &str) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        length if length > MAX_NAME_BYTES => Err(NameError::TooLong(length)),
        _ if text.chars().any(char::is_control) => Err(NameError::ControlCharacters),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_of_one_line() {
        let longest = "n".repeat(MAX_NAME_BYTES);
        assert_eq!(check_name(&longest), Ok(()));
        assert_eq!(check_name("Zeit für Tee"), Ok(()));
        assert_eq!(check_name(""), Err(NameError::Empty));
        assert_eq!(
            check_name(&(longest + "n")),
            Err(NameError::TooLong(MAX_NAME_BYTES + 1))
        );
        for text in ["a\nb", "a\u{1b}[0m", "\u{85}"] {
            assert_eq!(check_name(text), Err(NameError::ControlCharacters));
        }
    }
}
