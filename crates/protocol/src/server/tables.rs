//! The tables behind `query`, `closeQuery` and `read`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::types::{ConnectionId, TableId};
use super::{MAX_QUERIES_PER_CONNECTION, Server};
use crate::close::CloseReason;
use crate::filter::Row;
use crate::frame::{CallId, QueryId, RemoteError, ServerFrame, SessionId};
use crate::table::{Query, QueryNumber, RowKey, Table, TableDescription, Told};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ServedTable {
    table: Table,
    followers: BTreeMap<QueryNumber, Follower>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Follower {
    connection: ConnectionId,
    /// The beginning of each progress frame up to the event, with the call already written out.
    prefix: String,
}

impl Server {
    /// Serves another table, empty at first. A [`Grant`](super::Grant) names it.
    pub fn add_table(&mut self, description: TableDescription) -> TableId {
        self.counter += 1;
        let table = TableId(self.counter);
        self.tables.insert(
            table,
            ServedTable {
                table: Table::new(description),
                followers: BTreeMap::new(),
            },
        );
        table
    }

    /// The table, to be looked at.
    #[must_use]
    pub fn table(&self, table: TableId) -> Option<&Table> {
        self.tables.get(&table).map(|served| &served.table)
    }

    /// Inserts or replaces a row and tells the queries that it concerns.
    pub fn put_row(&mut self, table: TableId, row: Row) {
        self.change(table, |table| table.put(row));
    }

    /// Changes some fields of a row and tells the queries that it concerns.
    pub fn update_row(&mut self, table: TableId, key: &RowKey, fields: Row) {
        self.change(table, |table| table.update(key, fields));
    }

    /// Removes a row, tells the queries that it concerns, and gives the row.
    pub fn remove_row(&mut self, table: TableId, key: &RowKey) -> Option<Row> {
        let mut removed = None;
        self.change(table, |table| {
            let (row, told) = table.remove(key);
            removed = row;
            told
        });
        removed
    }

    fn change(&mut self, table: TableId, change: impl FnOnce(&mut Table) -> Vec<Told>) {
        let Some(served) = self.tables.get_mut(&table) else {
            return;
        };
        let told = change(&mut served.table);
        for Told { query, event } in told {
            if let Some(follower) = served.followers.get(&query) {
                let text = format!("{}{event}]", follower.prefix);
                self.outputs.push_back(super::Output::Send {
                    connection: follower.connection,
                    text,
                });
            }
        }
    }

    pub(super) fn open_query(
        &mut self,
        connection: ConnectionId,
        id: CallId,
        session: &SessionId,
        descriptor: Option<&Value>,
    ) {
        let (Some(known), Some(counts)) = (
            self.sessions.get(session),
            self.connections.get(&connection),
        ) else {
            return;
        };
        let (Some(table), role) = (known.table, known.role.clone()) else {
            return;
        };
        if counts.query_count >= MAX_QUERIES_PER_CONNECTION {
            self.disconnect(
                connection,
                CloseReason::TooManyQueries {
                    limit: MAX_QUERIES_PER_CONNECTION,
                },
            );
            return;
        }
        let identifier = QueryId::from(self.next_identifier());
        let reading = self.next_identifier();
        let opened = self
            .tables
            .get_mut(&table)
            .ok_or_else(RemoteError::default)
            .and_then(|served| {
                let query = read_query(&served.table, descriptor)?;
                let texts = served
                    .table
                    .read(&query, &role, &reading)
                    .map_err(refusal)?;
                let number = if query.continuous {
                    Some(served.follow(connection, &id, &query, &role)?)
                } else {
                    None
                };
                Ok((texts, number))
            });
        match opened {
            Ok((texts, number)) => {
                self.send_progress(
                    connection,
                    &id,
                    &json!(["i", identifier.as_str()]).to_string(),
                );
                self.send_reading(connection, &id, texts);
                match number {
                    Some(number) => {
                        self.remember_query(connection, session, identifier, number, id)
                    }
                    None => self.send_result(connection, id, Value::Bool(true)),
                }
            }
            Err(error) => self.send(connection, ServerFrame::Failure { id, error }),
        }
    }

    /// The open call of the query is answered first, then `closeQuery` itself.
    pub(super) fn close_query(
        &mut self,
        connection: ConnectionId,
        id: CallId,
        session: &SessionId,
        identifier: Option<&Value>,
    ) {
        let closed = self.sessions.get_mut(session).and_then(|known| {
            let (number, call) = known
                .queries
                .remove(&QueryId::from(identifier?.as_str()?))?;
            Some((known.table?, number, call))
        });
        if let Some((table, number, call)) = closed {
            self.close_table_query(table, number);
            if let Some(known) = self.connections.get_mut(&connection) {
                known.query_count = known.query_count.saturating_sub(1);
            }
            self.send_result(connection, call, Value::Bool(true));
        }
        self.send_result(connection, id, Value::Bool(true));
    }

    /// `read` gives the rows as progress and then null.
    pub(super) fn read_table(
        &mut self,
        connection: ConnectionId,
        id: CallId,
        session: &SessionId,
        descriptor: Option<&Value>,
    ) {
        let reading = self.next_identifier();
        let read = self.sessions.get(session).and_then(|known| {
            let table = &self.tables.get(&known.table?)?.table;
            Some(
                read_query(table, descriptor)
                    .and_then(|query| table.read(&query, &known.role, &reading).map_err(refusal)),
            )
        });
        match read {
            Some(Ok(texts)) => {
                self.send_reading(connection, &id, texts);
                self.send_result(connection, id, Value::Null);
            }
            Some(Err(error)) => self.send(connection, ServerFrame::Failure { id, error }),
            None => self.refuse_method(connection, id, "read"),
        }
    }

    pub(super) fn close_table_query(&mut self, table: TableId, number: QueryNumber) {
        if let Some(served) = self.tables.get_mut(&table) {
            served.table.close(number);
            served.followers.remove(&number);
        }
    }

    fn remember_query(
        &mut self,
        connection: ConnectionId,
        session: &SessionId,
        identifier: QueryId,
        number: QueryNumber,
        id: CallId,
    ) {
        if let Some(known) = self.sessions.get_mut(session) {
            known.queries.insert(identifier, (number, id));
        }
        if let Some(known) = self.connections.get_mut(&connection) {
            known.query_count += 1;
        }
    }

    fn send_reading(&mut self, connection: ConnectionId, id: &CallId, texts: Vec<String>) {
        for text in texts {
            self.send_progress(connection, id, &text);
        }
    }

    fn send_progress(&mut self, connection: ConnectionId, id: &CallId, event: &str) {
        let text = format!("{}{event}]", progress_prefix(id));
        self.send_text(connection, text);
    }
}

impl ServedTable {
    fn follow(
        &mut self,
        connection: ConnectionId,
        id: &CallId,
        query: &Query,
        role: &str,
    ) -> Result<QueryNumber, RemoteError> {
        let number = self.table.follow(query, role).map_err(refusal)?;
        self.followers.insert(
            number,
            Follower {
                connection,
                prefix: progress_prefix(id),
            },
        );
        Ok(number)
    }
}

fn read_query(table: &Table, descriptor: Option<&Value>) -> Result<Query, RemoteError> {
    Query::from_value(
        descriptor.unwrap_or(&Value::Null),
        &table.description().named_filters,
    )
    .map_err(refusal)
}

/// A refused query: the sentence is the code, as for every refused argument.
fn refusal(error: impl std::fmt::Display) -> RemoteError {
    RemoteError::wrong_argument(error.to_string())
}

/// `["n",id,` with the identifier written as a JSON text.
fn progress_prefix(id: &CallId) -> String {
    format!("[\"n\",{},", Value::from(id.as_str()))
}
