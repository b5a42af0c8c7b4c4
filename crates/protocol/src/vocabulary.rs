//! The names by which AllexJS calls its services and their methods: said by the master, the
//! LanManager and the command line, so each stands once.

/// Names of subservices, and of the tables behind them.
pub mod service {
    /// The running services of a LAN, at the LanManager.
    pub const SERVICES: &str = "services";
    /// The unsatisfied needs, at the LanManager.
    pub const NEEDS: &str = "needs";
    /// The address translations, at the LanManager; also the local socket with the copy of them.
    pub const TRANSLATIONS: &str = "nat";
    /// The modules in use, at the LanManager.
    pub const ENGAGED_MODULES: &str = "engaged_modules";
}

/// What a master and a LanManager of ours tell one another when they meet. Those of
/// JavaScript ignore it.
pub mod introduction {
    /// In a master's credentials: the identifier of its journal.
    pub const MASTER: &str = "master";
    /// In the state of a master's root session: an object about the LanManager.
    pub const ABOUT: &str = "allexlanmanager";
    /// In that object: how long a master that is gone has for a reconnect, in milliseconds.
    pub const RECONNECT_GRACE: &str = "reconnectgrace";
}

/// Names of the modules that a service introduces itself with.
pub mod module {
    pub const ENGAGED_MODULES: &str = "allex_engagedmodulesservice";
    pub const LAN_MANAGER: &str = "allex_lanmanagerservice";
    pub const LAN_SERVICES: &str = "allex_availablelanservicesservice";
    pub const MASTER: &str = "allex_masterservice";
    pub const NEEDS: &str = "allex_remoteserviceneedingservice";
    /// One need, to which masters bid.
    pub const NEED: &str = "allex_serviceneedservice";
    pub const TRANSLATIONS: &str = "allex_natservice";
}

/// Names of methods. Those marked as ours are not known to the JavaScript master.
pub mod method {
    pub const SUB_CONNECT: &str = "subConnect";

    pub const ADD_NEED: &str = "addNeed";
    pub const REMOVE_NEED: &str = "removeNeed";
    pub const NOTIFY_MODULE_ENGAGED: &str = "notifyModuleEngaged";
    pub const NOTIFY_SERVICE_DOWN: &str = "notifyServiceDown";

    /// Offers to run a needed service; the answer is a challenge.
    pub const BID: &str = "bid";
    /// Answers the challenge with where the service runs.
    pub const RESPOND: &str = "respond";

    pub const KILL: &str = "kill";
    /// Ours.
    pub const COMPACT: &str = "compact";
    /// Ours: a service is to end, and not to run here until it is started.
    pub const HOLD: &str = "hold";
    /// Ours.
    pub const CONFIGURATION: &str = "configuration";
    /// Ours.
    pub const JOURNAL: &str = "journal";
    /// Ours.
    pub const NEEDS: &str = "needs";
    /// Ours.
    pub const RELOAD: &str = "reload";
    /// Ours.
    pub const RESTART: &str = "restart";
    /// Ours: a service that was stopped, or has failed, is to run.
    pub const START: &str = "start";
    /// Ours.
    pub const STATUS: &str = "status";
    /// Ours.
    pub const STOP: &str = "stop";
    /// Ours.
    pub const UPGRADE: &str = "upgrade";
}
