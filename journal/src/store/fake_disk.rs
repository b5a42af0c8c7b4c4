//! A journal in memory, whose disk can fail and whose machine can crash.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Block, Extent, Location, Part, Sealed, SealedBlocks, SealedReader, Store, StoreError};
use crate::recovery::Recovery;

/// The operation that fails next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is taken in.
    Write,
    /// What was taken in may be durable or not: see [`FakeDisk::crash`].
    Sync,
    /// The seal is not made.
    Seal,
    /// The base is not put.
    Base,
}

/// A disk for simulations. Clones share it, so one can outlive the journal that crashed.
#[derive(Clone, Debug, Default)]
pub struct FakeDisk {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    header: Option<Vec<u8>>,
    checkpoint: Option<Vec<u8>>,
    bases: Vec<Vec<u8>>,
    states: BTreeMap<u64, Vec<u8>>,
    sealed: BTreeMap<u64, SealedBytes>,
    /// Durable blocks, by their first sequence number.
    acknowledged: BTreeMap<u64, Vec<u8>>,
    /// Blocks that a crash may lose or tear, in the order of their writing.
    pending: Vec<Block>,
    noted: u64,
    aside: Vec<Block>,
    fault: Option<Fault>,
    /// The operation from which on every write fails.
    breaks_at: Option<Fault>,
    broken: bool,
}

#[derive(Debug)]
struct SealedBytes {
    last: u64,
    bytes: Vec<u8>,
}

impl SealedReader for FakeDisk {
    fn read(&self, sealed: Sealed) -> Result<Block, StoreError> {
        let first = sealed.first;
        let disk = self.disk();
        let found = disk.sealed.get(&first).map(|sealed| Block {
            first,
            bytes: sealed.bytes.clone(),
        });
        found.ok_or_else(|| StoreError::Gone {
            path: PathBuf::from("memory"),
        })
    }

    fn state(&self, sequence: u64) -> Option<Vec<u8>> {
        self.disk().states.get(&sequence).cloned()
    }
}

impl FakeDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine loses its power: of what no sync confirmed, the first `kept` bytes survive, so a
    /// block may be torn. Open the journal again on a clone.
    pub fn crash(&self, kept: usize) {
        let mut disk = self.disk();
        let mut left = kept;
        for mut block in std::mem::take(&mut disk.pending) {
            block.bytes.truncate(left);
            left -= block.bytes.len();
            if !block.bytes.is_empty() {
                disk.acknowledged.insert(block.first, block.bytes);
            }
        }
        disk.fault = None;
    }

    /// How many bytes no sync has confirmed.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        let disk = self.disk();
        disk.pending.iter().map(|block| block.bytes.len()).sum()
    }

    /// Makes the next operation of that sort fail, once.
    pub fn fail_next(&self, fault: Fault) {
        self.disk().fault = Some(fault);
    }

    /// Makes the next operation of that sort fail, and every write after it, until the disk is
    /// repaired with [`FakeDisk::repair`]. As a disk that is full, or gone.
    pub fn break_at(&self, fault: Fault) {
        self.disk().breaks_at = Some(fault);
    }

    /// Makes everything work again.
    pub fn repair(&self) {
        let mut disk = self.disk();
        disk.breaks_at = None;
        disk.broken = false;
    }

    /// True while every write fails.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.disk().broken
    }

    /// Changes the bytes of the durable blocks and sealed ones, as a bad disk does.
    pub fn damage(&self, mut change: impl FnMut(u64, &mut Vec<u8>)) {
        let mut disk = self.disk();
        for (first, sealed) in &mut disk.sealed {
            change(*first, &mut sealed.bytes);
        }
        for (first, bytes) in &mut disk.acknowledged {
            change(*first, bytes);
        }
        disk.acknowledged.retain(|_, bytes| !bytes.is_empty());
    }

    /// Makes the checkpoint unusable, if there is one.
    pub fn spoil_checkpoint(&self) {
        if let Some(byte) = self
            .disk()
            .checkpoint
            .as_mut()
            .and_then(|bytes| bytes.last_mut())
        {
            *byte ^= 1;
        }
    }

    /// What was taken out of the journal because it could not be used.
    #[must_use]
    pub fn aside(&self) -> Vec<Block> {
        self.disk().aside.clone()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fails(disk: &mut Disk, fault: Fault) -> Result<(), StoreError> {
        if disk.breaks_at == Some(fault) {
            disk.breaks_at = None;
            disk.broken = true;
        }
        if disk.fault == Some(fault) {
            disk.fault = None;
            return Err(StoreError::Simulated);
        }
        Self::works(disk)
    }

    fn works(disk: &Disk) -> Result<(), StoreError> {
        if disk.broken {
            return Err(StoreError::Simulated);
        }
        Ok(())
    }
}

impl Disk {
    fn sealed_through(&self) -> u64 {
        let last = self.sealed.last_key_value();
        last.map_or(0, |(_, sealed)| sealed.last)
    }

    /// A process sees what it wrote, durable or not.
    fn visible(&self) -> BTreeMap<u64, Vec<u8>> {
        let pending = self
            .pending
            .iter()
            .map(|block| (block.first, block.bytes.clone()));
        let sealed = self
            .sealed
            .iter()
            .map(|(first, sealed)| (*first, sealed.bytes.clone()));
        self.acknowledged
            .clone()
            .into_iter()
            .chain(pending)
            .chain(sealed)
            .collect()
    }
}

