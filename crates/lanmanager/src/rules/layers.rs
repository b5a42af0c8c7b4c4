//! How the three files of needs become one list.

use std::collections::HashMap;

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
