//! The invariants, one function each. Checked after every step in debug builds
//! and in every property test; never switched off there.

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;

use crate::service::{Activity, Wait};
use crate::{
    Claim, Deadline, Identity, Incarnation, Install, InstanceName, Lan, Port, Protocol, Services,
    Shutdown, State,
};

/// An invariant that does not hold: a mistake in the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A port in use is not leased to the child that uses it, or a lease has no user.
    Lease(Port),
    /// A port is in two places at once.
    PortInTwoPlaces(Port),
    /// Two services have the same attempt.
    SharedAttempt(Incarnation),
    /// Two services have the same process.
    SharedProcess(Identity),
    /// What is derived from the services differs from what they say.
    Index(&'static str),
    /// A service's time and its deadline differ.
    Deadline(InstanceName),
    /// A claim does not fit to the process.
    Claim(InstanceName),
    /// A claim stands although the LanManager is away.
    ClaimWithoutLan(InstanceName),
    /// A bid is open although the LanManager has yet to hear of the service's end.
    BidBeforeReport(InstanceName),
    /// Two packages are being installed at once.
    TwoInstallations,
    /// A service that somebody stopped does not stay so.
    Hold(InstanceName),
    /// Something that could go on does not.
    Stuck(&'static str),
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease(port) => write!(formatter, "port {port}: lease and use differ"),
            Self::PortInTwoPlaces(port) => write!(formatter, "port {port} is in two places"),
            Self::SharedAttempt(incarnation) => {
                write!(formatter, "two services have the attempt {incarnation}")
            }
            Self::SharedProcess(identity) => {
                write!(formatter, "two services have the process {}", identity.pid)
            }
            Self::Index(what) => write!(formatter, "the index of {what} differs from the services"),
            Self::Deadline(instance) => {
                write!(formatter, "{instance}: its time and its deadline differ")
            }
            Self::Claim(instance) => {
                write!(
                    formatter,
                    "{instance}: its claim does not fit to its process"
                )
            }
            Self::TwoInstallations => formatter.write_str("npm runs twice in one folder"),
            Self::ClaimWithoutLan(instance) => {
                write!(
                    formatter,
                    "{instance}: a claim although the LanManager is away"
                )
            }
            Self::BidBeforeReport(instance) => {
                write!(formatter, "{instance}: a bid before its end was reported")
            }
            Self::Hold(instance) => {
                write!(
                    formatter,
                    "{instance}: it was stopped, and does not stay so"
                )
            }
            Self::Stuck(what) => write!(formatter, "nothing would ever {what}"),
        }
    }
}

impl core::error::Error for Broken {}

impl State {
    /// Checks every invariant.
    ///
    /// # Errors
    ///
    /// The first one that does not hold.
    pub fn check(&self) -> Result<(), Broken> {
        every_used_port_is_leased_to_its_user_and_to_nobody_else(self)?;
        every_port_is_in_one_place(self)?;
        no_two_services_share_an_attempt_or_a_process(self)?;
        what_is_derived_from_the_services_agrees_with_them(self)?;
        every_service_with_a_time_has_its_deadline(self)?;
        every_claim_fits_to_its_process(self)?;
        no_claim_outlives_the_connection(self)?;
        nothing_is_bid_for_before_its_end_was_reported(self)?;
        what_was_stopped_has_no_child_but_one_that_ends(self)?;
        free_places_are_not_left_empty(self)?;
        one_package_is_installed_at_a_time(self)?;
        somebody_dials_unless_there_is_a_connection(self)
    }
}

fn every_used_port_is_leased_to_its_user_and_to_nobody_else(state: &State) -> Result<(), Broken> {
    let leases: BTreeMap<Port, Incarnation> = state.ports.leases().collect();
    let mut used = 0;
    for (_, service) in state.services.iter() {
        let Some((incarnation, ports)) = service.activity.attempt() else {
            continue;
        };
        for (_, port) in ports.iter() {
            used += 1;
            if leases.get(port) != Some(&incarnation) {
                return Err(Broken::Lease(*port));
            }
        }
    }
    if used == leases.len() {
        return Ok(());
    }
    Err(Broken::Index("leases"))
}

fn every_port_is_in_one_place(state: &State) -> Result<(), Broken> {
    let leases: BTreeSet<Port> = state.ports.leases().map(|(port, _)| port).collect();
    let blocked: BTreeSet<Port> = state.ports.blocked().map(|(port, _)| port).collect();
    if let Some(port) = leases.intersection(&blocked).next() {
        return Err(Broken::PortInTwoPlaces(*port));
    }
    for protocol in Protocol::ALL {
        for port in state.ports.released(protocol) {
            if leases.contains(&port) || blocked.contains(&port) {
                return Err(Broken::PortInTwoPlaces(port));
            }
        }
    }
    for (port, until) in state.ports.blocked() {
        if !state.deadlines.has(until, Deadline::PortUsable(port)) {
            return Err(Broken::Stuck("unblock a port"));
        }
    }
    Ok(())
}

fn no_two_services_share_an_attempt_or_a_process(state: &State) -> Result<(), Broken> {
    let mut attempts = BTreeSet::new();
    let mut processes = BTreeSet::new();
    for (_, service) in state.services.iter() {
        if let Some((incarnation, _)) = service.activity.attempt()
            && !attempts.insert(incarnation)
        {
            return Err(Broken::SharedAttempt(incarnation));
        }
        if let Some(process) = service.activity.process() {
            let identity = &process.identity;
            if !processes.insert((identity.boot.clone(), identity.pid, identity.started)) {
                return Err(Broken::SharedProcess(identity.clone()));
            }
        }
    }
    Ok(())
}

