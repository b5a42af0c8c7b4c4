//! `journal verify`: is every record the one that was written?

use std::ops::ControlFlow;

use clap::Args;
use serde_json::json;

use super::{Answer, Place, Setting, begins};
use crate::error::InspectError;

/// Check that every record is the one that was written: its checksum, its place, and the chain.
///
/// `replay --verify` does this too, and recomputes every state besides.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(
        &self,
        place: &Place,
        setting: &mut Setting<'_>,
    ) -> Result<Answer, InspectError> {
        let mut past = place.open(setting)?;
        let first = past.first();
        let mut last = first - 1;
        let visited = past.source().visit(first, &mut |record| {
            last = record.stamp.sequence;
            ControlFlow::Continue(())
        });
        let damage = match visited {
            Ok(()) => None,
            Err(error) if error.is_damage() => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        let good = (last + 1).saturating_sub(first);
        if self.json {
            setting.screen.json(&json!({
                "place": past.place(), "healthy": damage.is_none(), "first": first, "last": last,
                "records": good, "damage": damage, "begins": begins(&past),
            }))?;
        } else {
            let text = match &damage {
                None if good == 0 => "the journal is empty".to_owned(),
                None => {
                    format!("{good} records, #{first} to #{last}: each is the one that was written")
                }
                Some(why) if good == 0 => format!("no record can be used: {why}"),
                Some(why) => format!("#{first} to #{last} are good; then: {why}"),
            };
            setting.screen.line(&text)?;
            setting.screen.note(past.note())?;
        }
        Ok(if damage.is_none() {
            Answer::Done
        } else {
            Answer::Found
        })
    }
}
