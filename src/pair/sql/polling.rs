//! Statements about asking the provider: which messages it is time to ask about, and that they were asked about.

use super::{Shape, read_text, read_time, write_time};
use crate::key::quote;
use crate::pair::mapping::Mapping;
use crate::poll::schedule::Schedule;

/// What an UPDATE sets to keep these checks.
pub fn set_checks(m: &Mapping, shape: &Shape, count: &str, at: &str) -> Vec<String> {
    let mut set = Vec::new();
    if let Some(column) = m.p.check_count.as_deref().map(quote) {
        set.push(format!("{column} = coalesce(m.{column}, 0) OPERATOR(pg_catalog.+) {count}"));
    }
    if let Some(column) = m.p.last_checked_at.as_deref() {
        let declared = shape.types.last_checked_at.as_ref();
        let last = format!("greatest({}, {at})", read_time("m", Some(column), declared));
        set.push(format!("{} = {}", quote(column), write_time(&last, declared)));
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

/// The expressions that the lists go by, over the message `m`.
struct Terms {
    sid: String,
    /// How often it was asked about.
    count: String,
    checked: String,
    next: String,
    /// When its life began: from when on it could be sent.
    began: String,
    /// It may be on its way: neither inbound nor final. Whatever index there is on such messages is usable.
    under_way: String,
}

impl Terms {
    fn of(m: &Mapping, shape: &Shape) -> Terms {
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
                sent_at(m, shape),
                read_time("m", m.m.status_at.as_deref(), types.status_at.as_ref())
            ),
        };
        let status = quote(&m.m.status);
        let is_final = shape.final_column.as_deref().map_or(String::new(), |c| format!(" AND NOT m.{}", quote(c)));
        Terms {
            sid: read_text("m", Some(p.sid.as_deref().unwrap_or(&m.m.key))),
            count: p.check_count.as_deref().map_or("0".to_owned(), |c| format!("coalesce(m.{}, 0)", quote(c))),
            checked: read_time("m", p.last_checked_at.as_deref(), types.last_checked_at.as_ref()),
            next: read_time("m", p.next_check_at.as_deref(), types.next_check_at.as_ref()),
            began,
            under_way: format!(
                "m.{status} OPERATOR(pg_catalog.>=) 'accepted'::msgstatus.delivery_status \
                 AND m.{status} OPERATOR(pg_catalog.<) 'undelivered'::msgstatus.delivery_status{is_final}"
            ),
        }
    }

    /// It is Twilio's, outbound, and has an id there.
    fn can_be_asked_about(&self, m: &Mapping) -> String {
        let provider = match m.p.provider.as_deref() {
            // What is nearly always so is asked first.
            Some(column) => {
                let (column, usual) = (read_text("m", Some(column)), pgrx::spi::quote_literal(&m.provider));
                format!(
                    "({column} OPERATOR(pg_catalog.=) 'twilio' \
                     OR pg_catalog.lower(coalesce({column}, {usual})) OPERATOR(pg_catalog.=) 'twilio')"
                )
            }
            None => (m.provider == "twilio").to_string(),
        };
        let inbound = m.p.direction.as_deref().map_or("false".to_owned(), |column| {
            let column = read_text("m", Some(column));
            format!(
                "coalesce({column} OPERATOR(pg_catalog.<>) 'outbound' \
                 AND pg_catalog.starts_with(pg_catalog.lower({column}), 'in'), false)"
            )
        });
        format!("{} IS NOT NULL AND {provider} AND NOT {inbound}", self.sid)
    }

    /// After `$3` a message is asked about once more, and then it is given up.
    fn is_given_up(&self, m: &Mapping) -> String {
        let asked = match (&m.p.last_checked_at, &m.p.check_count) {
            (Some(_), _) => format!(
                "coalesce({} OPERATOR(pg_catalog.>=) ({} OPERATOR(pg_catalog.+) $3), false)",
                self.checked, self.began
            ),
            (None, Some(_)) => format!("{} OPERATOR(pg_catalog.>) 0", self.count),
            (None, None) => "true".to_owned(),
        };
        format!(
            "coalesce({} OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) $3), false) AND {asked}",
            self.began
        )
    }
}

fn sent_at(m: &Mapping, shape: &Shape) -> String {
    read_time("m", m.m.sent_at.as_deref(), shape.types.milestones[0].as_ref())
}

