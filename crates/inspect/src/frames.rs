//! States on the way through a journal, so that a jump starts from the nearest one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use allexmaster_state::State;

/// Every so many events the state is kept, so that a jump replays no more than these: some 20 ms.
pub const FRAME_EVENTS: u64 = 8192;

/// So many bytes of kept states at most: then every second one is let go, and jumps take longer.
const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

/// States on the way, kept by all readers of one journal together.
#[derive(Clone, Default)]
pub struct SharedFrames(Arc<Mutex<Frames>>);

impl SharedFrames {
    pub(crate) fn offer(&self, sequence: u64, state: &State) {
        if sequence.is_multiple_of(FRAME_EVENTS) {
            self.lock().offer(sequence, state);
        }
    }

    pub(crate) fn before(&self, sequence: u64) -> Option<(u64, State)> {
        self.lock().before(sequence)
    }

    pub(crate) fn place_before(&self, sequence: u64) -> Option<u64> {
        let frames = self.lock();
        let (at, _) = frames.by_sequence.range(..=sequence).next_back()?;
        Some(*at)
    }

    /// So many events are between two of them where the journal was read.
    pub(crate) fn spacing(&self) -> u64 {
        self.lock().every
    }

    fn lock(&self) -> MutexGuard<'_, Frames> {
        // Whoever panicked with it has put in a whole state, or none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// States on the way, compressed.
struct Frames {
    by_sequence: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    every: u64,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            by_sequence: BTreeMap::new(),
            bytes: 0,
            every: FRAME_EVENTS,
        }
    }
}

impl Frames {
    fn offer(&mut self, sequence: u64, state: &State) {
        if !sequence.is_multiple_of(self.every) || self.by_sequence.contains_key(&sequence) {
            return;
        }
        // A state always has a JSON form: the journal's own checkpoints are made so.
        let Ok(json) = serde_json::to_vec(state) else {
            return;
        };
        let packed = lz4_flex::block::compress_prepend_size(&json);
        self.bytes += packed.len();
        self.by_sequence.insert(sequence, packed);
        if self.bytes > MAX_FRAME_BYTES {
            self.every *= 2;
            let every = self.every;
            self.by_sequence
                .retain(|sequence, _| sequence.is_multiple_of(every));
            self.bytes = self.by_sequence.values().map(Vec::len).sum();
        }
    }

    fn before(&self, sequence: u64) -> Option<(u64, State)> {
        let (at, packed) = self.by_sequence.range(..=sequence).next_back()?;
        let json = lz4_flex::block::decompress_size_prepended(packed).ok()?;
        Some((*at, serde_json::from_slice(&json).ok()?))
    }
}
