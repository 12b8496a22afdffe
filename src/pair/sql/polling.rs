//! Statements about asking the provider: which messages it is time to ask about, and that they were asked about.

use super::{Shape, is_naive, read_text, read_time};
use crate::key::quote;
use crate::pair::mapping::Mapping;

/// What an UPDATE sets to keep these checks.
pub fn set_checks(m: &Mapping, shape: &Shape, count: &str, at: &str) -> Vec<String> {
    let mut set = Vec::new();
    if let Some(column) = m.p.check_count.as_deref().map(quote) {
        set.push(format!("{column} = coalesce(m.{column}, 0) OPERATOR(pg_catalog.+) {count}"));
    }
    if let Some(column) = m.p.last_checked_at.as_deref() {
        let declared = shape.types.last_checked_at.as_ref();
        let last = format!("greatest({}, {at})", read_time("m", Some(column), declared));
        let value = if is_naive(declared) { format!("pg_catalog.timezone('UTC', {last})") } else { last };
        set.push(format!("{} = {value}", quote(column)));
    }
    set
}

/// Adds `$2` checks, the last at `$3`, to the messages with keys `$1`.
pub fn count_checks(m: &Mapping, shape: &Shape) -> String {
    format!(
        "UPDATE {} m SET {} FROM unnest($1::{}[], $2::integer[], $3::pg_catalog.timestamptz[]) AS v(key, checks, checked_at) \
         WHERE m.{} {} v.key",
        shape.messages_only(),
        set_checks(m, shape, "v.checks", "v.checked_at").join(", "),
        shape.key_type,
        quote(&m.m.key),
        shape.equals,
    )
}

/// Messages that it is time to ask Twilio about: with the provider's id, outbound, of Twilio, not final, fewer than `$1`
/// checks, and as old and as long unchecked as the schedule says.
pub fn select_due(m: &Mapping, shape: &Shape, schedule: &str) -> String {
    let (p, types) = (&m.p, &shape.types);
    let created = [(&p.created_at, &types.poll_created_at), (&p.scheduled_for, &types.scheduled_for)];
    let began: Vec<String> = created
        .iter()
        .filter(|(column, _)| column.is_some())
        .map(|(column, declared)| read_time("m", column.as_deref(), declared.as_ref()))
        .collect();
    let began = match began.is_empty() {
        false => format!("greatest({})", began.join(", ")),
        true => format!(
            "coalesce({}, {})",
            read_time("m", m.m.sent_at.as_deref(), types.milestones[0].as_ref()),
            read_time("m", m.m.status_at.as_deref(), types.status_at.as_ref())
        ),
    };
    let sid = read_text("m", Some(p.sid.as_deref().unwrap_or(&m.m.key)));
    let count = p.check_count.as_deref().map_or("0".to_owned(), |c| format!("coalesce(m.{}, 0)", quote(c)));
    let checked = read_time("m", p.last_checked_at.as_deref(), types.last_checked_at.as_ref());
    let next = read_time("m", p.next_check_at.as_deref(), types.next_check_at.as_ref());
    let usual = pgrx::spi::quote_literal(&m.provider);
    let provider = match p.provider.as_deref() {
        Some(column) => format!("coalesce(m.{}::pg_catalog.text, {usual})", quote(column)),
        None => usual,
    };
    // The age of a message that does not say when it began is unknown, and so the longest.
    format!(
        "SELECT {table}::pg_catalog.regclass, m.{key}::pg_catalog.text, {sid}, m.{status}, a.age, ({count})::integer, \
         {checked}, {schedule}::pg_catalog.text FROM {messages} m \
         CROSS JOIN LATERAL (SELECT pg_catalog.now() OPERATOR(pg_catalog.-) {began}) AS a(age) \
         CROSS JOIN LATERAL (SELECT t.interval FROM msgstatus.poll_schedule t \
         WHERE t.schedule OPERATOR(pg_catalog.=) {schedule} AND t.status OPERATOR(pg_catalog.=) m.{status} \
         AND coalesce(t.min_age OPERATOR(pg_catalog.<=) a.age, true) ORDER BY t.min_age DESC LIMIT 1) AS s \
         WHERE m.{status} OPERATOR(pg_catalog.>=) 'accepted'::msgstatus.delivery_status \
         AND m.{status} OPERATOR(pg_catalog.<) 'undelivered'::msgstatus.delivery_status \
         AND {sid} IS NOT NULL AND pg_catalog.lower({provider}) OPERATOR(pg_catalog.=) 'twilio' \
         AND NOT coalesce(pg_catalog.starts_with(pg_catalog.lower({direction}), 'in'), false) \
         AND {count} OPERATOR(pg_catalog.<) $1 AND s.interval IS NOT NULL \
         AND coalesce({checked} OPERATOR(pg_catalog.+) s.interval OPERATOR(pg_catalog.<=) pg_catalog.now(), true) \
         AND coalesce({next} OPERATOR(pg_catalog.<=) pg_catalog.now(), true)",
        table = pgrx::spi::quote_literal(&shape.messages),
        key = quote(&m.m.key),
        status = quote(&m.m.status),
        schedule = pgrx::spi::quote_literal(schedule),
        messages = shape.messages_only(),
        direction = read_text("m", p.direction.as_deref()),
    )
}

/// Several of these lists as one, `$2` messages long: those first that were never asked about, or not for the longest time,
/// and then the oldest; each with a sentence that says why.
pub fn list_due(parts: &[String]) -> String {
    format!(
        "SELECT d.messages, d.message_key, d.sid, d.status, d.age, d.check_count, d.last_checked_at, d.schedule, \
         pg_catalog.format('%s, %s, %s', d.status, \
         coalesce(pg_catalog.date_trunc('minute', d.age)::pg_catalog.text OPERATOR(pg_catalog.||) ' old', 'of unknown age'), \
         CASE WHEN d.last_checked_at IS NOT NULL THEN pg_catalog.format('checks: %s, the last %s ago', d.check_count, \
         pg_catalog.date_trunc('minute', pg_catalog.now() OPERATOR(pg_catalog.-) d.last_checked_at)) \
         WHEN d.check_count OPERATOR(pg_catalog.>) 0 THEN pg_catalog.format('checks: %s', d.check_count) \
         ELSE 'never checked' END) \
         FROM ({}) AS d(messages, message_key, sid, status, age, check_count, last_checked_at, schedule) \
         ORDER BY d.last_checked_at NULLS FIRST, d.age DESC NULLS FIRST LIMIT $2",
        parts.join(" UNION ALL "),
    )
}
