//! The rule, written a second time: what the log makes of a message. It knows nothing of how the extension does it.

use crate::schema::{Messages, Policy, Schema, Width};
use crate::snapshot::Row;
use crate::time::Time;
use crate::words::{self, LABELS, MAP_KEYS, MILESTONES, Status};
use postgres::Row as Record;
use std::cmp::Reverse;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub status: Status,
    /// None: the log has no time for it, and it is the start of whatever transaction looks.
    pub t: Option<Time>,
    pub code: Option<String>,
    pub message: Option<String>,
    pub poll: bool,
}

/// An error as one value: code and message.
pub type Fault = (Option<String>, Option<String>);

/// The event of a log row, as snapshot::select_log reads it.
pub fn event(schema: &Schema, record: &Record) -> Option<Event> {
    let provider: Option<&str> = record.get(2);
    let (event_at, created_at): (Option<Time>, Option<Time>) = (record.get(3), record.get(4));
    Some(Event {
        status: words::parse(record.get::<_, Option<&str>>(1)?, provider.unwrap_or(&schema.provider))?,
        t: match (event_at, created_at) {
            (Some(event_at), Some(created_at)) => Some(event_at.min(created_at)),
            (one, other) => one.or(other),
        },
        code: record.get(5),
        message: record.get(6),
        poll: record.get::<_, Option<&str>>(7) == Some("poll"),
    })
}

/// The order in which statuses stand: the greater one stands.
pub fn standing(policy: &Policy, status: Status, t: Time) -> (i16, Reverse<Time>, Status) {
    (policy.rank(status), Reverse(t), status)
}

/// A text as a column of this width holds it; an empty one is none.
pub fn cut(text: Option<&String>, column: Width) -> Option<String> {
    let text = text.filter(|t| !t.is_empty())?;
    Some(column.map_or_else(|| text.clone(), |n| text.chars().take(n).collect()))
}

/// What of an error this messages table can hold; None if nothing is left.
pub fn fault(m: &Messages, code: Option<&String>, message: Option<&String>) -> Option<Fault> {
    let both = (m.error_code.and_then(|w| cut(code, w)), m.error_message.and_then(|w| cut(message, w)));
    (both.0.is_some() || both.1.is_some()).then_some(both)
}

/// An event's time, as this messages table takes it.
pub fn time_of(m: &Messages, event: &Event, now: Time) -> Time {
    let t = event.t.unwrap_or(now);
    m.status_at.map_or(t, |column| column.round(t))
}

/// The error that the log gives: that of a failure before any other, then the earliest, then the least.
pub fn log_fault(m: &Messages, events: &[Event], now: Time) -> Option<Fault> {
    events
        .iter()
        .filter_map(|e| {
            let fault = fault(m, e.code.as_ref(), e.message.as_ref())?;
            Some((u8::from(!e.status.is_failing()), time_of(m, e, now), fault))
        })
        .min()
        .map(|(_, _, fault)| fault)
}

pub fn carries(m: &Messages, events: &[Event], wanted: &Fault) -> bool {
    events.iter().any(|e| fault(m, e.code.as_ref(), e.message.as_ref()).as_ref() == Some(wanted))
}

/// The status that the log gives, and its time.
fn log_status(m: &Messages, events: &[Event], now: Time) -> Option<(Status, Time)> {
    events.iter().map(|e| (e.status, time_of(m, e, now))).max_by_key(|(status, t)| standing(&m.policy, *status, *t))
}

