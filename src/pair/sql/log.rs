//! Statements about the delivery log.

use super::{Shape, read_text, read_time, write_time};
use crate::key::quote;
use crate::pair::mapping::Mapping;

/// The events of a log row, in fixed positions: status, provider, event_at, created_at, error_code, error_message.
fn event_columns(m: &Mapping, shape: &Shape) -> String {
    [
        format!("l.{}::pg_catalog.text", quote(&m.l.status)),
        read_text("l", m.l.provider.as_deref()),
        read_time("l", m.l.event_at.as_deref(), shape.types.event_at.as_ref()),
        read_time("l", m.l.created_at.as_deref(), shape.types.created_at.as_ref()),
        read_text("l", m.l.error_code.as_deref()),
        read_text("l", m.l.error_message.as_deref()),
    ]
    .join(", ")
}

/// Reads the log of the keys `$1`: the ordinal of the key, then the event.
pub fn select_log(m: &Mapping, shape: &Shape) -> String {
    format!(
        "SELECT k.ord, {} FROM pg_catalog.unnest($1::{}[]) WITH ORDINALITY AS k(key, ord) \
         JOIN {} l ON l.{} {} k.key",
        event_columns(m, shape),
        shape.key_type,
        shape.log,
        quote(&m.l.key),
        shape.equals,
    )
}

/// The life of the message with key `$1`, in order of arrival: the event, then delivery_id and source.
pub fn select_history(m: &Mapping, shape: &Shape) -> String {
    let id = m.l.delivery_id.as_deref();
    let arrival = m.l.created_at.as_deref().map(|c| format!("l.{}", quote(c)));
    let order: Vec<String> = arrival
        .into_iter()
        .chain(id.map(|c| format!("l.{}", quote(c))))
        .chain(["l.tableoid".to_owned(), "l.ctid".to_owned()])
        .collect();
    format!(
        "SELECT {}, {}, {} FROM {} l WHERE l.{} {} $1 ORDER BY {}",
        event_columns(m, shape),
        id.map_or("NULL::bigint".to_owned(), |c| format!("l.{}::bigint", quote(c))),
        read_text("l", m.l.source.as_deref()),
        shape.log,
        quote(&m.l.key),
        shape.equals,
        order.join(", "),
    )
}

/// The keys of the log in key order; with `$1`, only those with a row created since.
pub fn select_keys(m: &Mapping, shape: &Shape, since: bool) -> String {
    let key = quote(&m.l.key);
    let mut conditions = vec![format!("l.{key} IS NOT NULL")];
    if since {
        let at = read_time("l", m.l.created_at.as_deref(), shape.types.created_at.as_ref());
        conditions.push(format!("{at} OPERATOR(pg_catalog.>=) $1"));
    }
    format!(
        "SELECT DISTINCT l.{key}{collate} FROM {} l WHERE {} ORDER BY 1",
        shape.log,
        conditions.join(" AND "),
        collate = shape.collate,
    )
}

/// Rows of the log whose word is known and whose message is not there.
pub fn select_unmatched(m: &Mapping, shape: &Shape) -> String {
    let id = m.l.delivery_id.as_deref();
    format!(
        "SELECT {id}, {created}, l.{key}::pg_catalog.text, {provider}, l.{status}::pg_catalog.text, {event}, {code}, \
         {message}, {source} FROM {log} l WHERE l.{key} IS NOT NULL AND {parsed} IS NOT NULL \
         AND NOT EXISTS (SELECT FROM {messages} m WHERE m.{message_key} {equals} l.{key}{collation}) ORDER BY 2, 1",
        id = id.map_or("NULL::bigint".to_owned(), |c| format!("l.{}::bigint", quote(c))),
        created = read_time("l", m.l.created_at.as_deref(), shape.types.created_at.as_ref()),
        key = quote(&m.l.key),
        provider = provider(m),
        status = quote(&m.l.status),
        event = read_time("l", m.l.event_at.as_deref(), shape.types.event_at.as_ref()),
        code = read_text("l", m.l.error_code.as_deref()),
        message = read_text("l", m.l.error_message.as_deref()),
        source = read_text("l", m.l.source.as_deref()),
        log = shape.log,
        parsed = parsed(m, shape),
        collation = shape.key_collation,
        messages = shape.messages_only(),
        message_key = quote(&m.m.key),
        equals = shape.equals,
    )
}

