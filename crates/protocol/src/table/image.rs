//! A table that is written down: what it is made of, without what can be made again from that.
//!
//! Queries that see the same fields share a view, and with it the text of each event; in an image
//! they name it by its place, so that they share it again afterwards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use super::index::QueryIndex;
use super::view::View;
use super::{OpenQuery, QueryNumber, RowKey, Table, TableDescription};
use crate::filter::Filter;
use crate::packed::PackedRow;

/// A table as it is read back.
#[derive(Deserialize)]
pub(super) struct TableImage {
    description: TableDescription,
    rows: BTreeMap<RowKey, PackedRow>,
    narrowed_views: Vec<View>,
    queries: Vec<QueryImage<Filter>>,
    next_query: u64,
}

/// A table as it is written; the members are those of [`TableImage`].
#[derive(Serialize)]
#[serde(rename = "TableImage")]
struct TableReference<'table> {
    description: &'table TableDescription,
    rows: &'table BTreeMap<RowKey, PackedRow>,
    narrowed_views: Vec<&'table View>,
    queries: Vec<QueryImage<&'table Filter>>,
    next_query: u64,
}

#[derive(Deserialize, Serialize)]
struct QueryImage<Filter> {
    number: QueryNumber,
    filter: Filter,
    view: ViewImage,
}

/// Which view a query has.
#[derive(Clone, Copy, Deserialize, Serialize)]
enum ViewImage {
    /// That of a role: its place among the roles.
    OfRole(usize),
    /// A narrowed one: its place among these.
    Narrowed(usize),
}

/// An image that does not belong to a table.
#[derive(Debug, Error)]
#[error("the image of the table names a view that it does not have; it is damaged")]
pub(super) struct NoSuchView;

impl Serialize for Table {
    fn serialize<To: Serializer>(&self, to: To) -> Result<To::Ok, To::Error> {
        let mut places = BTreeMap::new();
        for (place, view) in self.views.values().enumerate() {
            places.insert(view.fields(), ViewImage::OfRole(place));
        }
        let mut narrowed_views = Vec::new();
        let queries = self
            .queries
            .iter()
            .map(|(number, query)| QueryImage {
                number: *number,
                filter: &query.filter,
                view: *places.entry(query.view.fields()).or_insert_with(|| {
                    narrowed_views.push(&query.view);
                    ViewImage::Narrowed(narrowed_views.len() - 1)
                }),
            })
            .collect();
        let image = TableReference {
            description: &self.description,
            rows: &self.rows,
            narrowed_views,
            queries,
            next_query: self.next_query,
        };
        image.serialize(to)
    }
}

impl TryFrom<TableImage> for Table {
    type Error = NoSuchView;

    fn try_from(image: TableImage) -> Result<Self, NoSuchView> {
        let mut table = Self::new(image.description);
        let views_of_roles: Vec<View> = table.views.values().cloned().collect();
        let mut index = QueryIndex::default();
        for query in image.queries {
            let view = match query.view {
                ViewImage::OfRole(place) => views_of_roles.get(place),
                ViewImage::Narrowed(place) => image.narrowed_views.get(place),
            };
            let view = view.ok_or(NoSuchView)?.clone();
            index.insert(query.number, &query.filter);
            let filter = query.filter;
            table
                .queries
                .insert(query.number, OpenQuery { filter, view });
        }
        table.index = index;
        table.rows = image.rows;
        table.next_query = image.next_query;
        Ok(table)
    }
}
