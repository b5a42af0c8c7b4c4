//! What the journal tells of the network, now and in the past. All of it is read from the folder, so it
//! is the same while the LanManager runs and while it does not.

mod past;
mod words;

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::Path;

use allexmaster_journal::Error;
use allexmaster_lanmanager::rules::{InstanceName, NeedView};
use clap::Subcommand;
use serde::Serialize;
use serde_json::{Value, json};

use past::{Past, Step};

/// A question about the network or its past.
#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    /// Tell how many masters, needs and services there are
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the masters: those that are connected, and those that are gone and own services
    Masters {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the needs, satisfied ones too, and who bids for them or runs them
    Needs {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the services, where they run, and whose they are
    Services {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the journal what happened, and why
    #[command(subcommand)]
    Journal(Question),
    /// Live the whole journal again, and check after each event that the state holds together
    Replay {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Question {
    /// Tell what it is: its identity, its events and their times
    Info {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the events as lines, newest last
    Log {
        /// Only the last ones
        #[arg(long, value_name = "COUNT")]
        last: Option<usize>,
        /// Only those about this need
        #[arg(long, value_name = "NAME")]
        need: Option<String>,
        /// Print each as a line of JSON, with its effects
        #[arg(long)]
        json: bool,
    },
    /// Tell why a need is where it is: who bid, who won, who ran it, and what became of them
    Why {
        /// The instance name
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check that every record is the one that was written
    Verify {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the events as lines of JSON
    Export,
}

/// Why a tool has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("the journal of the LanManager cannot be read; is --directory its folder?")]
    Journal(#[from] Error),
    #[error("there never was a need {0} in this journal{1}")]
    UnknownNeed(String, String),
    #[error("cannot print")]
    Print(#[from] io::Error),
}

/// Answers; says whether all was well.
pub(crate) fn run(tool: &Tool, directory: &Path) -> Result<bool, ToolError> {
    let mut past = Past::open(directory)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let healthy = match tool {
        Tool::Status { json } => status(&mut past, *json, &mut out)?,
        Tool::Masters { json } => {
            let masters = past.present()?.0.master_views();
            let until = |until: Option<u64>| until.map(words::time).unwrap_or_default();
            let rows = masters.iter().map(|one| {
                let services = one.services.to_string();
                let identity = one.identity.clone().unwrap_or_default();
                [
                    one.ipaddress.clone(),
                    one.state.to_owned(),
                    services,
                    until(one.until),
                    identity,
                ]
            });
            let head = ["ADDRESS", "STATE", "SERVICES", "UNTIL", "IDENTITY"];
            list(&mut out, *json, &masters, head, rows)?
        }
        Tool::Needs { json } => {
            let needs = past.present()?.0.need_views();
            let rows = needs.iter().map(|one| {
                let module = one.modulename.clone().unwrap_or_default();
                let master = one.master.clone().unwrap_or_default();
                let waiting = one.waiting.to_string();
                [
                    one.instancename.clone(),
                    module,
                    one.state.to_owned(),
                    master,
                    waiting,
                ]
            });
            let head = ["NAME", "MODULE", "STATE", "MASTER", "WAITING BIDS"];
            list(&mut out, *json, &needs, head, rows)?
        }
        Tool::Services { json } => {
            let state = past.present()?.0;
            let services = state.service_views();
            let rows = services.iter().map(|one| {
                let text = |column: &str| one.row.get(column).map(plain).unwrap_or_default();
                let owner = state.master_text(&one.owner);
                [
                    one.instancename.clone(),
                    text("modulename"),
                    words::place(&one.row),
                    text("pid"),
                    owner,
                ]
            });
            let head = ["NAME", "MODULE", "PLACE", "PID", "MASTER"];
            list(&mut out, *json, &services, head, rows)?
        }
        Tool::Journal(question) => ask(question, &mut past, &mut out)?,
        Tool::Replay { json } => replay(&mut past, *json, &mut out)?,
    };
    out.flush()?;
    Ok(healthy)
}

type Out<'out> = io::BufWriter<io::StdoutLock<'out>>;

fn status(past: &mut Past, as_json: bool, out: &mut Out<'_>) -> Result<bool, ToolError> {
    let (state, last) = past.present()?;
    let masters = state.master_views();
    let connected = masters.iter().filter(|one| one.state != "gone").count();
    let (open, services) = state.counts();
    let gone = masters.len() - connected;
    let removed: Vec<_> = state.removed().collect();
    let at = last.map(|stamp| words::time(stamp.at.0));
    if as_json {
        let document = json!({
            "identity": past.journal.identity(), "lasteventat": at, "connectedmasters": connected,
            "gonemasters": gone, "openneeds": open, "services": services, "removedneeds": removed,
        });
        writeln!(out, "{document:#}")?;
    } else {
        writeln!(
            out,
            "masters   {connected} connected, {gone} gone that own services"
        )?;
        writeln!(out, "needs     {open} open, {services} services")?;
        if !removed.is_empty() {
            writeln!(out, "removed   {} of the file needs", removed.len())?;
        }
        writeln!(
            out,
            "as of     {}",
            at.as_deref().unwrap_or("the checkpoint")
        )?;
    }
    Ok(true)
}

fn ask(question: &Question, past: &mut Past, out: &mut Out<'_>) -> Result<bool, ToolError> {
    match question {
        Question::Info { json } => info(past, *json, out),
        Question::Log { last, need, json } => {
            let name = need.as_deref().map(InstanceName::parse).transpose();
            let name = name.map_err(|_| {
                let name = need.clone().unwrap_or_default();
                ToolError::UnknownNeed(name, String::new())
            })?;
            let mut lines = std::collections::VecDeque::new();
            past.replay(|step| {
                if name
                    .as_ref()
                    .is_none_or(|name| words::concerns(&step, name))
                {
                    lines.push_back(shown(&step, name.as_ref(), *json));
                    if last.is_some_and(|last| lines.len() > last) {
                        lines.pop_front();
                    }
                }
                ControlFlow::Continue(())
            })?;
            for line in lines {
                writeln!(out, "{line}")?;
            }
            Ok(true)
        }
        Question::Why { name, json } => why(past, name, *json, out),
        Question::Verify { json } => verify(past, *json, out),
        Question::Export => {
            let mut printed = Ok(());
            past.replay(|step| {
                printed = writeln!(out, "{}", shown(&step, None, true));
                if printed.is_ok() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            printed?;
            Ok(true)
        }
    }
}

fn shown(step: &Step<'_>, about: Option<&InstanceName>, as_json: bool) -> String {
    if as_json {
        return json!({
            "sequence": step.stamp.sequence, "at": step.stamp.at.0, "text": words::sentence(step, about),
            "event": step.event, "effects": step.effects,
        })
        .to_string();
    }
    words::line(step, about)
}

fn info(past: &mut Past, as_json: bool, out: &mut Out<'_>) -> Result<bool, ToolError> {
    let (mut first, mut last, mut count, mut starts) = (None, None, 0_u64, 0_u64);
    past.replay(|step| {
        first.get_or_insert((step.stamp.sequence, step.stamp.at.0));
        last = Some((step.stamp.sequence, step.stamp.at.0));
        count += 1;
        starts += u64::from(matches!(
            step.event,
            allexmaster_lanmanager::rules::Event::Started { .. }
        ));
        ControlFlow::Continue(())
    })?;
    let extent = past.journal.extent();
    let at = |place: Option<(u64, u64)>| place.map(|(_, at)| words::time(at));
    let number = |place: Option<(u64, u64)>| place.map(|(number, _)| number);
    let document = json!({
        "identity": past.journal.identity(), "events": count, "starts": starts,
        "first": number(first), "firstat": at(first), "last": number(last), "lastat": at(last),
        "sealedthrough": extent.sealed_through, "compacted": past.journal.base().is_some(),
    });
    if as_json {
        writeln!(out, "{document:#}")?;
    } else if let Value::Object(fields) = &document {
        for (field, value) in fields {
            writeln!(out, "{field:<14} {}", plain(value))?;
        }
    }
    Ok(true)
}

fn why(past: &mut Past, name: &str, as_json: bool, out: &mut Out<'_>) -> Result<bool, ToolError> {
    let unknown = |known: &[NeedView]| {
        let names: Vec<_> = known
            .iter()
            .take(12)
            .map(|need| need.instancename.as_str())
            .collect();
        let known = if names.is_empty() {
            String::new()
        } else {
            format!("; it has {}", names.join(", "))
        };
        ToolError::UnknownNeed(name.to_owned(), known)
    };
    let Ok(instance) = InstanceName::parse(name) else {
        return Err(unknown(&[]));
    };
    let mut chain = Vec::new();
    let state = past.replay(|step| {
        if words::concerns(&step, &instance) {
            chain.push(shown(&step, Some(&instance), as_json));
        }
        ControlFlow::Continue(())
    })?;
    if chain.is_empty() {
        return Err(unknown(&state.need_views()));
    }
    let need = state.need_view(&instance);
    if as_json {
        let chain: Vec<Value> = chain
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        writeln!(out, "{:#}", json!({ "need": need, "chain": chain }))?;
        return Ok(true);
    }
    let services = state.service_views();
    let service = services.iter().find(|one| one.instancename == name);
    match (service, need.master) {
        (Some(service), _) => writeln!(
            out,
            "{name} is {}: it runs at {}, at the master {}.",
            need.state,
            words::place(&service.row),
            state.master_text(&service.owner)
        )?,
        (None, Some(master)) => writeln!(out, "{name} is {}: by {master}.", need.state)?,
        (None, None) => writeln!(out, "{name} is {}.", need.state)?,
    }
    writeln!(out)?;
    for line in chain {
        writeln!(out, "{line}")?;
    }
    Ok(true)
}

fn verify(past: &mut Past, as_json: bool, out: &mut Out<'_>) -> Result<bool, ToolError> {
    let first = past.first();
    let mut last = first - 1;
    let visited = past.journal.visit(first, |record| {
        last = record.stamp.sequence;
        ControlFlow::Continue(())
    });
    let damage = match visited {
        Ok(_) => None,
        Err(error @ Error::Damaged { .. }) => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    if as_json {
        let document = json!({
            "healthy": damage.is_none(), "first": first, "last": last, "damage": damage,
        });
        writeln!(out, "{document:#}")?;
    } else {
        match &damage {
            None => writeln!(
                out,
                "#{first} to #{last}: each record is the one that was written"
            )?,
            Some(why) => writeln!(out, "#{first} to #{last} are good; then: {why}")?,
        }
    }
    Ok(damage.is_none())
}

fn replay(past: &mut Past, as_json: bool, out: &mut Out<'_>) -> Result<bool, ToolError> {
    let (mut events, mut broken) = (0_u64, None);
    let state = past.replay(|step| {
        events += 1;
        match step.after.check() {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => {
                broken = Some(format!("after #{}: {why}", step.stamp.sequence));
                ControlFlow::Break(())
            }
        }
    })?;
    let (open, services) = state.counts();
    if as_json {
        let document = json!({
            "events": events, "broken": broken, "openneeds": open, "services": services,
        });
        writeln!(out, "{document:#}")?;
    } else {
        match &broken {
            None => writeln!(
                out,
                "{events} events were lived again; {open} needs are open, {services} services listed"
            )?,
            Some(broken) => writeln!(out, "{broken}")?,
        }
    }
    Ok(broken.is_none())
}

/// A table, or JSON.
fn list<const COLUMNS: usize>(
    out: &mut Out<'_>,
    as_json: bool,
    documents: &impl Serialize,
    head: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> Result<bool, ToolError> {
    if as_json {
        writeln!(out, "{:#}", json!(documents))?;
        return Ok(true);
    }
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows);
    let widest = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| widest(column).unwrap_or(0));
    for line in lines {
        let cells = line.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(true)
}

/// A JSON value as people read it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
