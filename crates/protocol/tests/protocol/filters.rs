//! Filters: what each operation matches, and the laws that hold for all of them.

use allexmaster_protocol::filter::{Filter, FilterError, MAX_FILTER_DEPTH, MAX_REGEX_BYTES, Row};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::decoders::{cases, values};
use crate::frames::assert_snapshot;

fn row(value: Value) -> Row {
    value.as_object().unwrap().clone()
}

fn matches(descriptor: Value, fields: Value) -> bool {
    Filter::from_value(&descriptor)
        .unwrap()
        .matches(&row(fields))
}

/// Rows with few fields and few values, so that filters hit them.
pub(crate) fn rows() -> impl Strategy<Value = Row> {
    let value = prop_oneof![
        Just(Value::Null),
        (0_u64..4).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
    ];
    prop::collection::btree_map("[abc]", value, 0..4)
        .prop_map(|fields| fields.into_iter().collect())
}

/// Filters over those rows.
pub(crate) fn filters() -> impl Strategy<Value = Filter> {
    let value = || {
        prop_oneof![
            Just(Value::Null),
            (0_u64..4).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from)
        ]
    };
    let with_value = (
        "eq|ne|gt|gte|lt|lte|startswith|endswith|contains",
        "[abc]",
        value(),
    )
        .prop_map(|(op, field, value)| json!({"op": op, "field": field, "value": value}));
    let with_list = ("in|nin", "[abc]", prop::collection::vec(value(), 0..3))
        .prop_map(|(op, field, value)| json!({"op": op, "field": field, "value": value}));
    let with_field =
        ("exists|notexists", "[abc]").prop_map(|(op, field)| json!({"op": op, "field": field}));
    let with_regex = ("[abc]", prop::sample::select(vec!["a+", "^b?$", "^a"]))
        .prop_map(|(field, value)| json!({"op": "regex", "field": field, "value": value}));
    let leaf = prop_oneof![4 => with_value, 1 => with_list, 1 => with_field, 1 => with_regex, 1 => Just(Value::Null)];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            ("and|or", prop::collection::vec(inner.clone(), 0..3))
                .prop_map(|(op, filters)| json!({"op": op, "filters": filters})),
            inner.prop_map(|filter| json!({"op": "not", "filter": filter})),
        ]
    })
    .prop_map(|descriptor| Filter::from_value(&descriptor).unwrap())
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_filter_and_its_descriptor_match_the_same_rows(filter in filters(), row in rows()) {
        let again = Filter::from_value(&filter.to_value()).unwrap();
        prop_assert_eq!(again.matches(&row), filter.matches(&row));
    }

    #[test]
    fn not_and_or_obey_the_laws_of_logic(left in filters(), right in filters(), row in rows()) {
        let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
        let neither = Filter::And(vec![not(&left), not(&right)]);
        let any = Filter::Or(vec![left.clone(), right]);
        prop_assert_ne!(not(&left).matches(&row), left.matches(&row));
        prop_assert_eq!(not(&any).matches(&row), neither.matches(&row));
        prop_assert_eq!(Filter::And(vec![left.clone(), Filter::All]).matches(&row), left.matches(&row));
        prop_assert!(!Filter::Or(vec![]).matches(&row) && Filter::And(vec![]).matches(&row));
    }

    #[test]
    fn opposite_operations_are_opposites(field in "[abc]", value in values(), row in rows()) {
        let both = |one: &str, other: &str, value: &Value| {
            let read = |op| Filter::from_value(&json!({"op": op, "field": field, "value": value})).unwrap();
            (read(one).matches(&row), read(other).matches(&row))
        };
        let (equal, different) = both("eq", "ne", &value);
        prop_assert_ne!(equal, different);
        let (inside, outside) = both("in", "nin", &json!([value]));
        prop_assert_ne!(inside, outside);
        prop_assert_eq!(inside, equal);
        let (exists, missing) = both("exists", "notexists", &value);
        prop_assert_ne!(exists, missing);
    }

    #[test]
    fn a_filter_that_demands_a_text_matches_no_row_without_it(filter in filters(), row in rows()) {
        if let Some((field, text)) = filter.demanded_text() {
            prop_assert!(!filter.matches(&row) || row.get(field) == Some(&Value::from(text)));
        }
    }

    #[test]
    fn any_value_is_a_filter_or_a_clear_error(value in values(), row in rows()) {
        match Filter::from_value(&value) {
            Ok(filter) => drop(filter.matches(&row)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn each_operation_matches_what_its_name_says() {
    let fields = || json!({"name": "Time", "port": 15_000, "tags": ["a", 1], "address": "10.1.2.3", "net": "10.0.0.0/8", "none": null});
    let matching = [
        json!("*"),
        json!(null),
        json!({}),
        json!({"field": "name"}),
        json!({"op": "eq", "field": "name", "value": "Time"}),
        json!({"op": "eq", "field": "port", "value": 15_000.0}),
        json!({"op": "eq", "field": "none", "value": null}),
        json!({"op": "eq", "field": "absent"}),
        json!({"op": "ne", "field": "name", "value": "time"}),
        json!({"op": "gt", "field": "port", "value": 14_999}),
        json!({"op": "gte", "field": "port", "value": 15_000}),
        json!({"op": "lt", "field": "name", "value": "Timer"}),
        json!({"op": "lte", "field": "port", "value": 15_000.5}),
        json!({"op": "in", "field": "name", "value": ["Space", "Time"]}),
        json!({"op": "nin", "field": "name", "value": ["Space"]}),
        json!({"op": "startswith", "field": "name", "value": "Ti"}),
        json!({"op": "endswith", "field": "name", "value": "me"}),
        json!({"op": "contains", "field": "name", "value": "im"}),
        json!({"op": "contains", "field": "tags", "value": 1}),
        json!({"op": "regex", "field": "name", "value": "^T.+e$"}),
        json!({"op": "exists", "field": "name"}),
        json!({"op": "notexists", "field": "none"}),
        json!({"op": "hash", "d": {"name": "Time", "port": 15_000}}),
        json!({"op": "cidr_match", "field": "address", "value": "10.0.0.0/8"}),
        json!({"op": "cidr_match", "field": "net", "value": "10.9.9.9"}),
        json!({"op": "and", "filters": [{"op": "exists", "field": "name"}, "*"]}),
        json!({"op": "or", "filters": [{"op": "exists", "field": "absent"}, "*"]}),
        json!({"op": "not", "filter": {"op": "exists", "field": "absent"}}),
    ];
    for descriptor in matching {
        assert!(matches(descriptor.clone(), fields()), "{descriptor}");
    }
    let others = [
        json!({"op": "eq", "field": "name", "value": "time"}),
        json!({"op": "gt", "field": "name", "value": 1}),
        json!({"op": "lt", "field": "absent", "value": 1}),
        json!({"op": "startswith", "field": "port", "value": "1"}),
        json!({"op": "startswith", "field": "tags", "value": "a"}),
        json!({"op": "regex", "field": "port", "value": "1"}),
        json!({"op": "cidr_match", "field": "address", "value": "192.168.0.0/16"}),
        json!({"op": "cidr_match", "field": "name", "value": "10.0.0.0/8"}),
        json!({"op": "hash", "d": {"name": "Time", "port": 1}}),
    ];
    for descriptor in others {
        assert!(!matches(descriptor.clone(), fields()), "{descriptor}");
    }
}

#[test]
fn a_nat_lookup_finds_the_port_itself_and_a_range_that_holds_it() {
    let lookup = |port: u64| json!({"op": "natlookup", "iaddress": "192.168.1.1", "iport": port});
    let single =
        || json!({"iaddress": "192.168.1.1", "iport": 12_345, "eaddress": "1.2.3.4", "eport": 80});
    let range = || json!({"iaddress": "192.168.1.1", "iport": [1_000, 2_000]});
    assert!(matches(lookup(12_345), single()) && !matches(lookup(12_346), single()));
    assert!(
        matches(lookup(1_000), range())
            && matches(lookup(2_000), range())
            && !matches(lookup(2_001), range())
    );
    assert!(!matches(
        lookup(1),
        json!({"iaddress": "192.168.1.1", "iport": "any"})
    ));
    assert!(!matches(
        lookup(12_345),
        json!({"iaddress": "192.168.1.2", "iport": 12_345})
    ));
}

#[test]
fn what_is_wrong_with_a_filter_is_said_in_a_sentence() {
    let deep = (0..=MAX_FILTER_DEPTH).fold(
        json!("*"),
        |filter, _| json!({"op": "not", "filter": filter}),
    );
    let wide = json!({"op": "or", "filters": vec![json!({"op": "exists", "field": "a"}); 1_000]});
    let long = json!({"op": "regex", "field": "a", "value": "a".repeat(MAX_REGEX_BYTES + 1)});
    let wrong = [
        json!("unsatisfied"),
        json!(7),
        json!([]),
        json!({"op": "like", "field": "a", "value": 1}),
        json!({"op": 7}),
        json!({"op": "eq", "value": 1}),
        json!({"op": "gt", "field": "a"}),
        json!({"op": "in", "field": "a", "value": 1}),
        json!({"op": "and", "filters": {}}),
        json!({"op": "not"}),
        json!({"op": "hash", "d": 1}),
        json!({"op": "cidr_match", "field": "a", "value": "nowhere"}),
        json!({"op": "natlookup", "iaddress": "a", "iport": "b"}),
        json!({"op": "regex", "field": "a", "value": "("}),
        json!({"op": "regex", "field": "a", "value": "(a{1000}){1000}"}),
        deep,
        wide,
        long,
    ];
    let sentences: Vec<String> = wrong
        .iter()
        .map(|value| Filter::from_value(value).unwrap_err().to_string())
        .collect();
    assert_snapshot("filter_errors", sentences.join("\n"));
    assert!(matches!(
        Filter::from_value(&json!({"op": "eq"})),
        Err(FilterError::WrongMember { .. })
    ));
}
