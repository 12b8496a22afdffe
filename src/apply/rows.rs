//! Messages and log rows, between SQL and the fold.

use crate::datum::{Layout, text_bytes, text_datum};
use crate::errors::{Fault, Result};
use crate::fold::{Checks, Error, Event, Fold, Hold, Row, Stored, Time, stored_time};
use crate::guard;
use crate::key::Key;
use crate::pair::Pair;
use crate::pair::sql::{Lock, Role};
use crate::session::Rights;
use crate::spi::{Plan, Rows, Spi};
use crate::status::Status;
use crate::status::oids::StatusOids;
use crate::status::words::Provider;
use crate::status_map;
use pgrx::pg_sys::{self, Datum, Oid};

/// A message that was found: which of the keys asked for it has, its row version, and the engine's columns.
pub struct Found {
    pub place: usize,
    table: Oid,
    tid: pg_sys::ItemPointerData,
    xmin: u32,
    pub row: Row,
}

/// Positions in the result of `sql::select_one` and `sql::select_many`: first what says which row it is, then, counted
/// anew, the engine's columns.
mod column {
    pub const PLACE: usize = 0;
    pub const TABLE: usize = 1;
    pub const TID: usize = 2;
    pub const XMIN: usize = 3;
    pub const FIRST: usize = 4;

    pub const STATUS: usize = 0;
    pub const STATUS_AT: usize = 1;
    pub const MILESTONES: usize = 2;
    pub const SEEN: usize = 7;
    pub const CODE: usize = 8;
    pub const MESSAGE: usize = 9;
    pub const MAP: usize = 10;
    pub const FINAL: usize = 11;
    pub const OF_ENGINE: usize = 12;
}

fn time(rows: &Rows, i: usize, col: usize) -> Option<Time> {
    rows.get(i, col).map(|d| stored_time(d.value() as i64))
}

/// The engine's columns of a message, in the order of `sql::engine_columns`.
pub fn row_of(values: &[Option<Datum>; column::OF_ENGINE], oids: &StatusOids, stored: &Stored) -> Row {
    let time = |col: usize| values[col].map(|d| stored_time(d.value() as i64));
    // SAFETY: these columns are cast to text by their statement.
    let text = |col: usize| values[col].map(|d| unsafe { text_bytes(d) });
    let mapped = text(column::MAP).as_deref().map(status_map::read);
    let (code, message) = (text(column::CODE), text(column::MESSAGE));
    Row {
        status: values[column::STATUS].and_then(|d| oids.status(d)),
        status_at: time(column::STATUS_AT),
        milestones: std::array::from_fn(|m| match stored.milestones[m] {
            Hold::Iso => mapped.and_then(|map| map[m]),
            _ => time(column::MILESTONES + m),
        }),
        mapped: stored.mapped.then(|| Box::new(mapped.unwrap_or_default())),
        seen: values[column::SEEN].map_or(0, |d| d.value() as i32),
        error: Error::new(code.as_deref(), message.as_deref()),
        is_final: values[column::FINAL].map(|d| d.value() != 0),
    }
}

fn found(pair: &Pair, rows: &Rows, i: usize) -> Result<Found> {
    let values = rows.row::<{ column::FIRST + column::OF_ENGINE }>(i)?;
    let need = |col: usize| values[col].ok_or_else(|| Fault::internal("a system column is null"));
    // SAFETY: the column is a ctid: a non-null pointer to an ItemPointerData.
    let tid = unsafe { *need(column::TID)?.cast_mut_ptr::<pg_sys::ItemPointerData>() };
    Ok(Found {
        place: need(column::PLACE)?.value() - 1,
        table: Oid::from(need(column::TABLE)?.value() as u32),
        tid,
        xmin: need(column::XMIN)?.value() as u32,
        row: row_of(&std::array::from_fn(|i| values[column::FIRST + i]), &pair.oids, &pair.stored),
    })
}

fn all_found(pair: &Pair, rows: &Rows) -> Result<Vec<Found>> {
    (0..rows.len()).map(|i| found(pair, rows, i)).collect()
}

/// Which state of the database is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// All that is committed by now.
    Now,
    /// What the query that calls sees: messages and log then fit each other.
    Query,
}

fn run<'a>(spi: &'a Spi, as_of: AsOf, plan: &Plan, args: &[Option<Datum>]) -> Result<Rows<'a>> {
    match as_of {
        AsOf::Now => spi.run(plan, args),
        AsOf::Query => spi.read(plan, args),
    }
}

