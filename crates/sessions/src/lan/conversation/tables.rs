//! What the LanManager's tables hold, as its queries tell.

use std::sync::Arc;

use allexmaster_protocol::filter::Row;
use allexmaster_protocol::mirror::MirrorChange;
use allexmaster_protocol::table::RowKey;
use allexmaster_state::{Event, InstanceName, Need};
use serde_json::{Value, json};

use super::{Conversation, Followed, Output, Purpose, READ_INTERVAL_MS, SECOND_READ_MS, Table};
use crate::rows::need_from_row;
use crate::tables::TableChange;

/// So much of a list goes into one event, as JSON text: a quarter of what the journal takes.
const MAX_LISTED_BYTES: usize = 1_024 * 1_024;

impl Conversation {
    pub(super) fn followed_table(&mut self, table: Table) -> &mut Followed {
        match table {
            Table::Services => &mut self.services,
            Table::Translations => &mut self.translations,
            Table::Needs => &mut self.needs,
        }
    }

    pub(super) fn followed(&mut self, table: Table, data: Value) {
        let changes = match self.followed_table(table).mirror.apply(data) {
            Ok(changes) => changes,
            Err(error) => {
                let name = table.name();
                return self.fail(
                    &format!("told of its {name} what makes no sense: {error}"),
                    None,
                );
            }
        };
        for change in changes {
            match table {
                Table::Services => self
                    .outputs
                    .push_back(Output::Table(TableChange::Services(change))),
                Table::Translations => {
                    self.outputs
                        .push_back(Output::Table(TableChange::Translations(change)));
                }
                Table::Needs => self.need_changed(change),
            }
        }
        if table == Table::Services && !self.verdicts.is_empty() {
            self.look_for_verdicts();
        }
    }

    /// Reads the tables again, beside what is followed.
    pub(super) fn read_tables_again(&mut self, now: u64) {
        let second = self.began + SECOND_READ_MS;
        self.read_again_at = if now < second {
            second
        } else {
            now + READ_INTERVAL_MS
        };
        for table in [Table::Needs, Table::Services] {
            let Some(session) = self.followed_table(table).session.clone() else {
                continue;
            };
            let query = json!({ "filter": "*" });
            let call = self.client.query(now, &session, query);
            self.calls.insert(call, Purpose::ReadAgain(table));
        }
    }

    /// A row that was read again and that the followed query never told: as if it told it now. A
    /// need with a process is being satisfied this very moment.
    pub(super) fn row_read_again(&mut self, table: Table, data: &Value) {
        let (Some("r1"), Some(row)) = (data.get(0).and_then(Value::as_str), data.get(2)) else {
            return;
        };
        let name = row.get("instancename").and_then(Value::as_str);
        let is_settled = table == Table::Needs && row.get("pid").is_some_and(|pid| !pid.is_null());
        let Some(name) = name.filter(|_| !is_settled) else {
            return;
        };
        let key = RowKey::of_text(name);
        if !self.followed_table(table).mirror.has(&key) {
            self.followed(table, json!(["c", row]));
        }
    }

    pub(super) fn need_changed(&mut self, change: MirrorChange) {
        let connection = self.connection;
        match change {
            MirrorChange::Reset => self.listed = false,
            MirrorChange::Complete => self.list_needs(),
            // Before the list is complete nothing is told. A change of a known need is
            // its satisfaction, column by column: its removal follows.
            MirrorChange::Upserted(row) if self.listed => {
                if let Some(need) = self.readable(&row)
                    && self.known.insert(need.instance.clone())
                {
                    self.emit(Event::NeedAppeared {
                        connection,
                        need: Arc::new(need),
                    });
                }
            }
            MirrorChange::Removed(row) if self.listed => {
                let Some(name) = row.get("instancename").and_then(Value::as_str) else {
                    return;
                };
                let instance = InstanceName::from(name);
                if self.known.remove(&instance) {
                    self.emit(Event::NeedWithdrawn {
                        connection,
                        instance,
                    });
                }
            }
            MirrorChange::Upserted(_) | MirrorChange::Removed(_) => {}
        }
    }

    /// Tells all needs: as many in one event as go into it, the others by themselves before it.
    pub(super) fn list_needs(&mut self) {
        self.listed = true;
        self.announce_connection();
        let connection = self.connection;
        let rows: Vec<Row> = self.needs.mirror.rows().collect();
        let before = std::mem::take(&mut self.known);
        let mut needs = Vec::new();
        let mut room = MAX_LISTED_BYTES;
        for row in rows {
            let Some(need) = self.readable(&row) else {
                continue;
            };
            let need = Arc::new(need);
            self.known.insert(need.instance.clone());
            let size = serde_json::to_string(&row).map_or(MAX_LISTED_BYTES, |text| text.len());
            match room.checked_sub(size) {
                Some(left) => {
                    room = left;
                    needs.push(need);
                }
                None => self.emit(Event::NeedAppeared { connection, need }),
            }
        }
        for instance in before {
            if !self.known.contains(&instance) {
                self.emit(Event::NeedWithdrawn {
                    connection,
                    instance,
                });
            }
        }
        self.emit(Event::NeedsListed { connection, needs });
    }

    pub(super) fn readable(&mut self, row: &Row) -> Option<Need> {
        match need_from_row(row) {
            Ok(need) => Some(need),
            Err(error) => {
                let row = Value::Object(row.clone()).to_string();
                let shown: String = row.chars().take(200).collect();
                self.outputs.push_back(Output::Warn(format!(
                    "the LanManager has a need that nobody can satisfy, because {error}: {shown}"
                )));
                None
            }
        }
    }
}