/// Messages that it is time to ask Twilio about: with the provider's id, outbound, of Twilio, not final; and either asked
/// for by hand (`next_check_at` is -infinity), or with fewer than `$1` checks, not given up after `$3`, not put off until a
/// time to come (`next_check_at`), and as old and as long unchecked as the schedule says.
pub fn select_due(m: &Mapping, shape: &Shape, schedule: &Schedule) -> String {
    let terms = Terms::of(m, shape);
    let Due { condition, wanted } = Due::of(m, &terms, schedule);
    format!(
        "SELECT {table}::pg_catalog.regclass, m.{key}::pg_catalog.text, {sid}, m.{status}, \
         CASE WHEN pg_catalog.isfinite({began}) THEN pg_catalog.now() OPERATOR(pg_catalog.-) {began} END, \
         ({count})::integer, {checked}, {schedule}::pg_catalog.text, {account}, {began}, {sent}, {wanted} \
         FROM {messages} m WHERE {under_way} AND {condition}",
        table = pgrx::spi::quote_literal(&shape.messages),
        key = quote(&m.m.key),
        sid = terms.sid,
        status = quote(&m.m.status),
        count = terms.count,
        checked = terms.checked,
        schedule = pgrx::spi::quote_literal(&schedule.name),
        account = read_text("m", m.p.account_sid.as_deref()),
        began = terms.began,
        sent = sent_at(m, shape),
        messages = shape.messages_only(),
        under_way = terms.under_way,
    )
}

/// Of the SIDs `$2`, about which Twilio says `$4`: messages that this moves on, or about which it is time to ask. Gives the
/// key, the SID and the status.
pub fn select_by_sid(m: &Mapping, shape: &Shape, schedule: &Schedule) -> String {
    let terms = Terms::of(m, shape);
    let Due { condition, .. } = Due::of(m, &terms, schedule);
    format!(
        "SELECT m.{key}::pg_catalog.text, {sid}, m.{status} FROM unnest($2, $4) AS k(sid, word) \
         JOIN {messages} m ON {sid} OPERATOR(pg_catalog.=) k.sid WHERE {under_way} AND {can_be} \
         AND (coalesce(msgstatus.supersedes(msgstatus.parse_status(k.word, 'twilio'), m.{status}), false) OR {condition})",
        key = quote(&m.m.key),
        sid = terms.sid,
        status = quote(&m.m.status),
        messages = shape.messages_only(),
        under_way = terms.under_way,
        can_be = terms.can_be_asked_about(m),
    )
}

/// When it is time to ask about the message `m`, and whether somebody asked for it by hand.
struct Due {
    condition: String,
    wanted: String,
}

impl Due {
    fn of(m: &Mapping, terms: &Terms, schedule: &Schedule) -> Due {
        let Terms { count, checked, next, began, .. } = terms;
        let wanted = format!("coalesce({next} OPERATOR(pg_catalog.=) '-infinity'::pg_catalog.timestamptz, false)");
        let young = schedule.from.as_deref().map_or("false".to_owned(), |from| {
            let from = pgrx::spi::quote_literal(from);
            format!(
                "coalesce({began} OPERATOR(pg_catalog.>) (pg_catalog.now() OPERATOR(pg_catalog.-) {from}::pg_catalog.interval), false)"
            )
        });
        // Most of what is under way is younger than any tier. That is quick to see, and the CASE has it seen first.
        let condition = format!(
            "CASE WHEN {wanted} THEN {can_be} WHEN {young} THEN false \
             ELSE coalesce({next} OPERATOR(pg_catalog.<=) pg_catalog.now(), true) AND {count} OPERATOR(pg_catalog.<) $1 \
             AND coalesce(coalesce({checked}, '-infinity'::pg_catalog.timestamptz) OPERATOR(pg_catalog.+) {interval} \
             OPERATOR(pg_catalog.<=) pg_catalog.now(), false) AND NOT ({given_up}) AND {can_be} END",
            can_be = terms.can_be_asked_about(m),
            interval = schedule.interval(&format!("m.{}", quote(&m.m.status)), began),
            given_up = terms.is_given_up(m),
        );
        Due { condition, wanted }
    }
}

