//! Tables: a mirror that is fed by a query always equals the filtered table.

use std::collections::BTreeMap;

use allexmaster_protocol::filter::{Filter, Row};
use allexmaster_protocol::mirror::{Mirror, MirrorChange};
use allexmaster_protocol::table::{Query, QueryNumber, RowKey, Table, TableDescription};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::decoders::cases;
use crate::filters::{filters, rows};

fn row(value: Value) -> Row {
    value.as_object().unwrap().clone()
}

pub(crate) fn description(key: &[&str]) -> TableDescription {
    let fields = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    TableDescription {
        key: fields(key),
        visible_fields: BTreeMap::from([
            ("user".to_owned(), fields(&["k", "l", "a", "b"])),
            ("service".to_owned(), fields(&["k", "l", "c"])),
        ]),
        sparse_fields: std::collections::BTreeSet::new(),
        named_filters: BTreeMap::from([(
            "unsatisfied".to_owned(),
            Filter::from_value(&json!({"op": "notexists", "field": "a"})).unwrap(),
        )]),
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Row),
    Update(Value, Row),
    Remove(Value),
    OpenAgain(usize),
}

pub(crate) fn keys() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[xyz]".prop_map(Value::from),
        (0_u64..3).prop_map(Value::from)
    ]
}

pub(crate) fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (keys(), rows()).prop_map(|(key, mut row)| {
            row.insert("k".to_owned(), key);
            Change::Put(row)
        }),
        3 => (keys(), rows()).prop_map(|(key, fields)| Change::Update(key, fields)),
        2 => keys().prop_map(Change::Remove),
        1 => (0_usize..4).prop_map(Change::OpenAgain),
    ]
}

/// A query with the copy that it feeds.
struct Follower {
    query: Query,
    role: &'static str,
    number: QueryNumber,
    mirror: Mirror,
}

impl Follower {
    fn open(table: &mut Table, filter: Filter, role: &'static str) -> Self {
        let query = Query {
            continuous: true,
            filter,
            ..Query::all()
        };
        let mut mirror = Mirror::new(["k"]);
        for event in table.read(&query, role, "reading").unwrap() {
            mirror.apply(serde_json::from_str(&event).unwrap()).unwrap();
        }
        let number = table.follow(&query, role).unwrap();
        Self {
            query,
            role,
            number,
            mirror,
        }
    }

