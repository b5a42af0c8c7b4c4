//! What people want to read of the LanManager's words.

use allexmaster_state::{BidAnswer, Event, Place, ResponseAnswer};
use tracing::{info, warn};

/// What people want to read of the LanManager's words.
pub(super) fn log_event(event: &Event) {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only what people want to read"
    )]
    match event {
        Event::LanConnected { address, .. } => {
            info!(%address, "the LanManager lets us in");
        }
        Event::LanClosed { reason, .. } => info!(%reason, "no connection to the LanManager"),
        Event::NeedsListed { .. } => info!("the LanManager has told its needs"),
        Event::NeedAppeared { need, .. } => {
            info!(service = %need.instance, module = %need.module, "needed");
        }
        Event::BidAnswered {
            instance,
            answer: BidAnswer::Rejected,
            ..
        } => {
            info!(service = %instance, "the LanManager rejected the bid");
        }
        Event::BidAnswered {
            instance,
            answer: BidAnswer::Failed(reason),
            ..
        } => {
            warn!(service = %instance, %reason, "bid failed");
        }
        Event::ServicesListed { services, .. } => {
            for listed in services {
                match &listed.place {
                    Place::Here => {}
                    Place::Elsewhere(by) => warn!(
                        service = %listed.instance, %by,
                        "runs here, but the network uses another copy"
                    ),
                    Place::Nowhere => info!(
                        service = %listed.instance,
                        "the network does not use the other copy any more"
                    ),
                }
            }
        }
        Event::ResponseAnswered {
            instance, answer, ..
        } => match answer {
            ResponseAnswer::Approved => info!(service = %instance, "approved"),
            ResponseAnswer::Unreachable => {
                warn!(service = %instance, "the LanManager reached none of its ports");
            }
            ResponseAnswer::Refused(reason) => warn!(service = %instance, %reason, "refused"),
            ResponseAnswer::Failed(reason) => {
                warn!(service = %instance, %reason, "no answer from the LanManager");
            }
        },
        _ => {}
    }
}
