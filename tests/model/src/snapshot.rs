//! What the tables hold at one moment, as the session sees it.

use crate::model::{self, Event};
use crate::schema::{Messages, Schema};
use crate::time::Time;
use crate::words::{MAP_KEYS, MILESTONES, Status};
use postgres::{Client, Row as Record};
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub key: Option<String>,
    pub status: Option<Status>,
    pub status_at: Option<Time>,
    /// The milestones as their columns hold them.
    pub at: [Option<Time>; 5],
    /// As the status map holds them; Err where it is no ISO time of an ordinary year.
    pub map: [Option<Result<Time, String>>; 5],
    pub code: Option<String>,
    pub message: Option<String>,
    pub seen: i64,
    pub is_final: Option<bool>,
    pub checks: Option<i64>,
    pub checked: Option<Time>,
    pub note: Option<String>,
    /// Where the row version lies, and who wrote it.
    pub place: String,
}

#[derive(Clone, Default, Debug)]
pub struct Snapshot {
    /// now() of the transaction that looked.
    pub now: Option<Time>,
    /// Of each messages table the rows by their id.
    pub tables: Vec<BTreeMap<i32, Row>>,
    /// The events of each key.
    pub log: BTreeMap<String, Vec<Event>>,
}

impl Snapshot {
    pub fn now(&self) -> Time {
        self.now.unwrap_or(crate::time::AFTER_ALL)
    }
    pub fn events(&self, key: Option<&String>) -> &[Event] {
        key.and_then(|k| self.log.get(k)).map_or(&[], Vec::as_slice)
    }
    pub fn ids_of(&self, table: usize, key: &str) -> Vec<i32> {
        self.tables[table].iter().filter(|(_, row)| row.key.as_deref() == Some(key)).map(|(id, _)| *id).collect()
    }
    pub fn has_key(&self, table: usize, key: &str) -> bool {
        self.tables[table].values().any(|row| row.key.as_deref() == Some(key))
    }
    pub fn polls(&self, key: Option<&String>) -> i64 {
        self.events(key).iter().map(|e| i64::from(e.poll)).sum()
    }
}

/// The SELECT that reads a messages table whole.
fn select(m: &Messages) -> String {
    let mut sql = "SELECT id, k::text, status::text".to_owned();
    let mut column = |there: bool, name: &str, absent: &str| {
        let _ = write!(sql, ", {}", if there { name } else { absent });
    };
    column(m.status_at.is_some(), "status_at", "NULL::timestamptz");
    for (there, name) in m.milestones.iter().zip(MILESTONES) {
        column(there.is_some(), name, "NULL::timestamptz");
    }
    for name in MAP_KEYS {
        column(m.map, &format!("status_map->>'{name}'"), "NULL::text");
    }
    column(m.error_code.is_some(), "error_code::text", "NULL::text");
    column(m.error_message.is_some(), "error_message::text", "NULL::text");
    column(m.seen.is_some(), "statuses_seen::bigint", "0::bigint");
    column(m.is_final, "final", "NULL::boolean");
    column(m.checks, "check_count::bigint", "NULL::bigint");
    column(m.checked, "last_checked_at", "NULL::timestamptz");
    let _ = write!(sql, ", note, concat_ws(' ', tableoid, ctid, xmin) FROM {}", m.name);
    sql
}

fn row(schema: &Schema, record: &Record) -> Row {
    let iso = |text: Option<String>| {
        text.map(|t| match Time::from_iso(&t) {
            Some(time) if time.is_ordinary() => Ok(time),
            _ => Err(t),
        })
    };
    Row {
        key: record.get::<_, Option<String>>(1).map(|k| schema.normal(&k)),
        status: record.get::<_, Option<&str>>(2).and_then(Status::from_label),
        status_at: record.get(3),
        at: [4, 5, 6, 7, 8].map(|i| record.get(i)),
        map: [9, 10, 11, 12, 13].map(|i| iso(record.get(i))),
        code: record.get(14),
        message: record.get(15),
        seen: record.get::<_, Option<i64>>(16).unwrap_or(0),
        is_final: record.get(17),
        checks: record.get(18),
        checked: record.get(19),
        note: record.get(20),
        place: record.get(21),
    }
}

/// The SELECT of the log's rows, in the order in which they were written.
pub fn select_log(schema: &Schema) -> String {
    let l = &schema.log;
    let or = |there: bool, name: &str, absent: &str| if there { name.to_owned() } else { absent.to_owned() };
    format!(
        "SELECT k::text, status::text, {}, {}, {}, {}, {}, {} FROM l ORDER BY {}",
        or(l.provider, "provider", "NULL::text"),
        or(l.event_at.is_some(), "event_at", "NULL::timestamptz"),
        or(l.created_at.is_some(), "created_at", "NULL::timestamptz"),
        or(l.error_code, "error_code", "NULL::text"),
        or(l.error_message, "error_message", "NULL::text"),
        or(l.source, "source", "NULL::text"),
        or(l.delivery_id, "delivery_id", "row_id"),
    )
}

pub fn read(client: &mut Client, schema: &Schema) -> Result<Snapshot, postgres::Error> {
    let mut snapshot = Snapshot { now: Some(client.query_one("SELECT now()", &[])?.get(0)), ..Snapshot::default() };
    for m in &schema.messages {
        let mut rows = BTreeMap::new();
        for record in client.query(&select(m), &[])? {
            rows.insert(record.get(0), row(schema, &record));
        }
        snapshot.tables.push(rows);
    }
    for record in client.query(&select_log(schema), &[])? {
        let Some(key) = record.get::<_, Option<String>>(0) else { continue };
        if let Some(event) = model::event(schema, &record) {
            snapshot.log.entry(schema.normal(&key)).or_default().push(event);
        }
    }
    Ok(snapshot)
}
