//! What is needed, and what becomes of it: the files, requests, services that end.

use std::collections::BTreeMap;

use allexmaster_protocol::limits::{MAX_ENGAGED_MODULES, MAX_NEEDS};
use serde_json::Value;

use super::effect::{Effect, Refusal, Reply};
use super::event::{Files, IpStrategy, Settings};
use super::layers::merge_layers;
use super::masters;
use super::names::{InstanceName, MasterId, ModuleName};
use super::need::Need;
use super::state::{OpenNeed, Opening, RequestId, RuntimeFile, State};
use super::step::Change;

/// The modules that AllexJS lists from the start.
const FIRST_MODULES: [&str; 2] = ["allexcore", "allex_dataservice"];

/// A part of the files was read for a start that comes.
pub(super) fn files_read(change: &mut Change<'_>, first: bool, files: Files) {
    let read = &mut change.state.read;
    if first {
        *read = files;
    } else {
        read.extend(files);
    }
}

/// The LanManager started: all connections are gone, the files say what is
/// needed, and all tables are filled again.
pub(super) fn started(change: &mut Change<'_>, settings: Settings) {
    let files = std::mem::take(&mut change.state.read);
    change.state.settings = settings;
    change.state.nat = files.nat;
    let RuntimeFile { revision, written } = change.state.runtime_file;
    let runtime = if written < revision {
        // The run before ended between an acknowledged change and its file: what
        // was acknowledged counts.
        change.perform(Effect::WriteRuntimeNeeds { revision });
        let acknowledged = std::mem::take(&mut change.state.configured);
        acknowledged.into_values().collect()
    } else {
        files.runtime
    };
    let needs = without_removed(change.state, files.needs, &files.overlay);
    let list = strategies(change.state);
    let merged = merge_layers(needs, files.overlay, runtime);
    let named = merged.into_iter().map(|mut need| {
        need.set_ip_strategies(&list, true);
        (need.name().clone(), need)
    });
    change.state.configured = named.collect();
    for module in FIRST_MODULES {
        if let Ok(module) = ModuleName::parse(module) {
            change.state.engaged.insert(module);
        }
    }
    change.state.catching_up = change.state.settings.edition > 0;
    masters::all_gone(change);
    tell_everything(change);
}

/// The entries of the file `needs` but for those that were removed at run time and have
/// not been changed since. What the file no longer has is no longer removed from it.
fn without_removed(state: &mut State, needs: Vec<Need>, overlay: &[Need]) -> Vec<Need> {
    if state.settings.edition == 0 {
        return needs;
    }
    let merged = merge_layers(needs.clone(), overlay.to_vec(), Vec::new());
    let digests = merged
        .iter()
        .map(|need| (need.name().clone(), need.digest()));
    let in_files: BTreeMap<InstanceName, u64> = digests.collect();
    state
        .removed
        .retain(|name, digest| in_files.get(name) == Some(digest));
    state.in_files = in_files;
    let removed = &state.removed;
    let needs = needs.into_iter();
    needs
        .filter(|need| !removed.contains_key(need.name()))
        .collect()
}

/// A need is added. Where a service of that name runs, the need is satisfied: it is
/// only kept for the time after that (AllexJS forgets it then). A need that is open and now asks for something else is opened anew.
pub(super) fn added(change: &mut Change<'_>, request: RequestId, mut need: Need) {
    let name = need.name().clone();
    let running = change.state.services.contains_key(&name);
    let list = strategies(change.state);
    need.set_ip_strategies(&list, false);
    match change.state.configured.get(&name) {
        Some(present) if running || *present == need => {
            return change.reply(request, Reply::Done);
        }
        Some(_) => close(change, &name),
        None if change.state.configured.len() >= MAX_NEEDS => {
            return change.refuse(request, Refusal::TooManyNeeds);
        }
        None => {}
    }
    change.state.removed.remove(&name);
    change.state.configured.insert(name.clone(), need);
    write_runtime_needs(change);
    if !running {
        open(change, &name);
    }
    change.reply(request, Reply::Done);
}

