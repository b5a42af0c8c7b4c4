//! Batches: several JSON texts in one message, separated by one NUL. A WebSocket text message is a
//! batch, and so is the payload behind a length.

use std::collections::VecDeque;

use super::{FramingError, MAX_BATCH_BYTES, check_size};

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

/// Takes texts from the front of a queue until the batch has reached [`MAX_BATCH_BYTES`], and joins
/// them; none when the queue is empty. A longer text travels alone, however long it is.
pub fn join(texts: &mut VecDeque<String>) -> Option<String> {
    let mut batch = texts.pop_front()?;
    while let Some(next) = texts.front() {
        if batch.len() + 1 + next.len() > MAX_BATCH_BYTES {
            break;
        }
        batch.push(SEPARATOR);
        batch.push_str(next);
        texts.pop_front();
    }
    Some(batch)
}
