//! The storage of a journal that is closed for the time being: everything is refused.

use std::path::PathBuf;

use super::{Block, Sealed, SealedReader, Store, StoreError, Unsealed};

/// Stands in for a storage that failed until it can be opened again.
pub(crate) struct ClosedStore;

impl SealedReader for ClosedStore {
    fn read(&self, _sealed: Sealed) -> Result<Block, StoreError> {
        Err(StoreError::Closed)
    }
}

impl Store for ClosedStore {
    fn header(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        Err(StoreError::Closed)
    }

    fn put_header(&mut self, _bytes: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn write(&mut self, _block: &Block) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn acknowledge(&mut self, _sequence: u64) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn acknowledged(&mut self) -> Result<u64, StoreError> {
        Err(StoreError::Closed)
    }

    fn block_from(&mut self, _first: u64) -> Result<Option<Block>, StoreError> {
        Err(StoreError::Closed)
    }

    fn block_holding(&mut self, _sequence: u64) -> Result<Option<Block>, StoreError> {
        Err(StoreError::Closed)
    }

    fn seal(&mut self, _block: &Block, _last: u64) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn bases(&mut self) -> Result<Vec<Vec<u8>>, StoreError> {
        Err(StoreError::Closed)
    }

    fn put_base(&mut self, _bytes: &[u8], _through: u64) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn begin_after(&mut self, _through: u64) {}

    fn release(&mut self, _most: usize) -> Result<usize, StoreError> {
        Err(StoreError::Closed)
    }

    fn sealed(&self) -> Vec<Sealed> {
        Vec::new()
    }

    fn sealed_reader(&self) -> Box<dyn SealedReader> {
        Box::new(Self)
    }

    fn sealed_through(&self) -> u64 {
        0
    }

    fn unsealed(&self) -> Unsealed {
        Unsealed::default()
    }

    fn set_aside(
        &mut self,
        _from: u64,
        _kept: Option<&Block>,
    ) -> Result<Option<PathBuf>, StoreError> {
        Err(StoreError::Closed)
    }

    fn checkpoint(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        Err(StoreError::Closed)
    }

    fn put_checkpoint(&mut self, _bytes: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
}
