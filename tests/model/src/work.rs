//! Work: the operations, and how they are written as SQL for a schema. An operation knows all that it does, so that
//! leaving others out, or a role of the schema, leaves it as it is.

use crate::model::cut;
use crate::schema::{Collation, KeyType, Messages, Parts, Schema};
use crate::time::Time;
use crate::words::{MAP_KEYS, MILESTONES, Status};

/// A key, and one of the ways to write it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub n: u8,
    pub other: bool,
}

#[derive(Clone, Debug)]
pub struct Callback {
    pub key: Option<Key>,
    pub word: Option<String>,
    pub provider: Option<String>,
    pub event_at: Option<Time>,
    pub created_at: Option<Time>,
    pub code: Option<String>,
    pub message: Option<String>,
    pub poll: bool,
}

#[derive(Clone, Debug)]
pub struct NewMessage {
    pub id: i32,
    pub key: Option<Key>,
    pub status: Option<Status>,
    pub status_at: Option<Time>,
    pub created_at: Time,
    pub sets: Vec<Set>,
}

/// A column of messages that is written directly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Set {
    Status(Status),
    StatusAt(Option<Time>),
    Milestone(usize, Option<Time>),
    Map(usize, Time),
    Code(Option<String>),
    Message(Option<String>),
    Seen(i64),
    Note(String),
    Key(Option<Key>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// A statement for each row.
    Single,
    Values,
    Select,
    Copy,
    /// Straight into the partitions, where the triggers see rows; else as values.
    Partition,
    /// Within a block that then fails, and catches the error.
    Caught,
    /// A statement that fails behind its last row.
    Failing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ddl {
    AddColumn,
    Analyze,
    Vacuum,
    VacuumFull,
    Reindex,
}

#[derive(Clone, Debug)]
pub enum Op {
    Callbacks(Vec<Callback>, How),
    Apply(usize, Callback),
    Messages(usize, Vec<NewMessage>, How),
    /// INSERT … ON CONFLICT (k) DO UPDATE.
    Upsert(usize, NewMessage, Vec<Set>),
    Update(usize, Key, Vec<Set>),
    /// UPDATE of a message by its id, of its key among others.
    Rekey(usize, i32, Vec<Set>),
    Delete(usize, Key),
    /// Deletes all log rows of a key.
    Forget(Key),
    Begin,
    Commit,
    Rollback,
    Savepoint,
    RollbackTo,
    Release,
    /// PREPARE TRANSACTION, and COMMIT PREPARED or ROLLBACK PREPARED.
    Prepared(bool),
    /// Log rows that no trigger sees (replication role, or triggers disabled), and settle.
    Unseen(Vec<Callback>, bool),
    /// Callbacks with next to no time for the statement.
    Hurried(Vec<Callback>),
    /// An exact copy of the log row at this place.
    Repeat(usize),
    /// Callbacks and their messages in two sessions, neither of which sees the other's when it writes. Whether the
    /// callbacks are written first, by the session that commits last.
    Crossed(usize, Vec<Callback>, Vec<NewMessage>, bool),
    Ddl(usize, Ddl),
    /// verify, settle, unmatched, and a repetition.
    Check,
}

pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn or_null(value: Option<String>) -> String {
    value.map_or("NULL".to_owned(), |v| quoted(&v))
}

fn time(value: Option<Time>) -> Option<String> {
    value.map(Time::text)
}

/// A key as text.
pub fn key(schema: &Schema, key: Key) -> String {
    let n = key.n;
    match schema.key {
        KeyType::Bigint => n.to_string(),
        KeyType::Numeric => format!("{n}{}", if key.other { ".00" } else { "" }),
        KeyType::Uuid => format!("00000000-0000-0000-0000-{n:012}"),
        KeyType::Text | KeyType::Varchar => {
            let either = [schema.collation, schema.log_collation].contains(&Collation::NoCase);
            format!("{}{n}", if key.other && either { "sm" } else { "SM" })
        }
    }
}

/// The columns of callbacks that the log has.
pub fn log_columns(schema: &Schema) -> Vec<&'static str> {
    let l = &schema.log;
    [
        (true, "k"),
        (true, "status"),
        (l.event_at.is_some(), "event_at"),
        (l.created_at.is_some(), "created_at"),
        (l.provider, "provider"),
        (l.error_code, "error_code"),
        (l.error_message, "error_message"),
        (l.source, "source"),
    ]
    .into_iter()
    .filter_map(|(there, name)| there.then_some(name))
    .collect()
}