fn what_is_derived_from_the_services_agrees_with_them(state: &State) -> Result<(), Broken> {
    let by_name: BTreeMap<_, _> = state
        .services
        .iter()
        .map(|(name, service)| (name.clone(), service.clone()))
        .collect();
    if Services::from(by_name) == state.services {
        return Ok(());
    }
    Err(Broken::Index("services"))
}

fn every_service_with_a_time_has_its_deadline(state: &State) -> Result<(), Broken> {
    let mut services_with_a_time = 0;
    for (instance, service) in state.services.iter() {
        let Some(at) = service.deadline() else {
            continue;
        };
        services_with_a_time += 1;
        let reason = Deadline::Service(instance.clone());
        if !state.deadlines.has(at, reason) {
            return Err(Broken::Deadline(instance.clone()));
        }
    }
    let services = state
        .deadlines
        .iter()
        .filter(|(_, reason)| matches!(reason, Deadline::Service(_)));
    if services.count() == services_with_a_time {
        return Ok(());
    }
    Err(Broken::Index("deadlines"))
}

fn every_claim_fits_to_its_process(state: &State) -> Result<(), Broken> {
    for (instance, service) in state.services.iter() {
        let has_child = match &service.activity {
            Activity::Probing { .. }
            | Activity::Spawning { .. }
            | Activity::Starting { .. }
            | Activity::Up { .. } => true,
            Activity::Waiting(_)
            | Activity::BackingOff { .. }
            | Activity::Failed { .. }
            | Activity::Stopping { .. } => false,
        };
        let is_up = matches!(service.activity, Activity::Up { .. });
        let fits = match &service.claim {
            Claim::None => !matches!(
                service.activity,
                Activity::Waiting(Wait::Answer | Wait::Start { .. })
            ),
            Claim::Bidding { .. } => {
                has_child || service.activity == Activity::Waiting(Wait::Answer)
            }
            Claim::Held {
                respond_at: Some(_),
                ..
            } => is_up,
            Claim::Held {
                respond_at: None, ..
            } => {
                (has_child && !is_up)
                    || matches!(service.activity, Activity::Waiting(Wait::Start { .. }))
            }
            Claim::Responding { .. } | Claim::Approved | Claim::Superseded { .. } => is_up,
            Claim::Paused { .. } | Claim::CutOff { .. } => has_child,
        };
        if !fits {
            return Err(Broken::Claim(instance.clone()));
        }
    }
    Ok(())
}

fn no_claim_outlives_the_connection(state: &State) -> Result<(), Broken> {
    let is_connected = matches!(state.lan, Lan::Up { .. });
    for (instance, service) in state.services.iter() {
        let fits = match service.claim {
            Claim::None => true,
            Claim::CutOff { .. } => !is_connected,
            Claim::Bidding { .. }
            | Claim::Held { .. }
            | Claim::Responding { .. }
            | Claim::Approved
            | Claim::Paused { .. }
            | Claim::Superseded { .. } => is_connected,
        };
        if !fits || (service.wanted && !is_connected) {
            return Err(Broken::ClaimWithoutLan(instance.clone()));
        }
    }
    Ok(())
}

fn nothing_is_bid_for_before_its_end_was_reported(state: &State) -> Result<(), Broken> {
    for (instance, service) in state.services.iter() {
        if service.down_unreported && service.claim != Claim::None {
            return Err(Broken::BidBeforeReport(instance.clone()));
        }
    }
    Ok(())
}

fn what_was_stopped_has_no_child_but_one_that_ends(state: &State) -> Result<(), Broken> {
    for (instance, service) in state.services.iter() {
        let rests = match &service.activity {
            Activity::Waiting(wait) => *wait == Wait::Held,
            Activity::Spawning { cancelled, .. } => cancelled.is_some(),
            Activity::Stopping { .. } => true,
            Activity::BackingOff { .. }
            | Activity::Failed { .. }
            | Activity::Probing { .. }
            | Activity::Starting { .. }
            | Activity::Up { .. } => false,
        };
        let waits = service.activity == Activity::Waiting(Wait::Held);
        if service.hold.is_some() && !rests || service.hold.is_none() && waits {
            return Err(Broken::Hold(instance.clone()));
        }
    }
    Ok(())
}

fn free_places_are_not_left_empty(state: &State) -> Result<(), Broken> {
    let services = &state.services;
    let place_to_start = services.starting() < state.settings.starts_at_once;
    if place_to_start && services.next_starter().is_some() {
        return Err(Broken::Stuck("start a child whose bid is won"));
    }
    let open = services.bidding() + services.starters();
    if open < state.settings.bids_at_once && services.next_bidder().is_some() {
        return Err(Broken::Stuck("bid for a need"));
    }
    Ok(())
}

fn one_package_is_installed_at_a_time(state: &State) -> Result<(), Broken> {
    let installs = || state.installs.values();
    let running = installs().filter(|install| matches!(install, Install::Running { .. }));
    let queued = installs().any(|install| matches!(install, Install::Queued { .. }));
    match running.count() {
        0 if queued && state.shutdown == Shutdown::No => Err(Broken::Stuck("an installation")),
        0 | 1 => Ok(()),
        _ => Err(Broken::TwoInstallations),
    }
}

fn somebody_dials_unless_there_is_a_connection(state: &State) -> Result<(), Broken> {
    let away = matches!(state.lan, Lan::Away { .. });
    let running = state.master.is_some() && state.shutdown == Shutdown::No;
    if running && away && !state.deadlines.has_dial() {
        return Err(Broken::Stuck("dial the LanManager"));
    }
    Ok(())
}
