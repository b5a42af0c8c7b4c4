//! Which events are bad news.

use allexmaster_state::{
    Activity, BidAnswer, Event, Lan, LanAnswer, Place, Recorded, ResponseAnswer, State,
};

use crate::screen::Tone;

/// Whether an event is bad news, good news, or neither.
#[must_use]
pub fn tone(state: &State, recorded: &Recorded) -> Tone {
    match &recorded.event {
        Event::ChildExited { incarnation, .. } | Event::DescendantsLeft { incarnation, .. } => {
            let owner = state.services.owner(*incarnation);
            let service = owner.and_then(|instance| state.services.get(instance));
            match service.map(|service| &service.activity) {
                // The master asked it to end.
                Some(Activity::Stopping { .. }) => Tone::Plain,
                Some(_) => Tone::Bad,
                // Of an attempt that was given up.
                None => Tone::Plain,
            }
        }
        Event::ChildNotSpawned { .. }
        | Event::ChildFailed { .. }
        | Event::DescendantsEnded { .. }
        | Event::StraysFound { .. }
        | Event::ForeignListener { .. } => Tone::Bad,
        Event::LanClosed { .. } => match state.lan {
            Lan::Up { .. } => Tone::Bad,
            Lan::Dialing { .. } | Lan::Away { .. } => Tone::Waiting,
        },
        Event::BidAnswered { answer, .. } => match answer {
            BidAnswer::Challenged => Tone::Plain,
            BidAnswer::Rejected => Tone::Waiting,
            BidAnswer::Failed(_) => Tone::Bad,
        },
        Event::InstallEnded { complaint, .. } => match complaint {
            None => Tone::Good,
            Some(_) => Tone::Bad,
        },
        Event::ResponseAnswered { answer, .. } => match answer {
            ResponseAnswer::Approved => Tone::Good,
            ResponseAnswer::Unreachable => Tone::Waiting,
            ResponseAnswer::Refused(_) | ResponseAnswer::Failed(_) => Tone::Bad,
        },
        Event::ServicesListed { services, .. } => {
            let mut places = services.iter().map(|listed| &listed.place);
            if places.any(|place| matches!(place, Place::Elsewhere(_))) {
                Tone::Bad
            } else {
                Tone::Plain
            }
        }
        Event::PortsProbed { taken, .. } if !taken.is_empty() => Tone::Waiting,
        Event::MasterStarted { ended, .. } if !ended.is_empty() => Tone::Bad,
        Event::LanCallAnswered { answer, .. } => match answer {
            LanAnswer::Done(_) => Tone::Plain,
            LanAnswer::Refused { .. } => Tone::Waiting,
        },
        Event::MasterStarted { .. } | Event::StopRequested { .. } => Tone::Strong,
        Event::LanConnected { .. } | Event::ChildReady { .. } => Tone::Good,
        Event::SettingsLoaded { .. }
        | Event::NeedsListed { .. }
        | Event::NeedAppeared { .. }
        | Event::NeedWithdrawn { .. }
        | Event::ServiceDownAcknowledged { .. }
        | Event::PortsProbed { .. }
        | Event::PortsFreed { .. }
        | Event::ChildSpawned { .. }
        | Event::ModuleEngaged { .. }
        | Event::RestartRequested { .. }
        | Event::AddNeedRequested { .. }
        | Event::RemoveNeedRequested { .. }
        | Event::HoldRequested { .. }
        | Event::StartRequested { .. }
        | Event::DeadlineReached
        | Event::ClockJumped { .. } => Tone::Plain,
    }
}
