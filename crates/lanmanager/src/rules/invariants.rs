//! What is always true of the state. Checked after every step in debug builds and
//! by the property tests.

use super::state::{Presence, State};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken invariant: {0}")]
pub struct Broken(pub String);

/// The rest of an `ensure`.
fn broken<T>(words: impl Into<String>) -> Result<T, Broken> {
    Err(Broken(words.into()))
}

impl State {
    /// Checks everything.
    ///
    /// # Errors
    /// [`Broken`] says which invariant does not hold, and for what.
    pub fn check(&self) -> Result<(), Broken> {
        self.every_configured_need_is_open_or_running()?;
        self.every_bidder_bids_once()?;
        self.owners_and_services_agree()?;
        self.gone_masters_have_a_deadline()?;
        self.the_file_is_not_ahead_of_the_state()
    }

    /// A configured need is either open or a service; nothing else is open.
    fn every_configured_need_is_open_or_running(&self) -> Result<(), Broken> {
        for name in self.configured.keys() {
            if self.open.contains_key(name) == self.services.contains_key(name) {
                return broken(format!("{name} must be either open or a service"));
            }
        }
        for name in self.open.keys() {
            if !self.configured.contains_key(name) {
                return broken(format!("{name} is open, but nobody wants it"));
            }
        }
        Ok(())
    }

    /// A session has at most one bid, and no bid waits where none is active.
    fn every_bidder_bids_once(&self) -> Result<(), Broken> {
        for (name, need) in &self.open {
            let active = need.active.iter().map(|bid| &bid.bidder);
            let waiting = need.waiting.iter().map(|waiting| &waiting.bidder);
            let mut bidders: Vec<_> = active.chain(waiting).collect();
            let count = bidders.len();
            bidders.sort_unstable();
            bidders.dedup();
            if bidders.len() != count {
                return broken(format!("somebody bids twice for {name}"));
            }
            let is_kept = need.kept_for.as_ref().is_some_and(|master| {
                let presence = self.masters.get(master).map(|master| master.presence);
                matches!(presence, Some(Presence::AskedFirst { .. }))
            });
            if need.active.is_none() && !need.waiting.is_empty() && !is_kept {
                return broken(format!("bids wait for {name} behind no active one"));
            }
        }
        Ok(())
    }

    /// Each service is listed with its owner and with no other master.
    fn owners_and_services_agree(&self) -> Result<(), Broken> {
        for (name, service) in &self.services {
            let owner = self.masters.get(&service.owner);
            if !owner.is_some_and(|owner| owner.services.contains(name)) {
                return broken(format!("{name} has no owner, so it would stand for ever"));
            }
        }
        let owned: usize = self.masters.values().map(|one| one.services.len()).sum();
        if owned != self.services.len() {
            return broken("a master owns what is no service of its own");
        }
        Ok(())
    }

    /// Gone masters own something; who has a time has a deadline; the indexes name
    /// exactly them.
    fn gone_masters_have_a_deadline(&self) -> Result<(), Broken> {
        let (mut gone, mut timed) = (0, 0);
        for (id, master) in &self.masters {
            let Some(until) = master.presence.until() else {
                continue;
            };
            timed += 1;
            if !self.deadlines.contains(&(until, id.clone())) {
                return broken(format!("{id} waits for a time without a deadline"));
            }
            if master.presence.is_connected() {
                continue;
            }
            gone += 1;
            if master.services.is_empty() {
                return broken(format!("{id} is gone, owns nothing and is remembered"));
            }
            let of_address = self.gone.get(&master.address);
            if !of_address.is_some_and(|ids| ids.contains(id)) {
                return broken(format!("{id} is missing among the gone of its address"));
            }
        }
        let listed: usize = self
            .gone
            .values()
            .map(std::collections::BTreeSet::len)
            .sum();
        if self.deadlines.len() != timed || listed != gone {
            return broken("an index names a master that waits for no time");
        }
        Ok(())
    }

    /// What is known to be in the file was asked for.
    fn the_file_is_not_ahead_of_the_state(&self) -> Result<(), Broken> {
        if self.runtime_file.written > self.runtime_file.revision {
            return broken("needs.runtime is newer than the needs");
        }
        Ok(())
    }

    /// Stops a debug build at a broken invariant; a release build goes on.
    #[cfg(debug_assertions)]
    pub(super) fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            debug_assert!(false, "{broken}");
        }
    }
}
