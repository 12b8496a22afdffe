//! The SQL that a mapping makes: the one home of generated statements. Tested as text.
//!
//! Every identifier is quoted, every relation and operator qualified, every value a parameter.

mod answers;
mod log;
mod polling;

use super::mapping::Mapping;
use crate::key::quote;
use crate::status::Milestone;
use pgrx::pg_sys::{self, Oid};

pub use answers::{
    By, Insert, Repeated, insert_events, keep_books, lock_answered, select_asked, select_keys_by_sid, select_statuses,
    select_waiting, select_waiting_sids,
};
pub use log::{insert_event, select_history, select_keys, select_log, select_unmatched, select_unrecognized};
pub use polling::{
    count_checks, end_leases, lease, list_due, select_by_sid, select_due, select_unknown, take_due, want,
};

/// What the texts need to know of the tables beyond the mapping.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Qualified and quoted, as of now.
    pub messages: String,
    pub log: String,
    /// The key's type, its operators for "equal" and "greater", and a COLLATE clause that makes SQL sort as Rust does.
    pub key_type: String,
    pub equals: String,
    pub greater: String,
    pub collate: String,
    pub partitioned: bool,
    /// `COLLATE …` with the collation of the message key, where it has one.
    pub key_collation: String,
    /// The log's status column is `delivery_status`.
    pub labels: bool,
    /// A boolean column that says whether a message is final, the engine's or a generated one: an index goes by it.
    pub final_column: Option<String>,
    /// The column of messages by which callbacks find theirs, where the log can't take them without: the provider's id,
    /// where the log goes by another key, or that key.
    pub found_by: Option<String>,
    pub types: Types,
}

impl Shape {
    /// The messages table in FROM and UPDATE: without tables that merely inherit from it.
    fn messages_only(&self) -> String {
        if self.partitioned { self.messages.clone() } else { format!("ONLY {}", self.messages) }
    }
}

/// Declared types of columns that need a cast: SQL type names with their modifiers.
#[derive(Clone, Debug, Default)]
pub struct Types {
    pub status_at: Option<String>,
    pub milestones: [Option<String>; 5],
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// Error columns that are NOT NULL hold an empty text where there is no error.
    pub error_code_required: bool,
    pub error_message_required: bool,
    pub event_at: Option<String>,
    pub created_at: Option<String>,
    pub log_provider: Option<String>,
    pub log_error_code: Option<String>,
    pub log_error_message: Option<String>,
    pub log_source: Option<String>,
    pub log_payload: Option<String>,
    pub poll_created_at: Option<String>,
    pub scheduled_for: Option<String>,
    pub last_checked_at: Option<String>,
    pub next_check_at: Option<String>,
    pub price: Option<String>,
    pub price_unit: Option<String>,
}

/// A column that the engine writes, what of a folded row it takes, and how the value becomes one of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub column: String,
    pub role: Role,
    cast: Cast,
}

/// Which part of a folded row a column takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Status,
    StatusAt,
    Milestone(Milestone),
    Seen,
    ErrorCode,
    ErrorMessage,
    StatusMap,
    Final,
}

impl Role {
    /// The type of the parameter that carries this role's value.
    pub fn param(self, status: Oid) -> Oid {
        match self {
            Role::Status => status,
            Role::StatusAt | Role::Milestone(_) => pg_sys::TIMESTAMPTZOID,
            Role::Seen => pg_sys::INT4OID,
            Role::ErrorCode | Role::ErrorMessage | Role::StatusMap => pg_sys::TEXTOID,
            Role::Final => pg_sys::BOOLOID,
        }
    }

    const ALL: [Role; 12] = [
        Role::Status,
        Role::StatusAt,
        Role::Milestone(Milestone::Sent),
        Role::Milestone(Milestone::Delivered),
        Role::Milestone(Milestone::Read),
        Role::Milestone(Milestone::Failed),
        Role::Milestone(Milestone::Canceled),
        Role::Seen,
        Role::ErrorCode,
        Role::ErrorMessage,
        Role::StatusMap,
        Role::Final,
    ];

    /// The number by which the functions `decided_...` know the role.
    fn number(self) -> usize {
        Role::ALL.iter().position(|&r| r == self).unwrap_or_default()
    }

    pub fn from_number(number: i32) -> Option<Role> {
        usize::try_from(number).ok().and_then(|n| Role::ALL.get(n).copied())
    }

