//! How the three files of needs become one list.

use std::collections::{HashMap, HashSet};

use super::names::InstanceName;
use super::need::Need;

/// Merges the layers as AllexJS does: an entry of the overlay extends a base entry
/// of its name and is ignored where there is none; an entry of the runtime layer
/// extends or adds. The fields of the later layer win, one by one (shallow).
#[must_use]
pub fn merge_layers(base: Vec<Need>, overlay: Vec<Need>, runtime: Vec<Need>) -> Vec<Need> {
    let mut merged: Vec<Need> = Vec::with_capacity(base.len());
    let mut places: HashMap<InstanceName, usize> = HashMap::new();
    let layers = [(base, true), (overlay, false), (runtime, true)];
    for (layer, adds) in layers {
        for need in layer {
            match places.get(need.name()) {
                Some(&place) => {
                    if let Some(present) = merged.get_mut(place) {
                        present.extend(need);
                    }
                }
                None if adds => {
                    places.insert(need.name().clone(), merged.len());
                    merged.push(need);
                }
                None => {}
            }
        }
    }
    merged
}

/// What an operator should know of an entry of the files that does not count as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Two entries of one file have the name: of each field, the later one counts.
    Doubled(InstanceName),
    /// `needs.runtime` says something else than `needs` in these fields, and counts.
    Overridden(InstanceName, Vec<String>),
}

impl std::fmt::Display for Remark {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Doubled(name) => write!(
                formatter,
                "the file needs has {name} more than once; the fields of the last entry count"
            ),
            Self::Overridden(name, fields) => write!(
                formatter,
                "the entry {name} of the file needs does not count in {}: needs.runtime, which needs \
                 that were added and removed are written to, says something else; edit both, or \
                 remove the need and add it again",
                fields.join(", ")
            ),
        }
    }
}

/// The entries of the files that do not count as they stand. The strategies are left out:
/// the LanManager adds its own to them.
#[must_use]
pub fn remarks(base: &[Need], overlay: &[Need], runtime: &[Need]) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut names = HashSet::new();
    for need in base {
        if !names.insert(need.name()) {
            remarks.push(Remark::Doubled(need.name().clone()));
        }
    }
    let merged = merge_layers(base.to_vec(), overlay.to_vec(), Vec::new());
    let entries: HashMap<_, _> = merged.iter().map(|need| (need.name(), need)).collect();
    for later in runtime {
        let Some(need) = entries.get(later.name()) else {
            continue;
        };
        let differs = |(field, value): &(&String, &serde_json::Value)| {
            *field != "strategies" && need.fields().get(*field) != Some(*value)
        };
        let fields = later.fields().iter().filter(differs);
        let fields: Vec<_> = fields.map(|(field, _)| field.clone()).collect();
        if !fields.is_empty() {
            remarks.push(Remark::Overridden(later.name().clone(), fields));
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn layer(value: Value) -> Vec<Need> {
        let Value::Array(entries) = value else {
            panic!("a layer is an array");
        };
        let needs = entries.into_iter().map(Need::from_json);
        needs.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn entries_that_do_not_count_as_they_stand_are_named() {
        let entry = |module: &str| json!({"instancename": "A", "modulename": module});
        let base = layer(json!([entry("a"), entry("b")]));
        let mut runtime = entry("c");
        runtime["strategies"] = json!({"ip": []});
        runtime["gate"] = json!("overlaid");
        let overlay = layer(json!([{"instancename": "A", "gate": "overlaid"}]));
        let runtime = layer(json!([runtime, {"instancename": "B"}]));
        let remarks = remarks(&base, &overlay, &runtime);
        let name = InstanceName::parse("A").unwrap();
        let fields = vec!["modulename".to_owned()];
        let expected = [
            Remark::Doubled(name.clone()),
            Remark::Overridden(name, fields),
        ];
        assert_eq!(remarks, expected);
    }

    #[test]
    fn an_overlay_extends_and_a_runtime_layer_extends_or_adds() {
        let merged = merge_layers(
            layer(json!([{"instancename": "A", "modulename": "a", "tcpport": 1}])),
            layer(json!([{"instancename": "A", "tcpport": 2}, {"instancename": "B"}])),
            layer(
                json!([{"instancename": "C", "modulename": "c"}, {"instancename": "A", "wsport": 3}]),
            ),
        );
        let rows: Vec<_> = merged.iter().map(|need| json!(need.fields())).collect();
        assert_eq!(
            rows,
            [
                json!({"instancename": "A", "modulename": "a", "tcpport": 2, "wsport": 3}),
                json!({"instancename": "C", "modulename": "c"}),
            ]
        );
    }
}