/// Reads the messages with these keys, which are in key order, and locks none.
pub fn look_at(pair: &Pair, spi: &Spi, as_of: AsOf, keys: &[&Key]) -> Result<Vec<Found>> {
    let rows = match keys {
        [key] => run(spi, as_of, pair.plans.select_one.plan()?, &[Some(pair.key.datum(key))])?,
        _ => run(spi, as_of, pair.plans.select_many.plan()?, &[Some(pair.key.array(keys.iter().copied()))])?,
    };
    all_found(pair, &rows)
}

/// Locks the messages with this key and reads them: one, or one a partition where the key alone is not unique.
pub fn lock_one(pair: &Pair, spi: &Spi, key: &Key) -> Result<Vec<Found>> {
    all_found(pair, &spi.run(pair.plans.lock_one.plan()?, &[Some(pair.key.datum(key))])?)
}

/// Locks the messages with these keys, which are in key order, in that order, and reads them: all, waiting for those that
/// others hold, or only those that are free.
pub fn lock_many(pair: &Pair, spi: &Spi, keys: &[&Key], lock: Lock) -> Result<Vec<Found>> {
    let statement = match (lock, keys) {
        (Lock::Free, _) => &pair.plans.lock_free,
        (_, [key]) => return lock_one(pair, spi, key),
        _ => &pair.plans.lock_many,
    };
    all_found(pair, &spi.run(statement.plan()?, &[Some(pair.key.array(keys.iter().copied()))])?)
}

/// The value of one written column.
pub fn value(role: Role, after: &Row, oids: &StatusOids) -> Option<Datum> {
    let text = |t: &Option<Box<[u8]>>| t.as_deref().map(text_datum);
    match role {
        Role::Status => after.status.map(|s| oids.datum(s)),
        Role::StatusAt => after.status_at.map(Datum::from),
        Role::Milestone(m) => after.milestones[m as usize].map(Datum::from),
        Role::Seen => Some(Datum::from(after.seen)),
        Role::ErrorCode => after.error.as_ref().and_then(|e| text(&e.code)),
        Role::ErrorMessage => after.error.as_ref().and_then(|e| text(&e.message)),
        Role::StatusMap => after.mapped.as_deref().map(|map| text_datum(status_map::write(map).as_bytes())),
        Role::Final => after.is_final.map(Datum::from),
    }
}

/// Replaces the row version that was read; false if it is no longer the current one.
pub fn write_one(pair: &Pair, spi: &Spi, key: &Key, found: &Found, after: &Row) -> Result<bool> {
    let mut tid = found.tid;
    let mut args = vec![
        Some(Datum::from(found.table)),
        Some(Datum::from(&raw mut tid)),
        Some(Datum::from(found.xmin)),
        Some(pair.key.datum(key)),
    ];
    args.extend(pair.plans.writes.iter().map(|w| value(w.role, after, &pair.oids)));
    let plan = pair.plans.update_one.plan()?;
    let intended = std::iter::once((found.table, &found.tid, after));
    Ok(guard::intending(pair, intended, || spi.run(plan, &args))?.len() == 1)
}

/// Writes rows that are locked. Gives how many; a trigger of the user may have kept some back.
pub fn write_many(pair: &Pair, spi: &Spi, keys: &[&Key], rows: &[(&Found, Row)]) -> Result<u64> {
    if let [(found, after)] = rows {
        return Ok(u64::from(write_one(pair, spi, keys[found.place], found, after)?));
    }
    // Only columns that some row of the chunk changes are written, each by an array.
    let mask = rows.iter().fold(0, |mask, (found, after)| {
        let writes = pair.plans.writes.iter().enumerate();
        writes.fold(mask, |mask, (i, w)| mask | u32::from(differs(w.role, &found.row, after)) << i)
    });
    let mut tids: Vec<pg_sys::ItemPointerData> = rows.iter().map(|(f, _)| f.tid).collect();
    let places: Vec<_> = tids.iter_mut().map(|t| Some(Datum::from(std::ptr::from_mut(t)))).collect();
    let mut args = vec![Some(Layout::of(pg_sys::TIDOID).array(&places))];
    if pair.messages.partitioned {
        let tables: Vec<_> = rows.iter().map(|(f, _)| Some(Datum::from(f.table))).collect();
        args.push(Some(Layout::of(pg_sys::OIDOID).array(&tables)));
        args.push(Some(pair.key.array(rows.iter().map(|(f, _)| keys[f.place]))));
    }
    for (_, w) in pair.plans.writes.iter().enumerate().filter(|(i, _)| mask & 1 << i != 0) {
        let values: Vec<_> = rows.iter().map(|(_, after)| value(w.role, after, &pair.oids)).collect();
        args.push(Some(Layout::of(w.role.param(pair.oids.enum_type)).array(&values)));
    }
    let statement = pair.plans.update_many(&pair.mapping, mask)?;
    let plan = statement.plan()?;
    let intended = rows.iter().map(|(f, after)| (f.table, &f.tid, after));
    Ok(guard::intending(pair, intended, || spi.run(plan, &args))?.len() as u64)
}