/// What the row has to be, given all of its log.
pub fn join(m: &Messages, row: &Row, events: &[Event], now: Time) -> Row {
    let mut new = row.clone();
    if let Some((status, t)) = log_status(m, events, now) {
        let taken = match (row.status, row.status_at) {
            (None, _) => true,
            (Some(own), Some(own_t)) => standing(&m.policy, status, t) > standing(&m.policy, own, own_t),
            (Some(own), None) => {
                let (rank, own_rank) = (m.policy.rank(status), m.policy.rank(own));
                rank > own_rank || rank == own_rank && events.iter().any(|e| e.status == own)
            }
        };
        if taken {
            new.status = Some(status);
            new.status_at = m.status_at.map(|_| t);
        }
        new.seen = if m.seen.is_some() { events.iter().fold(row.seen, |seen, e| seen | e.status.bit()) } else { 0 };
        if m.is_final {
            new.is_final = new.status.map(Status::is_final);
        }
    }
    for i in 0..5 {
        let earliest = events.iter().filter(|e| e.status.vouches(i)).map(|e| time_of(m, e, now)).min();
        set_milestone(m, &mut new, i, earliest);
    }
    order(m, &mut new);
    let own = (row.code.clone(), row.message.clone());
    let given = log_fault(m, events, now);
    if let Some((code, message)) = given
        && (own == (None, None) || carries(m, events, &own))
    {
        (new.code, new.message) = (code, message);
    }
    new
}

/// Takes a time for a milestone, if it is earlier than what is there, in its column and in the map.
fn set_milestone(m: &Messages, row: &mut Row, i: usize, t: Option<Time>) {
    let in_map = row.map[i].as_ref().and_then(|t| t.as_ref().ok()).copied();
    // A milestone is the earliest of its places.
    let Some(t) = [t, in_map, row.at[i]].into_iter().flatten().min() else { return };
    if let Some(column) = m.milestones[i] {
        let t = column.round(t);
        row.at[i] = Some(row.at[i].map_or(t, |old| old.min(t)));
    }
    if m.map && !matches!(row.map[i], Some(Err(_))) {
        row.map[i] = Some(Ok(t));
    }
}

/// A milestone's value and the digits that its place holds.
fn place(m: &Messages, row: &Row, i: usize) -> Option<(Time, Option<u8>)> {
    match m.milestones[i] {
        Some(column) => row.at[i].map(|t| (t, column.digits)),
        None => row.map[i].as_ref().and_then(|t| t.as_ref().ok()).map(|t| (*t, None)),
    }
}

/// Delivered not after read, sent not after delivered. Times that differ only because one column is coarser are in order.
pub fn order(m: &Messages, row: &mut Row) {
    for (earlier, later) in [(1, 2), (0, 1)] {
        let (Some((e, e_digits)), Some((l, l_digits))) = (place(m, row, earlier), place(m, row, later)) else {
            continue;
        };
        // What would be rounded out of all times is held as the step before, and so is no later than the last one.
        let e_held = e.round(l_digits);
        if l.round(e_digits) < e && l < e_held && e_held.fits() {
            set_milestone(m, row, earlier, Some(l));
        }
    }
}

/// How the row differs from what it has to be; None if it does not.
pub fn difference(m: &Messages, wanted: &Row, is: &Row) -> Option<String> {
    let mut all = Vec::new();
    let mut compare = |column: &str, wanted: String, is: String| {
        if wanted != is {
            all.push(format!("{column} is {is}, must be {wanted}"));
        }
    };
    let status = |s: Option<Status>| s.map_or("NULL", Status::label).to_owned();
    let time = |t: Option<Time>| t.map_or("NULL".to_owned(), Time::text);
    compare("key", format!("{:?}", wanted.key), format!("{:?}", is.key));
    compare("status", status(wanted.status), status(is.status));
    // What rounding leads out of all times is somehow kept; verify and settle say whether it is well.
    if wanted.status_at.is_none_or(Time::fits) {
        compare("status_at", time(wanted.status_at), time(is.status_at));
    }
    for (i, name) in MILESTONES.iter().enumerate() {
        if wanted.at[i].is_none_or(Time::fits) {
            compare(name, time(wanted.at[i]), time(is.at[i]));
        }
        compare_map(m, wanted, is, i, &mut compare);
    }
    compare("error_code", format!("{:?}", wanted.code), format!("{:?}", is.code));
    compare("error_message", format!("{:?}", wanted.message), format!("{:?}", is.message));
    compare("statuses_seen", seen(wanted.seen), seen(is.seen));
    compare("final", format!("{:?}", wanted.is_final), format!("{:?}", is.is_final));
    compare("check_count", format!("{:?}", wanted.checks), format!("{:?}", is.checks));
    compare("note", format!("{:?}", wanted.note), format!("{:?}", is.note));
    (!all.is_empty()).then(|| all.join("; "))
}