impl Location for FakeDisk {
    fn open(&mut self) -> Result<(Box<dyn Store>, Vec<Recovery>), StoreError> {
        Ok((Box::new(self.clone()), Vec::new()))
    }

    fn reopen(&mut self) -> Result<(Box<dyn Store>, Vec<Recovery>), StoreError> {
        Self::works(&self.disk())?;
        self.open()
    }
}

impl Store for FakeDisk {
    fn get(&mut self, part: Part) -> Result<Vec<Vec<u8>>, StoreError> {
        let disk = self.disk();
        Ok(match part {
            Part::Header => disk.header.iter().cloned().collect(),
            Part::Base => disk.bases.clone(),
            Part::Checkpoint => disk.checkpoint.iter().cloned().collect(),
            Part::State(sequence) => disk.states.get(&sequence).cloned().into_iter().collect(),
        })
    }

    fn put(&mut self, part: Part, bytes: &[u8]) -> Result<(), StoreError> {
        let mut disk = self.disk();
        match part {
            Part::Header => disk.header = Some(bytes.to_vec()),
            Part::Base => {
                Self::fails(&mut disk, Fault::Base)?;
                disk.bases = vec![bytes.to_vec(); 2];
            }
            Part::Checkpoint => {
                Self::works(&disk)?;
                disk.checkpoint = Some(bytes.to_vec());
            }
            Part::State(sequence) => {
                Self::works(&disk)?;
                disk.states.insert(sequence, bytes.to_vec());
            }
        }
        Ok(())
    }

    fn append(&mut self, block: &Block) -> Result<(), StoreError> {
        let mut disk = self.disk();
        Self::fails(&mut disk, Fault::Write)?;
        disk.pending.push(block.clone());
        Ok(())
    }

    fn sync(&mut self, last: u64) -> Result<(), StoreError> {
        let mut disk = self.disk();
        Self::fails(&mut disk, Fault::Sync)?;
        for block in std::mem::take(&mut disk.pending) {
            disk.acknowledged.insert(block.first, block.bytes);
        }
        disk.noted = last;
        Ok(())
    }

    fn extent(&self) -> Extent {
        let disk = self.disk();
        let acknowledged = disk.acknowledged.values().map(Vec::len);
        let pending = disk.pending.iter().map(|block| block.bytes.len());
        let mut extent = Extent {
            sealed_through: disk.sealed_through(),
            acknowledged: disk.noted,
            ..Extent::default()
        };
        for length in acknowledged.chain(pending) {
            extent.unsealed_blocks += 1;
            extent.unsealed_bytes += length as u64;
        }
        extent
    }

    fn block_from(&mut self, first: u64) -> Result<Option<Block>, StoreError> {
        let visible = self.disk().visible();
        let found = visible.into_iter().find(|(start, _)| *start >= first);
        Ok(found.map(|(first, bytes)| Block { first, bytes }))
    }

    fn block_holding(&mut self, sequence: u64) -> Result<Option<Block>, StoreError> {
        let visible = self.disk().visible();
        let found = visible.into_iter().rfind(|(start, _)| *start <= sequence);
        Ok(found.map(|(first, bytes)| Block { first, bytes }))
    }

    fn keeps_history(&self) -> bool {
        true
    }

    fn seal(&mut self, block: &Block, last: u64) -> Result<(), StoreError> {
        let mut disk = self.disk();
        Self::fails(&mut disk, Fault::Seal)?;
        let bytes = block.bytes.clone();
        disk.sealed.insert(block.first, SealedBytes { last, bytes });
        disk.acknowledged.retain(|first, _| *first > last);
        Ok(())
    }

    fn set_aside(
        &mut self,
        from: u64,
        kept: Option<&Block>,
    ) -> Result<Option<PathBuf>, StoreError> {
        let mut disk = self.disk();
        disk.states.split_off(&from);
        let sealed = disk.sealed.split_off(&from);
        let mut aside: Vec<Block> = sealed
            .into_iter()
            .map(|(first, sealed)| Block {
                first,
                bytes: sealed.bytes,
            })
            .collect();
        let unsealed = disk.acknowledged.split_off(&from);
        aside.extend(
            unsealed
                .into_iter()
                .map(|(first, bytes)| Block { first, bytes }),
        );
        if let Some(kept) = kept {
            disk.acknowledged.insert(kept.first, kept.bytes.clone());
        }
        let moved = !aside.is_empty();
        disk.aside.extend(aside);
        Ok(moved.then(|| PathBuf::from("memory")))
    }

    fn release(&mut self, through: u64, most: usize) -> Result<usize, StoreError> {
        let mut disk = self.disk();
        let waste = disk
            .sealed
            .iter()
            .filter(|(_, sealed)| sealed.last <= through);
        let waste: Vec<u64> = waste.map(|(first, _)| *first).collect();
        for first in waste.iter().take(most) {
            disk.sealed.remove(first);
        }
        disk.states.retain(|sequence, _| *sequence > through);
        Ok(waste.len().saturating_sub(most))
    }

    fn sealed(&self) -> Option<SealedBlocks> {
        let disk = self.disk();
        let blocks = disk.sealed.iter().map(|(first, sealed)| Sealed {
            first: *first,
            last: sealed.last,
            bytes: sealed.bytes.len() as u64,
            state_bytes: disk.states.get(&sealed.last).map_or(0, Vec::len) as u64,
            modified: 0,
        });
        Some(SealedBlocks {
            blocks: blocks.collect(),
            reader: Box::new(self.clone()),
        })
    }
}