/// A need is removed. A service that runs for it goes on, but does not come back.
pub(super) fn removed(change: &mut Change<'_>, request: RequestId, name: &InstanceName) {
    if change.state.configured.remove(name).is_some() {
        // The files would bring it back with the next start.
        if let Some(digest) = change.state.in_files.get(name) {
            change.state.removed.insert(name.clone(), *digest);
        }
        write_runtime_needs(change);
        close(change, name);
    }
    change.reply(request, Reply::Done);
}

/// A service is reported down: it leaves the table, and its need comes back. Who
/// reports the end of a copy that is not the listed one reports no end of the service.
pub(super) fn service_down_reported(
    change: &mut Change<'_>,
    request: RequestId,
    name: &InstanceName,
    reporter: Option<&MasterId>,
) {
    let may_end = reporter.is_none_or(|reporter| masters::runs(change.state, reporter, name));
    let ended = may_end && service_ended(change, name);
    change.reply(request, Reply::Count(usize::from(ended)));
}

/// A module is in use somewhere.
pub(super) fn module_engaged(change: &mut Change<'_>, request: RequestId, module: ModuleName) {
    let engaged = &mut change.state.engaged;
    if !engaged.contains(&module) {
        if engaged.len() >= MAX_ENGAGED_MODULES {
            return change.refuse(request, Refusal::TooManyModules);
        }
        engaged.insert(module.clone());
        change.perform(Effect::ModuleListed {
            module: module.clone(),
        });
    }
    change.reply(request, Reply::Module(module));
}

/// The file of the runtime needs is written.
pub(super) fn runtime_needs_written(change: &mut Change<'_>, revision: u64) {
    let file = &mut change.state.runtime_file;
    file.written = file.written.max(revision.min(file.revision));
}

/// Takes a service away; where it is still wanted, its need is open again.
/// Whether there was one.
pub(super) fn service_ended(change: &mut Change<'_>, name: &InstanceName) -> bool {
    let Some(service) = change.state.services.remove(name) else {
        return false;
    };
    masters::disown(change.state, &service.owner, name);
    change.perform(Effect::ServiceDown { name: name.clone() });
    open(change, name);
    true
}

/// Opens a configured need.
fn open(change: &mut Change<'_>, name: &InstanceName) {
    let since = change.stamp.sequence;
    let Some(need) = change.state.configured.get(name) else {
        return;
    };
    let opened = Effect::NeedOpened {
        opening: Opening {
            name: name.clone(),
            since,
        },
        row: need.open_row(),
    };
    change.state.open.insert(name.clone(), OpenNeed::new(since));
    change.perform(opened);
}

/// Closes an open need unsatisfied.
fn close(change: &mut Change<'_>, name: &InstanceName) {
    if let Some(need) = change.state.open.remove(name) {
        change.perform(Effect::NeedClosed {
            opening: Opening {
                name: name.clone(),
                since: need.since,
            },
        });
    }
}

fn strategies(state: &State) -> Vec<Value> {
    let list = state.settings.ip_strategies.iter();
    list.map(IpStrategy::to_json).collect()
}

fn write_runtime_needs(change: &mut Change<'_>) {
    let file = &mut change.state.runtime_file;
    file.revision += 1;
    let revision = file.revision;
    change.perform(Effect::WriteRuntimeNeeds { revision });
}

/// Fills the tables, which are empty after a start.
fn tell_everything(change: &mut Change<'_>) {
    for row in change.state.nat.clone() {
        change.perform(Effect::NatListed { row });
    }
    for module in change.state.engaged.clone() {
        change.perform(Effect::ModuleListed { module });
    }
    let rows = change.state.services.values();
    let rows: Vec<_> = rows.map(|service| service.row.clone()).collect();
    for row in rows {
        change.perform(Effect::ServiceUp { row });
    }
    change.state.open.clear();
    let wanted: Vec<_> = change.state.configured.keys().cloned().collect();
    for name in wanted {
        if !change.state.services.contains_key(&name) {
            open(change, &name);
        }
    }
}
