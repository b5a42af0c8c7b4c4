//! The processes of one run, found without asking any of them.

use std::collections::BTreeMap;

use allexmaster_testkit::Finding;
use allexmaster_testkit::master::{INCARNATION, ROLE};
use allexmaster_testkit::processes::{Identity, all, environment, leads_its_group};
use serde_json::Value;

/// The variable that all processes of a run inherit; its value is the folder of the run.
pub(crate) const MARK: &str = "ALLEXMASTER_TORTURE";
/// The variable with the descriptor of a child.
const SPAWN: &str = "ALLEX_SPAWN";

/// The living processes of a run.
#[derive(Default)]
pub(crate) struct Census {
    /// The service of each group leader that is a service's child.
    pub(crate) children: Vec<(String, Identity)>,
    pub(crate) engines: Vec<Identity>,
    /// All, those of above among them.
    pub(crate) all: Vec<Identity>,
}

impl Census {
    pub(crate) fn take(mark: &str) -> Self {
        let mut census = Self::default();
        for pid in all() {
            let variables: BTreeMap<String, String> = environment(pid).into_iter().collect();
            if variables.get(MARK).is_some_and(|own| own == mark)
                && let Some(identity) = Identity::of(pid)
            {
                census.all.push(identity);
                census.sort(identity, &variables);
            }
        }
        census
    }

    fn sort(&mut self, identity: Identity, variables: &BTreeMap<String, String>) {
        if !variables.contains_key(INCARNATION) {
            if variables.get(ROLE).is_some_and(|role| role == "engine") {
                self.engines.push(identity);
            }
            return;
        }
        let leads = leads_its_group(identity.pid);
        let descriptor = variables.get(SPAWN);
        let descriptor = descriptor.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let name = descriptor.and_then(|value| value["instancename"].as_str().map(str::to_owned));
        if let Some(name) = name.filter(|_| leads) {
            self.children.push((name, identity));
        }
    }

    /// The child of each service.
    ///
    /// # Errors
    /// A service has two.
    pub(crate) fn by_service(&self) -> Finding<BTreeMap<String, Identity>> {
        let mut found = BTreeMap::new();
        for (name, identity) in &self.children {
            if let Some(other) = found.insert(name.clone(), *identity)
                && other.lives()
                && identity.lives()
            {
                return Err(format!(
                    "{name} is served twice: by {other:?} and by {identity:?}"
                ));
            }
        }
        Ok(found)
    }
}
