//! Statements about what the provider answered.

use super::log::insert;
use super::polling::set_checks;
use super::{Shape, read_text, read_time, write_time};
use crate::key::quote;
use crate::pair::log_rules::LogRules;
use crate::pair::mapping::Mapping;

/// An INSERT into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Insert {
    /// Which columns it names, by the numbers of their parameters less one. The others get their defaults.
    pub given: [bool; 9],
    /// Its parameters are the values of one event, not arrays of those of many.
    pub single: bool,
    pub repeated: Repeated,
}

/// Writes events into the log: keys `$1`, words `$2`, event_at `$3`, error_code `$4`, error_message `$5`, payload `$6`,
/// provider `$7`, source `$8`, created_at `$9`. (`unnest` of several arrays is always PostgreSQL's own, and must not be
/// qualified.)
pub fn insert_events(m: &Mapping, shape: &Shape, rules: &LogRules, what: Insert) -> String {
    // A log that holds labels has no place for a word that is none.
    let known = if shape.labels { " WHERE msgstatus.parse_status(k.status, k.provider) IS NOT NULL" } else { "" };
    let parameters = "($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let given = if what.single { format!("(VALUES {parameters})") } else { format!("unnest{parameters}") };
    let from = format!(
        "(SELECT k.key::{}, k.status, k.event_at, k.error_code, k.error_message, k.payload::pg_catalog.jsonb, \
         k.provider, k.source, k.created_at FROM {given} \
         AS k(key, status, event_at, error_code, error_message, payload, provider, source, created_at){known}) \
         AS e(key, status, event_at, error_code, error_message, payload, provider, source, created_at)",
        shape.key_type,
    );
    let insert = insert(m, shape, what.given, &rules.defaults, &from);
    match &rules.once {
        Some(columns) if what.repeated == Repeated::LeftOut => format!("{insert} ON CONFLICT ({columns}) DO NOTHING"),
        _ => insert,
    }
}

/// What becomes of a status of a message that the log has already, where an index of its own has it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repeated {
    /// Nothing.
    LeftOut,
    /// An error.
    Refused,
}

/// The messages with the SIDs `$1`, where the log needs them: the SID and the key.
pub fn select_keys_by_sid(m: &Mapping, shape: &Shape) -> Option<String> {
    let sid = read_text("m", Some(shape.found_by.as_deref()?));
    let (key, messages) = (quote(&m.m.key), shape.messages_only());
    Some(format!(
        "SELECT {sid}, m.{key}::pg_catalog.text FROM {messages} m \
         WHERE {sid} OPERATOR(pg_catalog.=) ANY ($1) AND m.{key} IS NOT NULL ORDER BY m.{key}{}",
        shape.collate,
    ))
}

/// What waits of the messages table `$1` for the SIDs `$2`, and could go into the log: its numbers, and the SIDs.
pub fn select_waiting(shape: &Shape) -> String {
    format!(
        "SELECT w.id, w.sid FROM msgstatus.waiting_callback w \
         WHERE w.sid OPERATOR(pg_catalog.=) ANY ($2) AND w.messages OPERATOR(pg_catalog.=) $1{}",
        storable(shape),
    )
}

/// The SIDs for which something waits of the messages table `$1` that could go into the log, since `$2`.
pub fn select_waiting_sids(shape: &Shape) -> String {
    format!(
        "SELECT DISTINCT w.sid FROM msgstatus.waiting_callback w \
         WHERE w.messages OPERATOR(pg_catalog.=) $1 AND w.received_at OPERATOR(pg_catalog.>=) $2{}",
        storable(shape),
    )
}

/// A log that holds labels has no place for a word that is none.
fn storable(shape: &Shape) -> &'static str {
    if shape.labels { " AND msgstatus.parse_status(w.status, w.provider) IS NOT NULL" } else { "" }
}

/// The statuses of the messages with keys `$1`.
pub fn select_statuses(m: &Mapping, shape: &Shape) -> String {
    let key = quote(&m.m.key);
    format!(
        "SELECT m.{key}::pg_catalog.text, m.{} FROM pg_catalog.unnest($1) AS k(key) JOIN {} m ON m.{key} {} k.key::{}",
        quote(&m.m.status),
        shape.messages_only(),
        shape.equals,
        shape.key_type,
    )
}

/// Locks the messages with keys `$1` that nobody else holds, in key order. Gives their keys.
pub fn lock_answered(m: &Mapping, shape: &Shape) -> String {
    format!(
        "SELECT m.{key}::pg_catalog.text FROM pg_catalog.unnest($1::pg_catalog.text[]) AS k(key) \
         JOIN {messages} m ON m.{key} {equals} k.key::{key_type} ORDER BY m.{key}{collate} \
         FOR NO KEY UPDATE OF m SKIP LOCKED",
        key = quote(&m.m.key),
        messages = shape.messages_only(),
        equals = shape.equals,
        key_type = shape.key_type,
        collate = shape.collate,
    )
}