/// Words of the log that mean nothing, counted; together with those that are not in it, by provider `$1` and word `$2`:
/// how often `$3`, first `$4` and last `$5`.
pub fn select_unrecognized(m: &Mapping, shape: &Shape) -> String {
    let created = read_time("l", m.l.created_at.as_deref(), shape.types.created_at.as_ref());
    format!(
        "SELECT u.provider, u.word, pg_catalog.sum(u.occurrences)::pg_catalog.int8, pg_catalog.min(u.first), \
         pg_catalog.max(u.last) FROM (SELECT {provider}, l.{status}::pg_catalog.text, pg_catalog.count(*), \
         pg_catalog.min({created}), pg_catalog.max({created}) FROM {log} l \
         WHERE l.{status} IS NOT NULL AND {parsed} IS NULL GROUP BY 1, 2 \
         UNION ALL SELECT * FROM unnest($1, $2, $3, $4, $5)) AS u(provider, word, occurrences, first, last) \
         GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
        provider = provider(m),
        status = quote(&m.l.status),
        log = shape.log,
        parsed = parsed(m, shape),
    )
}

/// Whose word a log row holds.
fn provider(m: &Mapping) -> String {
    let usual = pgrx::spi::quote_literal(&m.provider);
    match m.l.provider.as_deref() {
        Some(c) => format!("coalesce(l.{}::pg_catalog.text, {usual}::pg_catalog.text)", quote(c)),
        None => format!("{usual}::pg_catalog.text"),
    }
}

fn parsed(m: &Mapping, shape: &Shape) -> String {
    if shape.labels {
        return format!("l.{}", quote(&m.l.status));
    }
    format!("msgstatus.parse_status(l.{}::pg_catalog.text, {})", quote(&m.l.status), provider(m))
}

/// Writes an event: key `$1`, status `$2`, event_at `$3`, error_code `$4`, error_message `$5`, payload `$6`,
/// provider `$7`, source `$8`; columns to copy come from the message. Only columns that are `given` (by parameter, from
/// 0) are named, so that the others get their defaults.
pub fn insert_event(m: &Mapping, shape: &Shape, given: [bool; 8]) -> String {
    let mut all = [false; 9];
    all[..8].copy_from_slice(&given);
    insert(
        m,
        shape,
        all,
        &Default::default(),
        "(SELECT $1, $2, $3, $4, $5, $6, $7, $8) \
         AS e(key, status, event_at, error_code, error_message, payload, provider, source)",
    )
}

/// Writes the events of `from`, which has the columns of [`insert_event`] and, if it is given, created_at; `defaults` where
/// they are NULL.
pub(super) fn insert(
    m: &Mapping,
    shape: &Shape,
    given: [bool; 9],
    defaults: &[Option<String>; 9],
    from: &str,
) -> String {
    let types = &shape.types;
    let mut columns = vec![quote(&m.l.key), quote(&m.l.status)];
    let status = if shape.labels { "msgstatus.parse_status(e.status, e.provider)" } else { "e.status" };
    let mut values = vec!["e.key".to_owned(), status.to_owned()];
    let or_default = |i: usize, value: String| match &defaults[i] {
        Some(default) => format!("coalesce({value}, {default})"),
        None => value,
    };
    let mut put = |column: Option<&str>, value: String| {
        if let Some(column) = column {
            columns.push(quote(column));
            values.push(value);
        }
    };
    for (i, column, value, sql_type) in
        [(2, &m.l.event_at, "e.event_at", &types.event_at), (8, &m.l.created_at, "e.created_at", &types.created_at)]
    {
        if given[i] {
            put(column.as_deref(), or_default(i, write_time(value, sql_type.as_ref())));
        }
    }
    let texts = [
        (3, &m.l.error_code, "e.error_code", &types.log_error_code),
        (4, &m.l.error_message, "e.error_message", &types.log_error_message),
        (5, &m.l.payload, "e.payload", &types.log_payload),
        (6, &m.l.provider, "e.provider", &types.log_provider),
        (7, &m.l.source, "e.source", &types.log_source),
    ];
    for (i, column, value, sql_type) in texts {
        if given[i] {
            let cast = sql_type.as_ref().map_or(String::new(), |t| format!("::{t}"));
            put(column.as_deref(), or_default(i, format!("{value}{cast}")));
        }
    }
    let mut from = from.to_owned();
    if !m.copy.is_empty() {
        for (column, of_message) in &m.copy {
            put(Some(column), format!("m.{}", quote(of_message)));
        }
        let messages = shape.messages_only();
        from.push_str(&format!(" LEFT JOIN {messages} m ON m.{} {} e.key", quote(&m.m.key), shape.equals));
    }
    format!("INSERT INTO {} ({}) SELECT {} FROM {from}", shape.log, columns.join(", "), values.join(", "))
}