    fn expected(&self, table: &Table) -> Vec<Row> {
        let fields = &table.description().visible_fields[self.role];
        let seen = |row: &Row| {
            fields
                .iter()
                .map(|field| {
                    (
                        field.clone(),
                        row.get(field).cloned().unwrap_or(Value::Null),
                    )
                })
                .collect()
        };
        table
            .rows()
            .filter(|row| self.query.filter.matches(row))
            .map(|row| seen(&row))
            .collect()
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn a_mirror_equals_the_filtered_table_after_any_changes(
        wanted in prop::collection::vec((filters(), any::<bool>()), 1..4),
        by_key in keys(),
        changes in prop::collection::vec(changes(), 0..30),
    ) {
        let mut table = Table::new(description(&["k"]));
        let filters = wanted.into_iter().chain([(Filter::equal("k", by_key), true)]);
        let mut followers: Vec<Follower> = filters
            .map(|(filter, user)| Follower::open(&mut table, filter, if user { "user" } else { "service" }))
            .collect();
        for change in changes {
            let told = match change {
                Change::Put(row) => table.put(row),
                Change::Update(key, fields) => table.update(&RowKey::of_values([&key]), fields),
                Change::Remove(key) => table.remove(&RowKey::of_values([&key])).1,
                Change::OpenAgain(which) => {
                    let index = which % followers.len();
                    let (filter, role) = (followers[index].query.filter.clone(), followers[index].role);
                    prop_assert!(table.close(followers[index].number));
                    prop_assert!(!table.close(followers[index].number));
                    followers[index] = Follower::open(&mut table, filter, role);
                    Vec::new()
                }
            };
            for event in told {
                let follower = followers.iter_mut().find(|follower| follower.number == event.query).unwrap();
                let changed = follower.mirror.apply(serde_json::from_str(&event.event).unwrap()).unwrap();
                prop_assert!(!changed.is_empty(), "an event that changes nothing: {}", event.event);
            }
            for follower in &followers {
                let copy: Vec<Row> = follower.mirror.rows().collect();
                prop_assert_eq!(copy, follower.expected(&table));
            }
        }
    }

    #[test]
    fn reading_with_limit_and_offset_gives_that_part_of_the_whole(
        all in prop::collection::vec((keys(), rows()), 0..20), filter in filters(), limit in 0_usize..6, offset in 0_usize..6,
    ) {
        let mut table = Table::new(description(&["k"]));
        for (key, mut row) in all {
            row.insert("k".to_owned(), key);
            table.put(row);
        }
        let whole = Query { filter, ..Query::all() };
        let part = Query { limit: Some(limit), offset, ..whole.clone() };
        let read = |query: &Query| {
            let mut events = table.read(query, "user", "x").unwrap();
            events.remove(0);
            events.pop();
            events
        };
        let expected: Vec<String> = read(&whole).into_iter().skip(offset).take(limit).collect();
        prop_assert_eq!(read(&part), expected);
    }
}

#[test]
fn a_row_that_stops_matching_is_told_as_deleted_and_one_that_starts_as_created() {
    let mut table = Table::new(description(&["k"]));
    let query = Query::from_value(
        &json!({"continuous": true, "filter": "unsatisfied"}),
        &table.description().named_filters,
    )
    .unwrap();
    table.follow(&query, "user").unwrap();
    let texts = |told: Vec<allexmaster_protocol::table::Told>| {
        told.iter()
            .map(|told| told.event.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        texts(table.put(row(json!({"k": "Time"})))),
        [r#"["c",{"a":null,"b":null,"k":"Time","l":null}]"#]
    );
    assert_eq!(
        texts(table.update(&RowKey::of_text("Time"), row(json!({"b": 1, "c": 2})))),
        [r#"["u",{"field":"k","op":"eq","value":"Time"},{"b":1}]"#]
    );
    assert_eq!(
        texts(table.update(&RowKey::of_text("Time"), row(json!({"c": 3})))),
        Vec::<String>::new()
    );
    assert_eq!(
        texts(table.update(&RowKey::of_text("Time"), row(json!({"a": 1})))),
        [r#"["d",{"field":"k","op":"eq","value":"Time"}]"#]
    );
    assert_eq!(
        texts(table.remove(&RowKey::of_text("Time")).1),
        Vec::<String>::new()
    );
}

#[test]
fn a_row_with_a_key_of_two_fields_is_named_by_both() {
    let mut table = Table::new(description(&["k", "l"]));
    table.put(row(json!({"k": "10.0.0.1", "l": 80})));
    table.put(row(json!({"k": "10.0.0.1", "l": 81})));
    assert_eq!(table.len(), 2);
    table.follow(&Query::all(), "user").unwrap();
    let (_, told) = table.remove(&RowKey::of_values([&json!("10.0.0.1"), &json!(80)]));
    let mut mirror = Mirror::new(["k", "l"]);
    for port in [80, 81] {
        mirror
            .apply(json!(["c", {"k": "10.0.0.1", "l": port}]))
            .unwrap();
    }
    let removed = mirror
        .apply(serde_json::from_str(&told[0].event).unwrap())
        .unwrap();
    assert_eq!(
        removed,
        [MirrorChange::Removed(row(
            json!({"k": "10.0.0.1", "l": 80})
        ))]
    );
    assert_eq!(mirror.rows().len(), 1);
}

#[test]
fn only_the_fields_that_are_visible_and_wanted_are_told() {
    let mut table = Table::new(description(&["k"]));
    table.put(row(json!({"k": "Time", "a": 1, "b": 2, "c": 3})));
    let query =
        Query::from_value(&json!({"visiblefields": ["k", "b", "c"]}), &BTreeMap::new()).unwrap();
    let read = table.read(&query, "user", "x").unwrap();
    assert_eq!(
        read,
        [
            r#"["rb","x"]"#,
            r#"["r1","x",{"b":2,"k":"Time"}]"#,
            r#"["re","x"]"#
        ]
    );
    assert!(table.read(&query, "stranger", "x").is_err());
    assert!(table.follow(&query, "stranger").is_err());
}

#[test]
fn a_query_that_is_not_one_is_refused_with_a_sentence() {
    for wrong in [
        json!(7),
        json!({"limit": -1}),
        json!({"offset": "a"}),
        json!({"visiblefields": [1]}),
        json!({"filter": {"op": "?"}}),
    ] {
        assert!(
            !Query::from_value(&wrong, &BTreeMap::new())
                .unwrap_err()
                .to_string()
                .is_empty(),
            "{wrong}"
        );
    }
}

#[test]
fn a_mirror_bears_the_double_updates_of_the_javascript_lan_manager() {
    let mut mirror = Mirror::new(["instancename"]);
    let time = json!({"op": "eq", "field": "instancename", "value": "Time"});
    let apply = |mirror: &mut Mirror, data: Value| mirror.apply(data).unwrap();
    assert_eq!(apply(&mut mirror, json!(["i", "q1"])), []);
    assert_eq!(mirror.query(), Some("q1"));
    assert_eq!(
        apply(&mut mirror, json!(["rb", "x"])),
        [MirrorChange::Reset]
    );
    apply(
        &mut mirror,
        json!(["r1", "x", {"instancename": "Time", "pid": null}]),
    );
    assert_eq!(
        apply(&mut mirror, json!(["re", "x"])),
        [MirrorChange::Complete]
    );
    let changed = row(json!({"instancename": "Time", "pid": 7}));
    assert_eq!(
        apply(&mut mirror, json!(["u", time, changed])),
        [MirrorChange::Upserted(changed.clone())]
    );
    assert_eq!(apply(&mut mirror, json!(["u", time, {"pid": 7}])), []);
    assert_eq!(
        apply(&mut mirror, json!(["d", time])),
        [MirrorChange::Removed(changed)]
    );
    assert_eq!(apply(&mut mirror, json!(["d", time])), []);
    assert!(mirror.apply(json!(["z"])).is_err() && mirror.apply(json!("i")).is_err());
}
