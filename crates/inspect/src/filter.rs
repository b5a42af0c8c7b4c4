//! Which events are shown.

use allexmaster_state::{Effect, InstanceName, Pid, Port, Recorded, State};

use crate::subject::Subjects;

/// Events that have to do with all that is named. Names of one sort are alternatives.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub instances: Vec<InstanceName>,
    pub ports: Vec<Port>,
    pub pids: Vec<Pid>,
    pub kinds: Vec<String>,
}

impl Filter {
    /// Whether it lets everything pass.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
            && self.ports.is_empty()
            && self.pids.is_empty()
            && self.kinds.is_empty()
    }

    /// Whether an event is wanted, as far as that is known before it is decided: `None` where it
    /// depends on what the event leads to.
    #[must_use]
    pub fn before(&self, state: &State, recorded: &Recorded) -> (Option<bool>, Subjects) {
        let kind = recorded.event.kind_name();
        if !self.kinds.is_empty() && !self.kinds.iter().any(|wanted| wanted == kind) {
            return (Some(false), Subjects::default());
        }
        if self.instances.is_empty() && self.ports.is_empty() && self.pids.is_empty() {
            return (Some(true), Subjects::default());
        }
        let subjects = Subjects::of_event(state, recorded);
        let wanted = self.wants(&subjects).then_some(true);
        (wanted, subjects)
    }

    /// Whether an event is wanted because of what it led to.
    #[must_use]
    pub fn after(&self, mut subjects: Subjects, state: &State, effects: &[Effect]) -> bool {
        subjects.add_effects(state, effects);
        self.wants(&subjects)
    }

    fn wants(&self, subjects: &Subjects) -> bool {
        let any = |wanted: bool, empty: bool| wanted || empty;
        any(
            self.instances
                .iter()
                .any(|name| subjects.instances.contains(name)),
            self.instances.is_empty(),
        ) && any(
            self.ports.iter().any(|port| subjects.ports.contains(port)),
            self.ports.is_empty(),
        ) && any(
            self.pids.iter().any(|pid| subjects.pids.contains(pid)),
            self.pids.is_empty(),
        )
    }
}
