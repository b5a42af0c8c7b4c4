//! The four tables that the LanManager serves, as AllexJS describes them.

use std::collections::BTreeMap;

use allexmaster_protocol::filter::Filter;
use allexmaster_protocol::server::{Server, TableId};
use allexmaster_protocol::table::TableDescription;

/// Where the tables are in the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    pub(super) needs: TableId,
    pub(super) services: TableId,
    pub(super) nat: TableId,
    pub(super) engaged_modules: TableId,
}

/// A field of a need that only masters of ours know.
const EXCLUSIVE: &str = "exclusive";

/// Fields of `allex_remoteserviceneedingservice`, for both roles, and one that only those rows have
/// whose needs ask for it.
const NEEDS: [&str; 19] = [
    "instancename",
    "modulename",
    "propertyhash",
    "strategies",
    "closed",
    "ipaddress",
    "tcpport",
    "tcpoptions",
    "httpport",
    "httpoptions",
    "wsport",
    "wsoptions",
    "pid",
    "debug",
    "debug_brk",
    "prof",
    "gate",
    "timeout",
    EXCLUSIVE,
];

/// Fields of `allex_availablelanservicesservice` for the role `user`.
const SERVICES_FOR_USERS: [&str; 15] = [
    "instancename",
    "modulename",
    "propertyhash",
    "strategies",
    "ipaddress",
    "tcpport",
    "tcpoptions",
    "httpport",
    "httpoptions",
    "wsport",
    "wsoptions",
    "debug",
    "debug_brk",
    "prof",
    "gate",
];

/// Fields of `allex_availablelanservicesservice` for the role `service`.
const SERVICES_FOR_SERVICES: [&str; 13] = [
    "instancename",
    "modulename",
    "propertyhash",
    "strategies",
    "ipaddress",
    "tcpport",
    "httpport",
    "wsport",
    "debug",
    "debug_brk",
    "prof",
    "gate",
    "created",
];

/// Fields of `allex_natservice`.
const NAT: [&str; 4] = ["iaddress", "iport", "eaddress", "eport"];

/// Fields of `allex_engagedmodulesservice`.
const ENGAGED_MODULES: [&str; 1] = ["modulename"];

impl Tables {
    pub(super) fn add_to(server: &mut Server) -> Self {
        let mut needs = table(&["instancename"], &NEEDS, &NEEDS);
        needs.sparse_fields.insert(EXCLUSIVE.to_owned());
        let unsatisfied = ("unsatisfied".to_owned(), unsatisfied());
        needs.named_filters = BTreeMap::from([unsatisfied]);
        Self {
            needs: server.add_table(needs),
            services: server.add_table(table(
                &["instancename"],
                &SERVICES_FOR_USERS,
                &SERVICES_FOR_SERVICES,
            )),
            nat: server.add_table(table(&["iaddress", "iport"], &NAT, &NAT)),
            engaged_modules: server.add_table(table(
                &["modulename"],
                &ENGAGED_MODULES,
                &ENGAGED_MODULES,
            )),
        }
    }
}

fn table(key: &[&str], user: &[&str], service: &[&str]) -> TableDescription {
    let owned = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect();
    TableDescription {
        key: owned(key),
        visible_fields: BTreeMap::from([
            ("user".to_owned(), owned(user)),
            ("service".to_owned(), owned(service)),
        ]),
        ..TableDescription::default()
    }
}

/// What AllexJS puts in the place of the filter `"unsatisfied"`: not (a pid, an
/// address and one of the ports).
fn unsatisfied() -> Filter {
    let port = ["tcpport", "httpport", "wsport"].map(Filter::exists);
    let place = vec![
        Filter::exists("pid"),
        Filter::exists("ipaddress"),
        Filter::Or(port.into()),
    ];
    Filter::Not(Box::new(Filter::And(place)))
}