/// Notes how often and when the provider was asked about messages that are locked.
pub fn count_checks<'a>(
    pair: &Pair,
    spi: &Spi,
    checked: impl Iterator<Item = (&'a Key, Checks)> + Clone,
) -> Result<()> {
    let counts: Vec<_> = checked.clone().map(|(_, c)| Some(Datum::from(c.count))).collect();
    let times: Vec<_> = checked.clone().map(|(_, c)| c.last.map(Datum::from)).collect();
    let args = [
        Some(pair.key.array(checked.map(|(key, _)| key))),
        Some(Layout::of(pg_sys::INT4OID).array(&counts)),
        Some(Layout::of(pg_sys::TIMESTAMPTZOID).array(&times)),
    ];
    let plan = pair.plans.count_checks.plan()?;
    guard::intending(pair, std::iter::empty(), || spi.run(plan, &args).map(drop))
}

fn differs(role: Role, before: &Row, after: &Row) -> bool {
    match role {
        Role::Status => before.status != after.status,
        Role::Final => before.is_final != after.is_final,
        Role::StatusAt => before.status_at != after.status_at,
        Role::Milestone(m) => before.milestones[m as usize] != after.milestones[m as usize],
        Role::StatusMap => before.mapped != after.mapped,
        Role::Seen => before.seen != after.seen,
        Role::ErrorCode | Role::ErrorMessage => before.error != after.error,
    }
}

/// An event from its parts; `None` if the word is not known.
pub fn read_event(
    pair: &Pair,
    status: Option<Status>,
    event_at: Option<Time>,
    created_at: Option<Time>,
    code: Option<&[u8]>,
    message: Option<&[u8]>,
) -> Option<Event> {
    // SAFETY: reads when the transaction began.
    let now = || unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
    let created = created_at.or(event_at).unwrap_or_else(now);
    let (m, stored) = (&pair.mapping.m, &pair.stored);
    Some(Event {
        status: status?,
        at: stored.round(event_at.unwrap_or(created).min(created)),
        untimed: created_at.is_none() && event_at.is_none(),
        error: Error::new(
            code.filter(|_| m.error_code.is_some()).map(|t| Stored::cut(t, stored.code_length)),
            message.filter(|_| m.error_message.is_some()).map(|t| Stored::cut(t, stored.message_length)),
        ),
    })
}

/// The event in columns `col`… of a row, as `sql::event_columns` lays them out.
pub fn event_at(pair: &Pair, rows: &Rows, i: usize, col: usize) -> Option<Event> {
    let provider = match rows.text(i, col + 1) {
        Some(name) if !pair.log_holds_labels => Provider::named(&name),
        _ => pair.provider,
    };
    let status = rows.text(i, col).and_then(|w| provider.parse(&w));
    let (code, message) = (rows.text(i, col + 4), rows.text(i, col + 5));
    read_event(pair, status, time(rows, i, col + 2), time(rows, i, col + 3), code.as_deref(), message.as_deref())
}

/// The log of each of these keys, folded.
pub fn read_log(pair: &Pair, rights: Rights, as_of: AsOf, keys: &[&Key]) -> Result<Vec<Fold>> {
    let mut folds: Vec<Fold> = (0..keys.len()).map(|_| Fold::default()).collect();
    let _rights = rights.on(&pair.log);
    let spi = Spi::connect()?;
    let rows = run(&spi, as_of, pair.plans.select_log.plan()?, &[Some(pair.key.array(keys.iter().copied()))])?;
    for i in 0..rows.len() {
        let Some(place) = rows.get(i, 0) else { continue };
        if let Some(event) = event_at(pair, &rows, i, 1) {
            folds[place.value() - 1].add(event, &pair.ranks);
        }
    }
    Ok(folds)
}