/// Keeps what is no event, of the messages with keys `$1`: until when it is not asked again `$2`, price `$3` and its unit
/// `$4`, segments `$5`, and checks that the log does not tell of `$6`, the last at `$7`. Rows are locked in key order.
///
/// Until when it is not asked again is changed where that is over, or what the round wrote itself when it took the message
/// (`$8`, null where it did not): what somebody else wrote meanwhile is a wish that the answer does not know of.
pub fn keep_books(m: &Mapping, shape: &Shape) -> Option<String> {
    let (p, types) = (&m.p, &shape.types);
    let mut set = Vec::new();
    let mut changes = Vec::new();
    if let Some(column) = &p.next_check_at {
        let declared = types.next_check_at.as_ref();
        let (value, is) = (write_time("v.next_check_at", declared), read_time("m", Some(column), declared));
        let ours = format!(
            "coalesce({is} OPERATOR(pg_catalog.=) v.taken_until, false) OR coalesce({is} OPERATOR(pg_catalog.<=) pg_catalog.now() \
             AND (v.taken_until IS NULL OR pg_catalog.isfinite({is})), true)"
        );
        let column = quote(column);
        changes.push(format!(
            "({ours}) AND coalesce(m.{column} OPERATOR(pg_catalog.<>) {value}, m.{column} IS NOT NULL OR {value} IS NOT NULL)"
        ));
        set.push(format!("{column} = CASE WHEN {ours} THEN {value} ELSE m.{column} END"));
    }
    let cast = |value: &str, sql_type: &Option<String>| {
        sql_type.as_ref().map_or(value.to_owned(), |sql_type| format!("{value}::{sql_type}"))
    };
    for (column, value) in [
        (&p.price, cast("v.price", &types.price)),
        (&p.price_unit, cast("v.price_unit", &types.price_unit)),
        (&p.num_segments, "v.num_segments".to_owned()),
    ] {
        if let Some(column) = column.as_deref().map(quote) {
            changes.push(format!(
                "coalesce({value} OPERATOR(pg_catalog.<>) m.{column}, {value} IS NOT NULL AND m.{column} IS NULL)"
            ));
            set.push(format!("{column} = coalesce({value}, m.{column})"));
        }
    }
    if p.keeps_checks() {
        changes.push("v.checks OPERATOR(pg_catalog.>) 0".to_owned());
        set.extend(set_checks(m, shape, "v.checks", "v.checked_at"));
    }
    if set.is_empty() {
        return None;
    }
    let (key, messages) = (quote(&m.m.key), shape.messages_only());
    Some(format!(
        "UPDATE {messages} m SET {} FROM (SELECT m.{key} AS key, v.next_check_at, v.price, v.price_unit, v.num_segments, \
         v.checks, v.checked_at, v.taken_until FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) \
         AS v(key, next_check_at, price, price_unit, num_segments, checks, checked_at, taken_until) \
         JOIN {messages} m ON m.{key} {equals} v.key::{} ORDER BY m.{key}{} FOR NO KEY UPDATE OF m) AS v \
         WHERE m.{key} {equals} v.key AND ({})",
        set.join(", "),
        shape.key_type,
        shape.collate,
        changes.join(" OR "),
        equals = shape.equals,
    ))
}

/// Which messages a person asks about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    Sid,
    Batch,
}

/// The messages of the SID or batch `$1`, those under way first, at most `$2`: the columns of [`super::take_due`], with `$3`
/// for the account where the message does not say.
pub fn select_asked(m: &Mapping, shape: &Shape, by: By) -> Option<String> {
    let sid = read_text("m", Some(m.p.sid.as_deref().unwrap_or(&m.m.key)));
    let matched = match by {
        By::Sid => sid.clone(),
        By::Batch => read_text("m", Some(m.p.batch.as_deref()?)),
    };
    let began = read_time("m", m.p.created_at.as_deref(), shape.types.poll_created_at.as_ref());
    let status = quote(&m.m.status);
    Some(format!(
        "SELECT {table}::pg_catalog.regclass::pg_catalog.oid, m.{key}::pg_catalog.text, {sid}, m.{status}, \
         coalesce({account}, $3), {began}, {began} OPERATOR(pg_catalog.+) '1 minute'::pg_catalog.interval, \
         0::pg_catalog.int8, false, NULL::pg_catalog.timestamptz \
         FROM {messages} m WHERE {matched} OPERATOR(pg_catalog.=) $1 AND {sid} IS NOT NULL \
         ORDER BY msgstatus.is_final(m.{status}), m.{key} LIMIT $2",
        table = pgrx::spi::quote_literal(&shape.messages),
        key = quote(&m.m.key),
        account = read_text("m", m.p.account_sid.as_deref()),
        messages = shape.messages_only(),
    ))
}