    /// Which of the functions `decided_...` gives its value.
    fn kind(self) -> &'static str {
        match self {
            Role::Status => "status",
            Role::StatusAt | Role::Milestone(_) => "time",
            Role::Seen => "integer",
            Role::ErrorCode | Role::ErrorMessage | Role::StatusMap => "text",
            Role::Final => "boolean",
        }
    }

    /// The role as users name it in `columns`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Status => "status",
            Role::StatusAt => "status_at",
            Role::Milestone(m) => m.column(),
            Role::Seen => "statuses_seen",
            Role::ErrorCode => "error_code",
            Role::ErrorMessage => "error_message",
            Role::StatusMap => "status_map",
            Role::Final => "final",
        }
    }

    fn param_name(self) -> &'static str {
        match self {
            Role::Status => "msgstatus.delivery_status",
            Role::StatusAt | Role::Milestone(_) => "pg_catalog.timestamptz",
            Role::Seen => "integer",
            Role::ErrorCode | Role::ErrorMessage | Role::StatusMap => "pg_catalog.text",
            Role::Final => "boolean",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cast {
    None,
    /// A timestamp without time zone is kept in UTC.
    Utc,
    /// Cut to what the column takes, as an explicit cast does: a long text must not fail a callback.
    To(String),
    /// The same, and empty instead of NULL.
    ToRequired(String),
    /// Put into the map that is there; whatever else is in it stays as it is.
    Into(String),
}

impl Write {
    fn expression(&self, value: &str) -> String {
        match &self.cast {
            Cast::None => value.to_owned(),
            Cast::Utc => format!("pg_catalog.timezone('UTC', {value})"),
            Cast::To(t) => format!("{value}::{t}"),
            Cast::Into(c) => format!(
                "CASE pg_catalog.jsonb_typeof(m.{c}) WHEN 'object' THEN m.{c} ELSE '{{}}'::pg_catalog.jsonb END \
                 OPERATOR(pg_catalog.||) {value}::pg_catalog.jsonb"
            ),
            Cast::ToRequired(t) => format!("coalesce({value}, '')::{t}"),
        }
    }
}

fn is_naive(sql_type: Option<&String>) -> bool {
    sql_type.is_some_and(|t| t.starts_with("timestamp") && !t.ends_with("with time zone"))
}

/// A time column read as timestamptz.
///
/// PostgreSQL rounds the last moment that it has to one that it does not have, where a column holds times less exactly, and
/// then finds that out of range.
fn read_time(alias: &str, column: Option<&str>, sql_type: Option<&String>) -> String {
    match column {
        None => "NULL::pg_catalog.timestamptz".to_owned(),
        Some(c) if is_naive(sql_type) && sql_type.is_some_and(|t| t.starts_with("timestamp(")) => {
            let c = format!("{alias}.{}", quote(c));
            format!(
                "pg_catalog.timezone('UTC', CASE WHEN pg_catalog.isfinite({c}) \
                 THEN least({c}, '294276-12-31 23:59:59.999999'::pg_catalog.timestamp) ELSE {c} END)"
            )
        }
        Some(c) if is_naive(sql_type) => format!("pg_catalog.timezone('UTC', {alias}.{})", quote(c)),
        Some(c) => format!("{alias}.{}", quote(c)),
    }
}

/// A timestamptz as a value for a time column.
fn write_time(value: &str, sql_type: Option<&String>) -> String {
    if is_naive(sql_type) { format!("pg_catalog.timezone('UTC', {value})") } else { value.to_owned() }
}

fn read_text(alias: &str, column: Option<&str>) -> String {
    column.map_or("NULL::pg_catalog.text".to_owned(), |c| format!("{alias}.{}::pg_catalog.text", quote(c)))
}

/// The names of the columns that the engine writes.
pub fn columns_of_engine(m: &Mapping) -> Vec<String> {
    writes(m, &Types::default()).into_iter().map(|w| w.column).collect()
}

/// The columns that the engine writes, in the order of the parameters of [`update_one`] and [`update_many`].
pub fn writes(m: &Mapping, types: &Types) -> Vec<Write> {
    let time = |sql_type: Option<&String>| if is_naive(sql_type) { Cast::Utc } else { Cast::None };
    let text = |sql_type: &Option<String>, required| match sql_type.clone() {
        None => Cast::None,
        Some(t) if required => Cast::ToRequired(t),
        Some(t) => Cast::To(t),
    };
    let mut all = vec![Write { column: m.m.status.clone(), role: Role::Status, cast: Cast::None }];
    let mut put = |column: Option<&str>, role, cast| {
        if let Some(column) = column {
            all.push(Write { column: column.to_owned(), role, cast });
        }
    };
    put(m.m.status_at.as_deref(), Role::StatusAt, time(types.status_at.as_ref()));
    for at in Milestone::ALL {
        let cast = time(types.milestones[at as usize].as_ref());
        put(m.m.milestone(at), Role::Milestone(at), cast);
    }
    put(m.m.statuses_seen.as_deref(), Role::Seen, Cast::None);
    put(m.m.error_code.as_deref(), Role::ErrorCode, text(&types.error_code, types.error_code_required));
    put(m.m.error_message.as_deref(), Role::ErrorMessage, text(&types.error_message, types.error_message_required));
    let map = m.m.status_map.as_deref();
    put(map, Role::StatusMap, map.map_or(Cast::None, |c| Cast::Into(quote(c))));
    put(m.m.final_.as_deref(), Role::Final, Cast::None);
    all
}

/// Whether a SELECT locks the rows that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    None,
    /// Locks them in key order, and waits for each that somebody else has.
    Wait,
    /// Locks those that nobody else has.
    Free,
}