/// The same list for people, at most `$2` messages long, which the accounts share evenly: of the messages of an account, in
/// turn the most urgent and the one that waits longest. Most urgent are those asked for by hand, then those never asked
/// about, then those not for the longest time. Each with a sentence that says why; and with its turn and the time from which
/// it was sent, by which the lists of several tables become one.
pub fn list_due(part: String) -> String {
    format!(
        "SELECT d.message_key, d.sid, d.status, d.check_count, d.last_checked_at, d.schedule, \
         pg_catalog.format('%s, %s, %s', d.status, \
         coalesce(pg_catalog.date_trunc('minute', d.age)::pg_catalog.text OPERATOR(pg_catalog.||) ' old', 'of unknown age'), \
         CASE WHEN d.last_checked_at IS NOT NULL THEN pg_catalog.format('checks: %s, the last %s ago', d.check_count, \
         pg_catalog.date_trunc('minute', pg_catalog.now() OPERATOR(pg_catalog.-) d.last_checked_at)) \
         WHEN d.check_count OPERATOR(pg_catalog.>) 0 THEN pg_catalog.format('checks: %s', d.check_count) \
         ELSE 'never checked' END) OPERATOR(pg_catalog.||) CASE WHEN d.wanted THEN ', asked for' ELSE '' END, \
         d.turn, d.wanted, d.began FROM {} ORDER BY d.turn, {URGENCY} LIMIT $2",
        in_turn(part, "true"),
    )
}

/// What a round takes of one table: as the table's OID, the key, the SID, the status, the account (`$4` where the message
/// does not say), the times from and until which it was sent, and what tells whose turn it is among the messages of
/// several tables: the turn, whether it was asked for, and when it was last asked about. Of the accounts in `$5`, or of any
/// if that is null, less those in `$6`; with `$7` only those asked for by hand.
pub fn take_due(part: String) -> String {
    format!(
        "SELECT d.messages::pg_catalog.oid, d.message_key, d.sid, d.status, coalesce(d.account, $4), d.began, \
         coalesce(d.sent, d.began OPERATOR(pg_catalog.+) '1 minute'::pg_catalog.interval), d.turn, d.wanted, \
         d.last_checked_at FROM {} ORDER BY d.turn, {URGENCY} LIMIT $2",
        in_turn(
            part,
            "coalesce(d.account, $4) IS NOT NULL \
             AND ($5 IS NULL OR coalesce(d.account, $4) OPERATOR(pg_catalog.=) ANY ($5)) \
             AND coalesce(d.account, $4) OPERATOR(pg_catalog.<>) ALL ($6) AND (d.wanted OR NOT $7)",
        ),
    )
}

const URGENCY: &str = "d.wanted DESC, d.last_checked_at NULLS FIRST, d.age DESC NULLS FIRST, d.message_key";

/// The messages `d` of this list, each with its turn among those of its account.
fn in_turn(part: String, condition: &str) -> String {
    format!(
        "(SELECT d.*, least(\
         pg_catalog.row_number() OVER (PARTITION BY d.account ORDER BY {URGENCY}) OPERATOR(pg_catalog.*) 2, \
         pg_catalog.row_number() OVER (PARTITION BY d.account \
         ORDER BY coalesce(d.last_checked_at, d.began) NULLS FIRST, d.message_key) OPERATOR(pg_catalog.*) 2 \
         OPERATOR(pg_catalog.+) 1) AS turn \
         FROM ({part}) AS d(messages, message_key, sid, status, age, check_count, last_checked_at, schedule, account, began, \
         sent, wanted) WHERE {condition}) AS d"
    )
}

/// Takes messages for a round: of the keys `$1`, those that nobody else has or holds, until `$2`; those that somebody asked
/// for by hand until `$3`, by which [`end_leases`] tells them. Gives their keys.
pub fn lease(m: &Mapping, shape: &Shape) -> Option<String> {
    let next = m.p.next_check_at.as_deref()?;
    let terms = Terms::of(m, shape);
    let key = quote(&m.m.key);
    Some(format!(
        "UPDATE {messages} m SET {column} = CASE WHEN {next} OPERATOR(pg_catalog.=) '-infinity'::pg_catalog.timestamptz \
         THEN {until_wanted} ELSE {until} END FROM (SELECT m.{key} AS key FROM \
         pg_catalog.unnest($1::pg_catalog.text[]) AS k(key) JOIN {messages} m ON m.{key} {equals} k.key::{key_type} \
         WHERE {under_way} AND coalesce({next} OPERATOR(pg_catalog.<=) pg_catalog.now(), true) \
         ORDER BY m.{key}{collate} FOR NO KEY UPDATE OF m SKIP LOCKED) AS k WHERE m.{key} {equals} k.key \
         RETURNING m.{key}::pg_catalog.text",
        messages = shape.messages_only(),
        column = quote(next),
        until = write_time("$2", shape.types.next_check_at.as_ref()),
        until_wanted = write_time("$3", shape.types.next_check_at.as_ref()),
        equals = shape.equals,
        key_type = shape.key_type,
        under_way = terms.under_way,
        next = terms.next,
        collate = shape.collate,
    ))
}

