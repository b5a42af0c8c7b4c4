//! The state as people and tools see it.

use serde::Serialize;

use super::names::{InstanceName, MasterId};
use super::state::{Presence, Progress, State};

/// A master, by one of its root sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MasterView {
    /// Its root session.
    pub session: MasterId,
    pub ipaddress: String,
    /// The identifier of its journal; null for a master that does not say it, as those of
    /// JavaScript.
    pub identity: Option<String>,
    /// `connected`, `asked-first` (it is back, and what it ran is needed), or `gone`.
    pub state: &'static str,
    /// When that ends by itself, in milliseconds since the epoch.
    pub until: Option<u64>,
    /// How many services it runs.
    pub services: usize,
}

/// A need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeedView {
    pub instancename: String,
    pub modulename: Option<String>,
    /// `open`, `bid-for` (a master starts it), `checking` (its ports), `satisfied`, `removed`
    /// (it stands in the file `needs` and was removed at run time), or `unneeded` (it runs,
    /// and its need was removed).
    pub state: &'static str,
    /// Which master bids for it or runs it: its address.
    pub master: Option<String>,
    /// How many bids wait behind that.
    pub waiting: usize,
}

/// A service that is listed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceView {
    pub instancename: String,
    /// The root session of the master that it belongs to.
    pub owner: MasterId,
    /// Its row in the table.
    pub row: super::need::Row,
}

impl State {
    /// All masters that are there, or are gone and own services.
    #[must_use]
    pub fn master_views(&self) -> Vec<MasterView> {
        let masters = self.masters.iter();
        let view = masters.map(|(session, master)| MasterView {
            session: session.clone(),
            ipaddress: master.address.to_string(),
            identity: master.identity.as_ref().map(ToString::to_string),
            state: match master.presence {
                Presence::Connected => "connected",
                Presence::AskedFirst { .. } => "asked-first",
                Presence::Gone { .. } => "gone",
            },
            until: master.presence.until().map(|at| at.0),
            services: master.services.len(),
        });
        view.collect()
    }

    /// All needs, by name, and the services whose needs were removed.
    #[must_use]
    pub fn need_views(&self) -> Vec<NeedView> {
        let unneeded = self.services.keys();
        let unneeded = unneeded.filter(|name| !self.configured.contains_key(*name));
        let removed = self.removed.keys();
        let removed = removed.filter(|name| !self.services.contains_key(*name));
        let mut names: Vec<&InstanceName> = self.configured.keys().chain(unneeded).collect();
        names.extend(removed);
        names.sort_unstable();
        names.into_iter().map(|name| self.need_view(name)).collect()
    }

    /// A need, or what there is of that name.
    #[must_use]
    pub fn need_view(&self, name: &InstanceName) -> NeedView {
        let fields = self.configured.get(name).map(super::Need::fields);
        let service = self.services.get(name);
        let fields = fields.or(service.map(|service| &service.row));
        let module = fields.and_then(|fields| fields.get("modulename"));
        let open = self.open.get(name);
        let bid = open.and_then(|need| need.active.as_ref());
        let state = match (service, bid.map(|bid| &bid.progress)) {
            (Some(_), _) if !self.configured.contains_key(name) => "unneeded",
            (Some(_), _) => "satisfied",
            (None, Some(Progress::Preparing)) => "bid-for",
            (None, Some(Progress::Checking { .. })) => "checking",
            (None, None) if open.is_some() => "open",
            (None, None) => "removed",
        };
        let owner = service.map(|service| &service.owner);
        let master = owner.or_else(|| bid.and_then(|bid| bid.master.as_ref()));
        let address = master.and_then(|master| self.masters.get(master));
        NeedView {
            instancename: name.to_string(),
            modulename: module.and_then(|module| module.as_str().map(str::to_owned)),
            state,
            master: address.map(|master| master.address.to_string()),
            waiting: open.map_or(0, |need| need.waiting.len()),
        }
    }

    /// All services that are listed.
    #[must_use]
    pub fn service_views(&self) -> Vec<ServiceView> {
        let services = self.services.iter();
        let view = services.map(|(name, service)| ServiceView {
            instancename: name.to_string(),
            owner: service.owner.clone(),
            row: service.row.clone(),
        });
        view.collect()
    }

    /// The root session of the master that a service belongs to.
    #[must_use]
    pub fn owner(&self, name: &InstanceName) -> Option<&MasterId> {
        self.services.get(name).map(|service| &service.owner)
    }

    /// Whether a root session is known.
    #[must_use]
    pub fn has_master(&self, session: &MasterId) -> bool {
        self.masters.contains_key(session)
    }

    /// Who a master is, for people: its address and the beginning of its identity.
    #[must_use]
    pub fn master_text(&self, session: &MasterId) -> String {
        match self.masters.get(session) {
            None => format!("a master that is gone ({session})"),
            Some(master) => match &master.identity {
                Some(identity) => {
                    let short: String = identity.as_str().chars().take(8).collect();
                    format!("{} ({short})", master.address)
                }
                None => master.address.to_string(),
            },
        }
    }
}
