//! Batches: several JSON texts in one message, separated by one NUL. Peers may send a batch as a
//! WebSocket text message or behind a length; this crate sends each text alone.

use super::{FramingError, check_size};

/// Between two texts of a batch. It cannot occur in a JSON text.
pub const SEPARATOR: char = '\0';

/// Splits a batch into its texts.
///
/// # Errors
/// [`FramingError::TooLarge`], and [`FramingError::Empty`] for an empty text.
pub fn split(batch: &str) -> Result<Vec<String>, FramingError> {
    check_size(batch.len())?;
    batch
        .split(SEPARATOR)
        .map(|text| {
            if text.is_empty() {
                Err(FramingError::Empty)
            } else {
                Ok(text.to_owned())
            }
        })
        .collect()
}