/// A callback's values, in the order of log_columns.
fn log_values(schema: &Schema, c: &Callback) -> Vec<Option<String>> {
    let l = &schema.log;
    let source = Some(if c.poll { "poll" } else { "callback" }.to_owned());
    // Where the status is typed, the log takes no word that is none.
    let word = if l.typed { c.word.clone().filter(|w| Status::from_label(w).is_some()) } else { c.word.clone() };
    [
        (true, c.key.map(|k| key(schema, k))),
        (true, word),
        (l.event_at.is_some(), time(c.event_at)),
        (l.created_at.is_some(), time(c.created_at)),
        (l.provider, c.provider.clone()),
        (l.error_code, c.code.clone()),
        (l.error_message, c.message.clone()),
        (l.source, source),
    ]
    .into_iter()
    .filter_map(|(there, value)| there.then_some(value))
    .collect()
}

/// What a log's columns are cast to in an INSERT … SELECT.
fn log_types(schema: &Schema) -> String {
    let l = &schema.log;
    log_columns(schema)
        .iter()
        .map(|c| match *c {
            "k" if !schema.key.is_text() => match schema.key {
                KeyType::Bigint => "k::bigint".to_owned(),
                KeyType::Uuid => "k::uuid".to_owned(),
                _ => "k::numeric".to_owned(),
            },
            "status" if l.typed => "status::msgstatus.delivery_status".to_owned(),
            "event_at" | "created_at" => {
                let column = if *c == "event_at" { l.event_at } else { l.created_at };
                format!("{c}::timestamp{}", if column.is_some_and(|t| t.zone) { "tz" } else { "" })
            }
            other => other.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// One row of VALUES.
pub fn values(fields: &[Option<String>]) -> String {
    let list: Vec<String> = fields.iter().cloned().map(or_null).collect();
    format!("({})", list.join(", "))
}

/// Rows as COPY reads them.
pub fn copy_text(rows: &[Vec<Option<String>>]) -> String {
    let mut text = String::new();
    for row in rows {
        let fields: Vec<&str> = row.iter().map(|f| f.as_deref().unwrap_or("\\N")).collect();
        text.push_str(&fields.join("\t"));
        text.push('\n');
    }
    text
}

/// A statement: SQL, or a COPY with its rows.
pub enum Statement {
    Sql(String),
    Copy(String, String),
}

pub fn callbacks(schema: &Schema, rows: &[Callback], how: How) -> Vec<Statement> {
    let columns = log_columns(schema).join(", ");
    let all: Vec<Vec<Option<String>>> = rows.iter().map(|c| log_values(schema, c)).collect();
    let lists: Vec<String> = all.iter().map(|fields| values(fields)).collect();
    let together = lists.join(",\n  ");
    let insert = format!("INSERT INTO l ({columns})");
    match how {
        How::Single => lists.iter().map(|list| Statement::Sql(format!("{insert} VALUES {list}"))).collect(),
        How::Values => vec![Statement::Sql(format!("{insert} VALUES {together}"))],
        How::Select => vec![Statement::Sql(format!(
            "{insert} SELECT {} FROM (VALUES {together}) v ({columns})",
            log_types(schema)
        ))],
        How::Copy => vec![Statement::Copy(format!("COPY l ({columns}) FROM STDIN"), copy_text(&all))],
        How::Partition if schema.row_level && schema.log.parts => rows
            .iter()
            .zip(&lists)
            .map(|(_, list)| {
                // Which of the two it belongs to only PostgreSQL knows.
                Statement::Sql(format!(
                    "DO $$ BEGIN INSERT INTO l_0 ({columns}) VALUES {list}; EXCEPTION WHEN check_violation THEN INSERT INTO l_1 ({columns}) VALUES {list}; END $$"
                ))
            })
            .collect(),
        How::Partition => vec![Statement::Sql(format!("{insert} VALUES {together}"))],
        How::Caught => vec![Statement::Sql(format!(
            "DO $$ BEGIN {insert} VALUES {together}; RAISE EXCEPTION 'undone'; EXCEPTION WHEN raise_exception THEN NULL; END $$"
        ))],
        How::Failing => vec![Statement::Sql(format!(
            "{insert} VALUES {together}; SELECT 1 / 0"
        ))],
    }
}

pub fn apply(schema: &Schema, table: usize, c: &Callback) -> Option<String> {
    let l = &schema.log;
    // Without a time of its own the event's would be that of the database's clock.
    l.event_at?;
    let mut arguments = vec![quoted(&key(schema, c.key?)), quoted(c.word.as_ref()?)];
    arguments.push(format!("event_at => {}", quoted(&c.event_at?.text())));
    for (there, name, value) in [
        (l.error_code, "error_code", c.code.clone()),
        (l.error_message, "error_message", c.message.clone()),
        (l.provider, "provider", c.provider.clone()),
        (l.source, "source", Some(if c.poll { "poll" } else { "api" }.to_owned())),
    ] {
        if let Some(value) = value.filter(|_| there) {
            arguments.push(format!("{name} => {}", quoted(&value)));
        }
    }
    arguments.push(format!("messages => {}", quoted(&schema.messages[table].name)));
    Some(format!("SELECT msgstatus.apply_status({})::text", arguments.join(", ")))
}

/// A Set as a column and its value, where the table has that column.
fn assignment(schema: &Schema, m: &Messages, set: &Set) -> Option<(&'static str, String)> {
    let all = match set {
        Set::Status(status) => ("status", quoted(status.label())),
        Set::StatusAt(t) => {
            m.status_at?;
            ("status_at", or_null(time(*t)))
        }
        Set::Milestone(i, t) => {
            m.milestones[*i]?;
            (MILESTONES[*i], or_null(time(*t)))
        }
        Set::Map(i, t) => {
            let entry = format!("{{\"{}\": \"{}\"}}", MAP_KEYS[*i], t.iso());
            m.map.then_some(("status_map", quoted(&entry)))?
        }
        // A direct write of what is too long is an error of PostgreSQL's.
        Set::Code(code) => ("error_code", or_null(cut(code.as_ref(), m.error_code?))),
        Set::Message(message) => ("error_message", or_null(cut(message.as_ref(), m.error_message?))),
        Set::Seen(mask) => {
            m.seen?;
            ("statuses_seen", mask.to_string())
        }
        Set::Note(note) => ("note", quoted(note)),
        Set::Key(to) => ("k", or_null(to.map(|k| key(schema, k)))),
    };
    Some(all)
}

/// The SET list of an UPDATE; None if nothing is left to set.
pub fn set_list(schema: &Schema, m: &Messages, sets: &[Set]) -> Option<String> {
    let list: Vec<String> = sets
        .iter()
        .filter_map(|set| {
            let (column, value) = assignment(schema, m, set)?;
            let value = match set {
                Set::Map(..) => format!("coalesce({}.status_map, '{{}}') || {value}", m.name),
                _ => value,
            };
            Some(format!("{column} = {value}"))
        })
        .collect();
    (!list.is_empty()).then(|| list.join(", "))
}

/// The columns of new messages, and the rows.
pub fn message_rows(schema: &Schema, m: &Messages, rows: &[NewMessage]) -> (String, Vec<Vec<Option<String>>>) {
    let mut columns = vec!["id", "k", "status"];
    if m.status_at.is_some() {
        columns.push("status_at");
    }
    if m.parts == Parts::Final {
        columns.push("final");
    }
    if matches!(m.parts, Parts::Created | Parts::Levels) {
        columns.push("created_at");
    }
    let fixed = columns.len();
    for row in rows {
        for set in &row.sets {
            if let Some((column, _)) = assignment(schema, m, set)
                && !columns.contains(&column)
            {
                columns.push(column);
            }
        }
    }
    let lines = rows
        .iter()
        .map(|row| {
            let mut line = vec![
                Some(row.id.to_string()),
                row.key.map(|k| key(schema, k)),
                row.status.map(|s| s.label().to_owned()),
            ];
            if m.status_at.is_some() {
                line.push(time(row.status_at));
            }
            if m.parts == Parts::Final {
                // A BEFORE trigger can't move a new row to another partition, so it is put where it belongs.
                line.push(row.status.map(|s| s.is_final().to_string()));
            }
            if matches!(m.parts, Parts::Created | Parts::Levels) {
                line.push(time(Some(row.created_at)));
            }
            for column in &columns[fixed..] {
                let value = row.sets.iter().filter_map(|set| assignment(schema, m, set)).find(|(c, _)| c == column);
                let value = value.map(|(_, v)| v).filter(|v| v != "NULL");
                let default = match *column {
                    "statuses_seen" => Some("0".to_owned()),
                    "status_map" => Some("{}".to_owned()),
                    _ => None,
                };
                let bare = |v: String| match v.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) {
                    Some(inner) => inner.replace("''", "'"),
                    None => v,
                };
                line.push(value.map(bare).or(default));
            }
            line
        })
        .collect();
    (columns.join(", "), lines)
}

pub fn messages(schema: &Schema, m: &Messages, rows: &[NewMessage], how: How) -> Statement {
    let (columns, lines) = message_rows(schema, m, rows);
    if how == How::Copy {
        return Statement::Copy(format!("COPY {} ({columns}) FROM STDIN", m.name), copy_text(&lines));
    }
    let lists: Vec<String> = lines.iter().map(|line| values(line)).collect();
    Statement::Sql(format!("INSERT INTO {} ({columns}) VALUES {}", m.name, lists.join(",\n  ")))
}

pub fn ddl(m: &Messages, what: Ddl, n: usize) -> String {
    let m = &m.name;
    match what {
        Ddl::AddColumn => format!("ALTER TABLE {m} ADD COLUMN x{n} integer; ALTER TABLE {m} DROP COLUMN x{n}"),
        Ddl::Analyze => format!("ANALYZE {m}; ANALYZE l"),
        Ddl::Vacuum => format!("VACUUM ANALYZE {m}"),
        Ddl::VacuumFull => format!("VACUUM FULL {m}"),
        Ddl::Reindex => format!("REINDEX TABLE {m}"),
    }
}