/// What says which row it is, then the engine's columns.
fn row_columns(m: &Mapping, shape: &Shape) -> String {
    format!("m.tableoid, m.ctid, m.xmin, {}", engine_columns(m, shape))
}

/// The engine's columns of a message, in fixed positions: status, status_at, five milestones, statuses_seen,
/// error_code, error_message, status_map, final.
fn engine_columns(m: &Mapping, shape: &Shape) -> String {
    let mut columns = vec![format!("m.{}", quote(&m.m.status))];
    columns.push(read_time("m", m.m.status_at.as_deref(), shape.types.status_at.as_ref()));
    for at in Milestone::ALL {
        let sql_type = shape.types.milestones[at as usize].as_ref();
        columns.push(read_time("m", m.m.milestone(at), sql_type));
    }
    columns.push(m.m.statuses_seen.as_deref().map_or("0".to_owned(), |c| format!("m.{}::integer", quote(c))));
    columns.push(read_text("m", m.m.error_code.as_deref()));
    columns.push(read_text("m", m.m.error_message.as_deref()));
    columns.push(m.m.status_map.as_deref().map_or("NULL::pg_catalog.text".to_owned(), |c| {
        // Only what the engine knows: the rest of the map is the user's, and may be anything.
        let keys =
            Milestone::ALL.map(|at| format!("'{0}', m.{1} OPERATOR(pg_catalog.->>) '{0}'", at.label(), quote(c)));
        format!("pg_catalog.jsonb_build_object({})::pg_catalog.text", keys.join(", "))
    }));
    columns.push(m.m.final_.as_deref().map_or("NULL::boolean".to_owned(), |c| format!("m.{}", quote(c))));
    columns.join(", ")
}

/// Reads the message with key `$1`; the first column is the ordinal, always 1.
pub fn select_one(m: &Mapping, shape: &Shape, lock: bool) -> String {
    format!(
        "SELECT 1::bigint, {} FROM {} m WHERE m.{} {} $1{}",
        row_columns(m, shape),
        shape.messages_only(),
        quote(&m.m.key),
        shape.equals,
        if lock { " FOR NO KEY UPDATE" } else { "" },
    )
}

/// The next `$2` keys of messages in the order of their index, from the first that is greater than `$1`, if that is
/// given.
pub fn select_next_keys(m: &Mapping, shape: &Shape, after: bool) -> String {
    let key = quote(&m.m.key);
    let place = if after {
        format!("m.{key} {} $1", shape.greater)
    } else {
        format!("m.{key} IS NOT NULL AND $1::{} IS NULL", shape.key_type)
    };
    format!("SELECT m.{key} FROM {} m WHERE {place} ORDER BY m.{key} LIMIT $2", shape.messages_only())
}

/// Reads the messages with the keys `$1`, each with the ordinal of its key; locks them in key order if asked to.
pub fn select_many(m: &Mapping, shape: &Shape, lock: Lock) -> String {
    let key = quote(&m.m.key);
    let skip = if lock == Lock::Free { " SKIP LOCKED" } else { "" };
    let order = format!(" ORDER BY m.{key}{} FOR NO KEY UPDATE OF m{skip}", shape.collate);
    format!(
        "SELECT k.ord, {} FROM pg_catalog.unnest($1::{}[]) WITH ORDINALITY AS k(key, ord) \
         JOIN {} m ON m.{key} {} k.key{}",
        row_columns(m, shape),
        shape.key_type,
        shape.messages_only(),
        shape.equals,
        if lock == Lock::None { "" } else { &order },
    )
}

/// Updates the message with key `$1` as `apply::decide` says, if it says so; with `checks`, also how often and when the
/// provider was asked.
pub fn update_decided(m: &Mapping, shape: &Shape, checks: bool) -> String {
    let is_key = format!("m.{} {} $1", quote(&m.m.key), shape.equals);
    format!("{} WHERE {is_key} AND {}", set_decided(m, shape, checks), decide(m, shape, "1", &is_key))
}

