//! What is refused while the journal cannot be written.

use allexmaster_protocol::frame::RemoteError;

use super::requests::LocalRequest;

impl LocalRequest {
    /// The refusal of what cannot be done, or not be answered, while the journal cannot be written.
    /// `kill` and `notifyModuleEngaged` are never refused, as in AllexJS: they wait for the journal.
    #[must_use]
    pub fn refused_in(&self, outage: &str) -> Option<RemoteError> {
        let way_out = match self {
            Self::Status
            | Self::Needs
            | Self::Configuration
            | Self::Reload { dry_run: true }
            | Self::Kill(_)
            | Self::ModuleEngaged(_) => return None,
            Self::Journal { .. } => "--offline reads its files meanwhile",
            Self::Stop | Self::StopNow => {
                "make room and ask again; or send SIGTERM twice to end the master without its \
                 children, which the next start finds"
            }
            Self::Restart(_)
            | Self::Hold(_)
            | Self::Start(_)
            | Self::AddNeed(_)
            | Self::RemoveNeed(_)
            | Self::Compact(_)
            | Self::Reload { dry_run: false }
            | Self::Upgrade(_) => "make room and ask again",
        };
        let text = format!(
            "the journal cannot be written, so nothing new can be done ({}): {way_out}",
            outage
        );
        Some(RemoteError::new("JOURNAL_UNWRITABLE", text))
    }
}
