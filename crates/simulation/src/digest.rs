//! A run in one number, to see whether two were the same.

use std::ops::ControlFlow;

use allexmaster_journal::{JournaledMachine, Options};
use allexmaster_state::Rules;

use crate::world::World;

/// FNV-1a, <http://www.isthe.com/chongo/tech/comp/fnv/>: simple, and the same everywhere.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl World {
    /// Of all events of all masters, with their times and their entropy. 0 where they cannot be read.
    pub(crate) fn digest(&self) -> u64 {
        let mut digest = OFFSET;
        let mut take = |bytes: &[u8]| {
            for byte in bytes {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(PRIME);
            }
        };
        for master in &self.masters {
            let store = Box::new(master.disk.clone());
            let Ok((mut live, _)) =
                JournaledMachine::<Rules>::with_store(store, Options::default())
            else {
                return 0;
            };
            let shown = live.journal().visit(1, |record| {
                take(&record.stamp.at.to_be_bytes());
                take(&record.stamp.entropy.to_be_bytes());
                take(record.payload);
                ControlFlow::Continue(())
            });
            if shown.is_err() {
                return 0;
            }
        }
        digest
    }
}