/// The same for the messages with keys `$1`, in their order.
pub fn update_many_decided(m: &Mapping, shape: &Shape, checks: bool) -> String {
    let is_key = format!("m.{} {} k.key", quote(&m.m.key), shape.equals);
    format!(
        "{} FROM pg_catalog.unnest($1::{}[]) WITH ORDINALITY AS k(key, ord) WHERE {is_key} AND {}",
        set_decided(m, shape, checks),
        shape.key_type,
        decide(m, shape, "k.ord", &is_key),
    )
}

/// The question to the fold. It is asked about rows with the key and no others: PostgreSQL may evaluate conditions that
/// stand beside each other in any order, and a row that was asked about would have an outcome.
fn decide(m: &Mapping, shape: &Shape, place: &str, is_key: &str) -> String {
    let columns = engine_columns(m, shape);
    format!("CASE WHEN {is_key} THEN msgstatus.decide({columns}, {place}, m.tableoid, m.ctid) ELSE false END")
}

fn set_decided(m: &Mapping, shape: &Shape, checks: bool) -> String {
    let mut set: Vec<String> = writes(m, &shape.types)
        .iter()
        .map(|w| {
            let value = format!("msgstatus.decided_{}({})", w.role.kind(), w.role.number());
            format!("{} = {}", quote(&w.column), w.expression(&value))
        })
        .collect();
    if checks {
        set.extend(polling::set_checks(m, shape, "msgstatus.decided_checks()", "msgstatus.decided_checked_at()"));
    }
    format!("UPDATE {} m SET {}", shape.messages_only(), set.join(", "))
}

/// Updates the row version at tableoid `$1`, ctid `$2`, if it is still that of xmin `$3`; its key is `$4`.
pub fn update_one(m: &Mapping, shape: &Shape) -> String {
    let set: Vec<String> = writes(m, &shape.types)
        .iter()
        .zip(5..)
        .map(|(w, n)| format!("{} = {}", quote(&w.column), w.expression(&format!("${n}"))))
        .collect();
    // Only a partitioned table needs more than the ctid: there the key leads to the partition. The other
    // parameters are named all the same, so that both texts take the same arguments.
    let place = if shape.partitioned {
        format!("m.{} {} $4 AND m.tableoid OPERATOR(pg_catalog.=) $1", quote(&m.m.key), shape.equals)
    } else {
        format!("$1::pg_catalog.oid IS NOT NULL AND $4::{} IS NOT NULL", shape.key_type)
    };
    format!(
        "UPDATE {} m SET {} WHERE m.ctid OPERATOR(pg_catalog.=) $2 AND m.xmin OPERATOR(pg_catalog.=) $3 AND {place}",
        shape.messages_only(),
        set.join(", "),
    )
}

/// Updates the columns of `mask` (bits, in the order of [`writes`]) in locked rows: ctids `$1`; for a partitioned table
/// tableoids `$2` and keys `$3`; then an array for each column.
pub fn update_many(m: &Mapping, shape: &Shape, mask: u32) -> String {
    let all = writes(m, &shape.types);
    let written: Vec<&Write> = all.iter().enumerate().filter(|(i, _)| mask & 1 << i != 0).map(|(_, w)| w).collect();
    let mut arrays = vec!["$1::pg_catalog.tid[]".to_owned()];
    let mut names = vec!["tid".to_owned()];
    let mut place = "m.ctid OPERATOR(pg_catalog.=) v.tid".to_owned();
    if shape.partitioned {
        arrays.extend(["$2::pg_catalog.oid[]".to_owned(), format!("$3::{}[]", shape.key_type)]);
        names.extend(["tbl".to_owned(), "key".to_owned()]);
        place.push_str(&format!(
            " AND m.{} {} v.key AND m.tableoid OPERATOR(pg_catalog.=) v.tbl",
            quote(&m.m.key),
            shape.equals
        ));
    }
    let mut set = Vec::new();
    for w in written {
        let n = arrays.len() + 1;
        arrays.push(format!("${n}::{}[]", w.role.param_name()));
        names.push(format!("v{n}"));
        set.push(format!("{} = {}", quote(&w.column), w.expression(&format!("v.v{n}"))));
    }
    format!(
        "UPDATE {} m SET {} FROM unnest({}) AS v({}) WHERE {place}",
        shape.messages_only(),
        set.join(", "),
        arrays.join(", "),
        names.join(", "),
    )
}
