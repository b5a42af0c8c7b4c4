//! Events that are made durable together.

use crate::journal::{MAX_BATCH, MAX_BATCH_BYTES};
use crate::store::Block;

/// What one sync makes durable.
pub(crate) struct Batch {
    /// The records.
    pub(crate) block: Block,
    /// The number of the last one.
    pub(crate) last: u64,
}

impl Batch {
    /// The batch that takes the next event: the last one, or a new one where that is full.
    pub(crate) fn with_room(batches: &mut Vec<Self>, sequence: u64) -> &mut Self {
        let full = batches.last().is_none_or(|batch| {
            let events = batch.last - batch.block.first + 1;
            events >= MAX_BATCH as u64 || batch.block.bytes.len() >= MAX_BATCH_BYTES
        });
        if full {
            batches.push(Self {
                block: Block {
                    first: sequence,
                    bytes: Vec::new(),
                },
                last: sequence,
            });
        }
        let index = batches.len() - 1;
        &mut batches[index]
    }
}
