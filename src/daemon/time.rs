//! The time of the machine, which a test can set without setting the machine's.

use std::fs;
use std::path::PathBuf;

use allexmaster_journal::{MachineTime, TimeSource};

/// The machine's time.
#[derive(Clone, Debug, Default)]
pub struct Time {
    machine: MachineTime,
    shift: Option<PathBuf>,
}

impl Time {
    /// The machine's time and as many milliseconds as stand in a file, which may change and may be
    /// negative. For tests.
    #[must_use]
    pub fn shifted_by(file: PathBuf) -> Self {
        Self {
            machine: MachineTime::default(),
            shift: Some(file),
        }
    }
}

impl TimeSource for Time {
    fn wall(&mut self) -> u64 {
        let wall = self.machine.wall();
        let Some(file) = &self.shift else {
            return wall;
        };
        let text = fs::read_to_string(file).unwrap_or_default();
        wall.saturating_add_signed(text.trim().parse().unwrap_or_default())
    }

    fn passed(&mut self) -> u64 {
        self.machine.passed()
    }
}