/// Gives messages back that rounds had taken until one of the times `$1`, or as wishes until one of `$2`, and that ended
/// without doing so.
pub fn end_leases(m: &Mapping, shape: &Shape) -> Option<String> {
    let next = m.p.next_check_at.as_deref()?;
    let terms = Terms::of(m, shape);
    let key = quote(&m.m.key);
    Some(format!(
        "UPDATE {messages} m SET {column} = CASE WHEN {next} OPERATOR(pg_catalog.=) ANY ($2) THEN {wanted} END \
         FROM (SELECT m.{key} AS key FROM {messages} m WHERE {under_way} \
         AND ({next} OPERATOR(pg_catalog.=) ANY ($1) OR {next} OPERATOR(pg_catalog.=) ANY ($2)) \
         ORDER BY m.{key}{collate} FOR NO KEY UPDATE OF m SKIP LOCKED) AS k WHERE m.{key} {equals} k.key",
        messages = shape.messages_only(),
        column = quote(next),
        wanted = write_time("'-infinity'::pg_catalog.timestamptz", shape.types.next_check_at.as_ref()),
        under_way = terms.under_way,
        next = terms.next,
        collate = shape.collate,
        equals = shape.equals,
    ))
}

/// Marks the message with the SID `$1` as due now, whatever its schedule says, if it can be asked about.
pub fn want(m: &Mapping, shape: &Shape) -> Option<String> {
    let next = m.p.next_check_at.as_deref()?;
    let terms = Terms::of(m, shape);
    Some(format!(
        "UPDATE {} m SET {} = {} WHERE {} OPERATOR(pg_catalog.=) $1 AND {} AND {} RETURNING 1",
        shape.messages_only(),
        quote(next),
        write_time("'-infinity'::pg_catalog.timestamptz", shape.types.next_check_at.as_ref()),
        terms.sid,
        terms.under_way,
        terms.can_be_asked_about(m),
    ))
}

/// Messages that are sent for longer than `$1` and of which no receipt came: they become delivery_unknown. Where the table
/// says when Twilio was asked, only those about which it was asked since, or will not be asked any more: after `$2` checks,
/// at an age of `$4`, or because Twilio has no such message. At most `$3` of them, any, of those that nobody else holds.
pub fn select_unknown(m: &Mapping, shape: &Shape) -> Option<String> {
    let since = read_time("m", m.m.status_at.as_deref(), shape.types.status_at.as_ref());
    let since = match (&m.m.status_at, &m.m.sent_at) {
        (Some(_), _) => since,
        (None, Some(_)) => sent_at(m, shape),
        (None, None) => return None,
    };
    let terms = Terms::of(m, shape);
    let asked = match &m.p.last_checked_at {
        Some(_) => format!(
            "coalesce({checked} OPERATOR(pg_catalog.>=) ({since} OPERATOR(pg_catalog.+) $1), false) \
             OR {count} OPERATOR(pg_catalog.>=) $2 \
             OR coalesce({began} OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) $4), false) \
             OR coalesce({next} OPERATOR(pg_catalog.=) 'infinity'::pg_catalog.timestamptz, false)",
            checked = terms.checked,
            count = terms.count,
            began = terms.began,
            next = terms.next,
        ),
        None => "$2 IS NOT NULL AND $4 IS NOT NULL".to_owned(),
    };
    Some(format!(
        "SELECT m.{key}::pg_catalog.text FROM {messages} m WHERE {under_way} \
         AND m.{status} OPERATOR(pg_catalog.=) 'sent'::msgstatus.delivery_status AND {can_be} \
         AND {since} OPERATOR(pg_catalog.+) $1 OPERATOR(pg_catalog.<=) pg_catalog.now() AND ({asked}) \
         ORDER BY pg_catalog.random() LIMIT $3 FOR NO KEY UPDATE OF m SKIP LOCKED",
        key = quote(&m.m.key),
        messages = shape.messages_only(),
        under_way = terms.under_way,
        status = quote(&m.m.status),
        can_be = terms.can_be_asked_about(m),
    ))
}