/// Beside a column that is coarser the map may be as exact as it was told, or as coarse. Times that an ISO text
/// can't write may be written in a way of their own.
fn compare_map(m: &Messages, wanted: &Row, is: &Row, i: usize, compare: &mut impl FnMut(&str, String, String)) {
    let digits = m.milestones[i].and_then(|column| column.digits);
    let text = |t: &Option<Result<Time, String>>| match t {
        None => "NULL".to_owned(),
        Some(Ok(t)) => t.round(digits).text(),
        Some(Err(text)) => text.clone(),
    };
    let extreme = |t: &Option<Result<Time, String>>| match t {
        Some(Ok(t)) => !t.is_ordinary(),
        Some(Err(_)) => true,
        None => false,
    };
    if !extreme(&wanted.map[i]) && !extreme(&is.map[i]) && wanted.at[i].is_none_or(Time::is_ordinary) {
        compare(&format!("status_map->>'{}'", MAP_KEYS[i]), text(&wanted.map[i]), text(&is.map[i]));
    }
}

fn seen(mask: i64) -> String {
    let labels: Vec<&str> = (0..14).filter(|i| mask & (1 << i) != 0).map(|i| LABELS[i]).collect();
    format!("{{{}}}", labels.join(" "))
}

/// What a direct write of an existing message must not do, whatever it was: the guard's promises.
pub fn broken_promise(m: &Messages, old: &Row, new: &Row) -> Option<String> {
    if let Some(before) = old.status {
        let Some(after) = new.status else { return Some("the status is gone".to_owned()) };
        let back = match (old.status_at, new.status_at) {
            (Some(old_t), Some(new_t)) => standing(&m.policy, after, new_t) < standing(&m.policy, before, old_t),
            _ => m.policy.rank(after) < m.policy.rank(before),
        };
        if back {
            return Some(format!("the status went back from {} to {}", before.label(), after.label()));
        }
    }
    for i in 0..5 {
        if old.at[i].is_some_and(|t| new.at[i].is_none_or(|n| n > t)) {
            return Some(format!("{} went back", MILESTONES[i]));
        }
        if old.map[i].is_some() && new.map[i].is_none() {
            return Some(format!("{} is gone from the map", MAP_KEYS[i]));
        }
    }
    if old.seen & !new.seen != 0 {
        return Some("statuses_seen lost a bit".to_owned());
    }
    if (old.code.is_some() || old.message.is_some()) && new.code.is_none() && new.message.is_none() {
        return Some("the error is gone".to_owned());
    }
    let mut ordered = new.clone();
    order(m, &mut ordered);
    (ordered != *new).then(|| "the milestones are out of order".to_owned())
}

/// The verdicts that apply_status may give.
pub fn verdicts(m: &Messages, status: Status, old: &Row, new: &Row, events: &[Event]) -> Vec<&'static str> {
    if old.status != new.status {
        return vec!["applied"];
    }
    let plain =
        |row: &Row| Row { seen: 0, checks: None, checked: None, is_final: None, place: String::new(), ..row.clone() };
    let changed = plain(old) != plain(new);
    let known = if m.seen.is_some() {
        old.seen & status.bit() != 0
    } else {
        old.status == Some(status) || events.iter().any(|e| e.status == status)
    };
    let equal = new.status.is_some_and(|s| s != status && m.policy.rank(s) == m.policy.rank(status));
    let otherwise = if equal {
        "conflict"
    } else if changed {
        "backfilled"
    } else {
        "stale"
    };
    match (known && !changed, m.seen.is_some()) {
        (true, true) => vec!["duplicate"],
        // Without the mask the engine may not know that it was seen.
        (true, false) => vec!["duplicate", otherwise],
        _ => vec![otherwise],
    }
}
