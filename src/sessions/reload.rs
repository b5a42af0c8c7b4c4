//! The configuration is read again and put in force, without touching what runs.

use std::sync::Arc;
use std::time::Duration;

use allexmaster_journal::Stopped;
use allexmaster_protocol::close::CloseReason;
use allexmaster_sessions::{ConnectionName, Input};
use allexmaster_state::{Event, Settings, State};
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::descriptors::{Inherited, LAN};
use super::dialer;
use super::runtime::{Runtime, Shared};
use crate::config::{
    Accepted, Config, ConfigError, Difference, Loaded, Report, is_kept_configuration,
};

/// What became of the wish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reloaded {
    /// It is in force, or would be.
    Done(Reload),
    /// It has mistakes, or cannot be read; the one before stays in force.
    Mistaken {
        /// With the lines of the file, for people.
        text: String,
        mistakes: Vec<Report>,
    },
}

/// What has changed, or would.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reload {
    pub file: String,
    /// Nothing was put in force.
    pub dryrun: bool,
    pub changes: Vec<Difference>,
    /// The services that run an older command than the configuration has.
    pub oldercommand: Vec<String>,
    pub warnings: Vec<Report>,
}

impl Runtime {
    /// Reads the configuration again, as a signal asks; the log tells what became of it.
    pub async fn reload(&self) {
        match self.shared.inbox.outage() {
            Some(outage) => warn!(
                reason = outage.reason,
                "not reloaded: the journal cannot be written"
            ),
            // Where the loop has ended, the program ends.
            None => drop(reload(&self.shared, false).await),
        }
    }

    /// How long children have to end, by the configuration in force.
    #[must_use]
    pub fn stop_grace(&self) -> Duration {
        Duration::from_millis(self.shared.config.accepted().config.settings.stop_grace)
    }

    /// An event says that the configuration was read: what was proposed with it is in force. Called
    /// on the loop's thread, before the effects of the event are performed.
    pub fn settings_recorded(&self) {
        self.shared.config.apply();
    }
}

/// Reads the configuration again, and puts it in force where that is wanted.
///
/// # Errors
/// The loop has ended.
pub(super) async fn reload(shared: &Arc<Shared>, dry_run: bool) -> Result<Reloaded, Stopped> {
    // One at a time: each compares with what the one before has put in force.
    let _turn = shared.reloading.lock().await;
    let reader = Arc::clone(&shared.config);
    let read = shared.runtime.spawn_blocking(move || reader.read()).await;
    let loaded = match read {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(error)) => return Ok(mistaken(error)),
        // The runtime ends.
        Err(_) => return Err(Stopped),
    };
    let before = shared.config.accepted();
    let changes = loaded.config.differences(&before.config);
    let settings = loaded.config.settings.clone();
    let file = loaded.file.display().to_string();
    let warnings = loaded.warnings.clone();
    if !dry_run && !changes.is_empty() {
        put_in_force(shared, &before, loaded).await?;
    }
    let oldercommand = older_commands(shared, settings).await?;
    if !dry_run {
        log(&file, &changes, &warnings, &oldercommand);
    }
    Ok(Reloaded::Done(Reload {
        file,
        dryrun: dry_run,
        changes,
        oldercommand,
        warnings,
    }))
}

async fn put_in_force(
    shared: &Arc<Shared>,
    before: &Accepted,
    loaded: Loaded,
) -> Result<(), Stopped> {
    let mut accepted = Accepted::now(loaded);
    accepted.generation = before.generation + 1;
    // First what a later engine goes on with: it records what this one may not come to record.
    shared.keep_configuration(&accepted);
    let Config {
        settings,
        journal: bounds,
        lan_endpoints,
        ..
    } = accepted.config.clone();
    shared.config.propose(accepted);
    shared
        .inbox
        .send(Event::SettingsLoaded { settings })
        .await?;
    // Answered after the event is recorded.
    let endpoint = shared
        .inbox
        .look(|state| state.lan_status().endpoint)
        .await?;
    shared
        .inbox
        .read(move |journal| journal.set_bounds(bounds))
        .await?;
    let is_configured = |known: &str| lan_endpoints.iter().any(|one| one.to_string() == known);
    if before.config.lan_endpoints != lan_endpoints
        && !endpoint.as_deref().is_some_and(is_configured)
    {
        shared.dial_anew();
    }
    Ok(())
}

async fn older_commands(shared: &Arc<Shared>, settings: Settings) -> Result<Vec<String>, Stopped> {
    let look = move |state: &State| {
        let older = state.older_commands(&settings);
        older.map(ToString::to_string).collect()
    };
    shared.inbox.look(look).await
}

fn log(file: &str, changes: &[Difference], warnings: &[Report], older: &[String]) {
    for warning in warnings {
        warn!("{}", warning.one_line());
    }
    if changes.is_empty() {
        info!(file, "the configuration was read: nothing has changed");
        return;
    }
    for Difference { key, from, to } in changes {
        info!(key, %from, %to, "the configuration has changed");
    }
    if !older.is_empty() {
        let services = older.join(", ");
        info!(
            services,
            "these run an older command until they are restarted"
        );
    }
}

fn mistaken(error: ConfigError) -> Reloaded {
    let mistakes = error.reports();
    for mistake in &mistakes {
        error!(
            "not reloaded, the configuration of before stays in force: {}",
            mistake.one_line()
        );
    }
    Reloaded::Mistaken {
        text: error.for_people(),
        mistakes,
    }
}

impl Shared {
    /// Has the keeper hold what this engine begins with, and nothing older.
    pub(super) fn keep_first_configuration(&self, inherited: &mut Inherited) {
        let accepted = self.config.accepted();
        let own = accepted.kept_name();
        let held = inherited.keys().filter(|name| is_kept_configuration(name));
        let held: Vec<String> = held.cloned().collect();
        let mut is_held = false;
        for name in held {
            inherited.remove(&name);
            if name == own {
                is_held = true;
            } else if let Some(store) = &self.store {
                store.forget(&name);
            }
        }
        if !is_held {
            self.keep_configuration(&accepted);
        }
    }

    /// Has the keeper hold an accepted configuration for the next engine, in place of the one before.
    pub(super) fn keep_configuration(&self, accepted: &Accepted) {
        let Some(store) = &self.store else {
            return;
        };
        match accepted.to_memory() {
            Ok(memory) => {
                store.keep(&accepted.kept_name(), &[std::os::fd::AsFd::as_fd(&memory)]);
                if let Some(before) = accepted.name_before() {
                    store.forget(&before);
                }
            }
            Err(error) => warn!(
                %error,
                "the configuration cannot be kept: if the engine is killed, the next one has the one before"
            ),
        }
    }

    /// The LanManager is another one: the connection to the one before ends, and the rules dial anew.
    fn dial_anew(self: &Arc<Self>) {
        let connection = {
            let mut inner = self.lock();
            if inner.log.sessions().dialing().is_some() {
                dialer::begin(self, &mut inner);
                return;
            }
            let is_lan = |name: &&ConnectionName| name.0.starts_with(LAN);
            let name = inner.pumps.keys().chain(inner.carried.keys()).find(is_lan);
            name.cloned()
        };
        // None: it is away, and dialed when its pause is over.
        let Some(name) = connection else {
            return;
        };
        self.enter(Input::Ended {
            name: name.clone(),
            reason: CloseReason::Reconfigured,
        });
        let mut inner = self.lock();
        if let Some(pump) = inner.pumps.remove(&name) {
            pump.cut.notify_one();
            self.forget(&name);
        } else if let Some(outgoing) = inner.carried.remove(&name) {
            outgoing.close();
        }
    }
}
