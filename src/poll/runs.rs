//! `msgstatus.poll_run`, and one round at a time.

use super::round::Tally;
use super::wait;
use crate::advisory::{self, Class};
use crate::datum::text_datum;
use crate::encoding::to_server;
use crate::errors::{Fault, Result};
use crate::pair::resolve;
use crate::session::ActAs;
use crate::spi::Spi;
use crate::status::oids::extension_schema;
use crate::subtransaction::apart;
use crate::twilio::{Time, now};
use pgrx::pg_sys::{self, Datum};
use std::time::Duration;

/// Rounds are remembered for so many days.
const KEPT: &str = "30 days";

/// Acts as the owner of the table, and of the extension, whoever calls.
pub fn as_owner() -> Result<ActAs> {
    // SAFETY: syscache look-up by name and namespace.
    let oid = unsafe { pg_sys::get_relname_relid(c"poll_run".as_ptr(), extension_schema()) };
    Ok(ActAs::owner(resolve::existing(oid, "msgstatus.poll_run")?.owner, false))
}

/// Writes down a round that is over.
pub fn keep(began: Time, trigger: &str, tally: &Tally) -> Result<()> {
    end(begin(began, trigger, None)?, tally)
}

/// Writes down that a round begins, and until when it has its messages, if it takes them. Gives its number.
pub fn begin(began: Time, trigger: &str, until: Option<Time>) -> Result<i64> {
    let _owner = as_owner()?;
    let spi = Spi::connect()?;
    let rows = spi.once(
        "INSERT INTO msgstatus.poll_run (started_at, trigger, lease_until) VALUES ($1, $2, $3) RETURNING run",
        &[pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
        &[Some(Datum::from(began)), Some(text_datum(trigger.as_bytes())), until.map(Datum::from)],
    )?;
    rows.get(0, 0).map(|d| d.value() as i64).ok_or_else(|| Fault::internal("a round without a number"))
}

/// Writes down that it is over.
pub fn end(run: i64, tally: &Tally) -> Result<()> {
    let counts = tally.counts;
    let numbers = [tally.checked, tally.changed, counts.requests, counts.throttled, tally.errors];
    let [checked, changed, requests, throttled, errors] = numbers.map(|n| Some(Datum::from(n as i64)));
    let _owner = as_owner()?;
    Spi::connect()?.once(
        "UPDATE msgstatus.poll_run SET finished_at = $2, checked = $3, changed = $4, api_requests = $5, throttled = $6, \
         errors = $7, message = $8 WHERE run OPERATOR(pg_catalog.=) $1",
        &[
            pg_sys::INT8OID,
            pg_sys::TIMESTAMPTZOID,
            pg_sys::INT8OID,
            pg_sys::INT8OID,
            pg_sys::INT8OID,
            pg_sys::INT8OID,
            pg_sys::INT8OID,
            pg_sys::TEXTOID,
        ],
        &[
            Some(Datum::from(run)),
            Some(Datum::from(now())),
            checked,
            changed,
            requests,
            throttled,
            errors,
            tally.message.as_deref().map(|m| text_datum(&to_server(m))),
        ],
    )?;
    Ok(())
}

/// Forgets rounds of long ago, a hundred at a time. That holds nobody up, and if it fails it is done another time.
pub fn prune() {
    // Of the oldest, those that are too old and that nobody else forgets just now.
    let sql = format!(
        "DELETE FROM msgstatus.poll_run r WHERE r.run OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT o.run \
         FROM msgstatus.poll_run o WHERE o.run OPERATOR(pg_catalog.<=) (SELECT pg_catalog.max(f.run) FROM (SELECT p.run \
         FROM msgstatus.poll_run p ORDER BY p.run LIMIT 100) AS f) AND o.started_at OPERATOR(pg_catalog.<) \
         (pg_catalog.now() OPERATOR(pg_catalog.-) '{KEPT}'::pg_catalog.interval) FOR UPDATE SKIP LOCKED))"
    );
    let _ = apart(|| {
        let _owner = as_owner()?;
        Spi::connect()?.once(&sql, &[], &[]).map(drop)
    });
}

/// Ends the rounds of a worker that is no more. Gives until when they had messages.
pub fn end_interrupted() -> Result<Vec<Time>> {
    let _owner = as_owner()?;
    let spi = Spi::connect()?;
    let rows = spi.once(
        "UPDATE msgstatus.poll_run SET finished_at = $1, errors = errors OPERATOR(pg_catalog.+) 1, message = 'interrupted' \
         WHERE finished_at IS NULL RETURNING lease_until",
        &[pg_sys::TIMESTAMPTZOID],
        &[Some(Datum::from(now()))],
    )?;
    Ok((0..rows.len()).filter_map(|i| rows.get(i, 0)).map(|d| d.value() as i64).collect())
}

/// A round by hand, of which there is one at a time in a database: two would ask the same.
pub struct Alone;

impl Alone {
    /// Waits for a round that is just choosing its messages, but not for one that asks about them.
    pub fn be_soon() -> Option<Alone> {
        for _ in 0..20 {
            if let Some(alone) = Alone::try_be() {
                return Some(alone);
            }
            wait::a_while(Duration::from_millis(50));
        }
        None
    }

    pub fn try_be() -> Option<Alone> {
        // SAFETY: a lock of the session, released on drop, or by PostgreSQL when the session ends.
        let got =
            unsafe { pg_sys::LockAcquire(&advisory::tag(Class::Round, 0), pg_sys::ExclusiveLock as i32, true, true) };
        (got != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL).then(|| Alone)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Also while an error unwinds: a lock of the session outlives the transaction.
        // SAFETY: releases what `try_be` took.
        unsafe { pg_sys::LockRelease(&advisory::tag(Class::Round, 0), pg_sys::ExclusiveLock as i32, true) };
    }
}
