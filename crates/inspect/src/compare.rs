//! The same journal through another build of the program.

use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::InspectError;
use crate::replay::{Past, Step};
use crate::words::SHORT;
use allexmaster_state::Change;

/// What one build makes of one event, so short that a million can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    pub sequence: u64,
    /// The hash of the state after it, as JSON.
    pub state: String,
    /// The hash of what it caused, as JSON.
    pub effects: String,
}

/// Where two builds part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// So many events were compared.
    pub events: u64,
    /// The events that led to different effects.
    pub effects: Vec<u64>,
    /// The events after which the states differ.
    pub states: Vec<u64>,
    /// What differs after the first of these: here, and there.
    #[serde(skip)]
    pub first: Vec<Change>,
}

/// What this build makes of an event.
#[must_use]
pub fn trace(step: Step<'_>) -> Trace {
    // States and effects always have a JSON form.
    let hash = |json: serde_json::Result<Vec<u8>>| {
        let hash = blake3::hash(&json.unwrap_or_default());
        hash.to_hex().as_str()[..32].to_owned()
    };
    Trace {
        sequence: step.recorded.sequence,
        state: hash(serde_json::to_vec(step.state)),
        effects: hash(serde_json::to_vec(step.effects)),
    }
}

/// Replays a journal from the event `from` on here, and in another build, which reads it from the file `export`.
///
/// # Errors
/// The journal cannot be read, or the other build does not know how to be compared.
pub fn compare(
    past: &mut Past,
    from: u64,
    other: &Path,
    export: &Path,
) -> Result<Comparison, InspectError> {
    let mut child = start(other, export)?;
    let mut lines = child
        .stdout
        .take()
        .map(|output| BufReader::new(output).lines())
        .ok_or_else(|| foreign(other, "it has no output"))?;
    let mut comparison = Comparison::default();
    let mut wrong = None;
    let replayed = past.replay(from..=u64::MAX, &mut |step: Step<'_>| {
        let here = trace(step);
        let line = lines.next().and_then(Result::ok).unwrap_or_default();
        match serde_json::from_str::<Trace>(&line) {
            Ok(there) if there.sequence == here.sequence => {
                comparison.events += 1;
                if there.effects != here.effects {
                    comparison.effects.push(here.sequence);
                }
                if there.state != here.state {
                    comparison.states.push(here.sequence);
                }
                ControlFlow::Continue(())
            }
            Ok(_) | Err(_) => {
                wrong = Some(here.sequence);
                ControlFlow::Break(())
            }
        }
    });
    // It has written everything, or its output is no longer read.
    let _ = child.kill();
    let _ = child.wait();
    replayed?;
    if let Some(sequence) = wrong {
        return Err(foreign(
            other,
            &format!("it says nothing of event {sequence}"),
        ));
    }
    let first = comparison.states.iter().chain(&comparison.effects).min();
    if let Some(first) = first.copied() {
        comparison.first = parting(past, other, export, first)?;
    }
    Ok(comparison)
}

/// What differs after an event.
fn parting(
    past: &mut Past,
    other: &Path,
    export: &Path,
    sequence: u64,
) -> Result<Vec<Change>, InspectError> {
    let output = Command::new(other)
        .args([
            "journal",
            "show",
            &sequence.to_string(),
            "--json",
            "--journal",
        ])
        .arg(export)
        .output()
        .map_err(|source| unstarted(other, source))?;
    let there: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        foreign(
            other,
            &format!("it does not show event {sequence}: {error}"),
        )
    })?;
    let moment = crate::command::Moment::at(past, sequence)?;
    let here = serde_json::json!({ "effects": moment.effects, "state": moment.after });
    let there = serde_json::json!({ "effects": there["effects"], "state": there["after"] });
    Ok(SHORT.difference_of_values(&here, &there))
}

fn start(other: &Path, export: &Path) -> Result<Child, InspectError> {
    Command::new(other)
        .args(["replay", "--trace", "--journal"])
        .arg(export)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|source| unstarted(other, source))
}

fn unstarted(other: &Path, source: std::io::Error) -> InspectError {
    InspectError::Io {
        action: "start",
        path: other.to_owned(),
        source,
    }
}

fn foreign(other: &Path, why: &str) -> InspectError {
    InspectError::Refused(format!(
        "{} cannot be compared with ({why}): it has to be a build of allexmaster that reads this \
         journal",
        other.display()
    ))
}
