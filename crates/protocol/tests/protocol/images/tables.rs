//! Tables, copies of tables, states of sessions, and decoders of byte streams.

use std::collections::BTreeSet;

use allexmaster_protocol::filter::Filter;
use allexmaster_protocol::framing::{length_prefixed, newline_delimited, text_batch};
use allexmaster_protocol::mirror::Mirror;
use allexmaster_protocol::state_stream::{StateItem, StateTree};
use allexmaster_protocol::table::{Query, RowKey, Table, Told};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::copies;
use crate::decoders::{cases, values};
use crate::filters::{filters, rows};
use crate::tables::{Change, changes, description};

fn change(table: &mut Table, change: &Change) -> Vec<Told> {
    match change.clone() {
        Change::Put(row) => table.put(row),
        Change::Update(key, fields) => table.update(&RowKey::of_values([&key]), fields),
        Change::Remove(key) => table.remove(&RowKey::of_values([&key])).1,
        Change::OpenAgain(which) => {
            let visible_fields = (which == 0).then(|| BTreeSet::from(["k".to_owned()]));
            let query = Query {
                continuous: true,
                filter: Filter::exists("a"),
                visible_fields,
                ..Query::all()
            };
            table.follow(&query, "service").unwrap();
            vec![]
        }
    }
}

fn data_events() -> impl Strategy<Value = Value> {
    let row = || rows().prop_map(Value::Object);
    prop_oneof![
        1 => Just(json!(["rb", "r"])),
        4 => row().prop_map(|row| json!(["r1", "r", row])),
        4 => row().prop_map(|row| json!(["c", row])),
        2 => (filters(), row()).prop_map(|(filter, row)| json!(["u", filter.to_value(), row])),
        1 => (row(), row()).prop_map(|(new, old)| json!(["ue", new, old])),
        1 => filters().prop_map(|filter| json!(["d", filter.to_value()])),
        1 => Just(json!(["i", "q"])),
        1 => values(),
    ]
}

fn state_items() -> impl Strategy<Value = StateItem> {
    let path = || prop::collection::vec("[ab]", 0..3);
    prop_oneof![
        (path(), values()).prop_map(|(path, value)| StateItem::Set { path, value }),
        path().prop_map(|path| StateItem::NewCollection { path }),
        path().prop_map(|path| StateItem::RemoveCollection { path }),
    ]
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn a_table_goes_on_from_its_image(
        before in prop::collection::vec(changes(), 0..30),
        wanted in prop::collection::vec(filters(), 0..4),
        after in prop::collection::vec(changes(), 0..30),
    ) {
        let mut table = Table::new(description(&["k"]));
        for (index, filter) in wanted.into_iter().enumerate() {
            let query = Query { continuous: true, filter, ..Query::all() };
            let number = table.follow(&query, "user").unwrap();
            prop_assert!(index != 1 || table.close(number));
        }
        before.iter().for_each(|input| drop(change(&mut table, input)));
        let mut twins = copies(&table);
        for input in &after {
            let told = change(&mut table, input);
            for twin in &mut twins {
                prop_assert_eq!(&change(twin, input), &told);
            }
        }
        for twin in &twins {
            prop_assert!(twin.rows().eq(table.rows()));
        }
    }

    #[test]
    fn a_mirror_goes_on_from_its_image(
        before in prop::collection::vec(data_events(), 0..20),
        after in prop::collection::vec(data_events(), 0..20),
    ) {
        let mut mirror = Mirror::new(["a"]);
        before.into_iter().for_each(|event| drop(mirror.apply(event)));
        let mut twins = copies(&mirror);
        for event in after {
            let changed = mirror.apply(event.clone());
            for twin in &mut twins {
                prop_assert_eq!(&twin.apply(event.clone()), &changed);
                prop_assert_eq!(twin.query(), mirror.query());
            }
        }
    }

    #[test]
    fn a_state_goes_on_from_its_image(
        before in prop::collection::vec(state_items(), 0..20),
        after in prop::collection::vec(state_items(), 0..20),
    ) {
        let mut tree = StateTree::default();
        before.into_iter().for_each(|item| drop(tree.apply(item)));
        let mut twins = copies(&tree);
        for item in after {
            let outcome = tree.apply(item.clone());
            for twin in &mut twins {
                prop_assert_eq!(&twin.apply(item.clone()), &outcome);
                prop_assert_eq!(&*twin, &tree);
            }
        }
    }

    #[test]
    fn a_decoder_goes_on_in_the_middle_of_a_message(
        texts in prop::collection::vec("[a-z]{1,9}", 1..9), cut in any::<prop::sample::Index>(),
    ) {
        let mut line_bytes = Vec::new();
        texts.iter().for_each(|text| newline_delimited::encode(text, &mut line_bytes));
        let (first, second) = line_bytes.split_at(cut.index(line_bytes.len()));
        let mut decoder = newline_delimited::Decoder::default();
        decoder.feed(first).unwrap();
        for mut copy in copies(&decoder) {
            copy.feed(second).unwrap();
            prop_assert!(std::iter::from_fn(|| copy.next_text()).eq(texts.clone()));
        }

        let mut bytes = Vec::new();
        length_prefixed::encode(&texts.join(&text_batch::SEPARATOR.to_string()), &mut bytes);
        let (first, second) = bytes.split_at(cut.index(bytes.len()));
        let mut decoder = length_prefixed::Decoder::default();
        decoder.feed(first).unwrap();
        for mut copy in copies(&decoder) {
            copy.feed(second).unwrap();
            prop_assert!(std::iter::from_fn(|| copy.next_text()).eq(texts.clone()));
        }
    }

    #[test]
    fn a_value_is_the_same_value_after_it_was_written(bits in any::<u64>(), value in values()) {
        // Among all the numbers are those that a sloppy reader gets wrong in the last digit.
        let number = f64::from_bits(bits);
        let value = if number.is_finite() { json!([number, value]) } else { value };
        let item = StateItem::set("a", value);
        for copy in copies(&item) {
            prop_assert_eq!(&copy, &item);
        }
    }
}

#[test]
fn a_damaged_image_of_a_table_is_refused() {
    let mut table = Table::new(description(&["k"]));
    change(&mut table, &Change::OpenAgain(0));
    let image = serde_json::to_string(&table).unwrap();
    assert!(image.contains("{\"Narrowed\":0}"), "{image}");
    let damaged = image.replace("{\"Narrowed\":0}", "{\"Narrowed\":1}");
    let error = serde_json::from_str::<Table>(&damaged).unwrap_err();
    assert!(error.to_string().contains("it is damaged"), "{error}");
}
