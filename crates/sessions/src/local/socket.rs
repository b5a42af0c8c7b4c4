//! The names and numbers of the local sockets.

use allexmaster_protocol::vocabulary::service;
use std::path::{Path, PathBuf};

/// One of the three services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// The master itself.
    MachineManager,
    /// The copy of the LanManager's services.
    LanServices,
    /// The copy of the LanManager's address translations.
    Translations,
}

impl Socket {
    /// All three.
    pub const ALL: [Self; 3] = [Self::MachineManager, Self::LanServices, Self::Translations];

    /// Its number among the listeners.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::MachineManager => 0,
            Self::LanServices => 1,
            Self::Translations => 2,
        }
    }

    /// The socket of a number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|socket| socket.number() == number)
    }

    /// Its file name without the process number.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MachineManager => "allexmachinemanager",
            Self::LanServices => "availablelanservices",
            Self::Translations => service::TRANSLATIONS,
        }
    }

    /// The file of a master's socket.
    #[must_use]
    pub fn path(self, folder: &Path, pid: u32) -> PathBuf {
        folder.join(format!("{}.{pid}", self.name()))
    }
}
