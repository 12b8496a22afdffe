//! Transactions that a subscription prepares (`two_phase`), and what is to be folded when they are committed.
//!
//! A transaction of a user's folds what it wrote before it is prepared, and keeps its messages and the lock of
//! [`crate::commit`] until COMMIT PREPARED: others wait. A subscription must not do so: what would end the wait may come
//! behind in the very stream that waits. So it prepares nothing but its rows and, in `msgstatus.prepared_key`, what they are
//! about. COMMIT PREPARED makes both visible at once, and the transaction around it, which has written nothing, folds them
//! before it ends, if the process has the library loaded; else a later one does, or `settle`.
//!
//! The same with a callback whose message somebody holds while the worker folds: it does not wait.

use crate::apply::{self, Whose};
use crate::commit::{self, What};
use crate::datum::{Columns, text_datum};
use crate::errors::{Fault, Result};
use crate::fold::Checks;
use crate::gather;
use crate::inspect::key_from_text;
use crate::key::Key;
use crate::pair::{Pair, cache};
use crate::session::as_extension;
use crate::waiting::{self, Held};
use pgrx::pg_sys::{self, Datum, Oid};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Keeps what the transaction that is being prepared wrote about.
pub fn prepare() -> Result<()> {
    let (texts, times) = (pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID);
    let mut rows = Columns::new([pg_sys::OIDOID, texts, texts, pg_sys::INT4OID, times]);
    let mut put = |pair: &Pair, text: &[u8], what: What, checks: Checks| {
        rows.push([
            Some(Datum::from(pair.messages.oid)),
            Some(text_datum(text)),
            Some(text_datum(name(what).as_bytes())),
            Some(Datum::from(checks.count)),
            checks.last.map(Datum::from),
        ]);
    };
    for (pair, events) in gather::take()? {
        events.iter().for_each(|(key, checks)| put(&pair, &pair.key.text(key), What::Callback, *checks));
    }
    for (pair, what, text) in commit::take_all() {
        put(&pair, &text, what, Checks::default());
    }
    as_extension(|spi| {
        let sql = "INSERT INTO msgstatus.prepared_key (messages, key, what, checks, checked_at) \
                   SELECT * FROM unnest($1, $2, $3, $4, $5)";
        spi.once(sql, &rows.types(), &rows.arrays()).map(drop)
    })
}

/// Leaves a callback to a later transaction, whose message somebody goes on holding.
pub fn leave(pair: &Pair, key: &Key, checks: Checks) -> Result<()> {
    as_extension(|spi| {
        let sql =
            "INSERT INTO msgstatus.prepared_key (messages, key, what, checks, checked_at) VALUES ($1, $2, $3, $4, $5)";
        let types = [pg_sys::OIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::TIMESTAMPTZOID];
        let values = [
            Some(Datum::from(pair.messages.oid)),
            Some(text_datum(&pair.key.text(key))),
            Some(text_datum(name(What::Callback).as_bytes())),
            Some(Datum::from(checks.count)),
            checks.last.map(Datum::from),
        ];
        spi.once(sql, &types, &values).map(drop)
    })
}

/// A row of `prepared_key`.
struct Kept {
    messages: Oid,
    text: Vec<u8>,
    what: String,
    checks: Checks,
}

/// Takes what was kept and is committed by now, of one messages table or of all, less what somebody else is taking.
fn take(messages: Option<Oid>) -> Result<Vec<Kept>> {
    if cache::policy_table() == pg_sys::InvalidOid {
        // A database without the extension.
        return Ok(Vec::new());
    }
    as_extension(|spi| {
        if spi.once("SELECT FROM msgstatus.prepared_key LIMIT 1", &[], &[])?.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "DELETE FROM msgstatus.prepared_key p WHERE p.id OPERATOR(pg_catalog.=) ANY (ARRAY(
                       SELECT k.id FROM msgstatus.prepared_key k
                        WHERE $1 IS NULL OR k.messages OPERATOR(pg_catalog.=) $1 FOR UPDATE SKIP LOCKED))
                   RETURNING p.messages, p.key, p.what, p.checks, p.checked_at";
        let rows = spi.once(sql, &[pg_sys::OIDOID], &[messages.map(Datum::from)])?;
        let row = |i| {
            Some(Kept {
                messages: Oid::from(rows.get(i, 0)?.value() as u32),
                text: rows.text(i, 1)?,
                what: rows.string(i, 2)?,
                checks: Checks {
                    count: rows.get(i, 3)?.value() as i32,
                    last: rows.get(i, 4).map(|d| d.value() as i64),
                },
            })
        };
        Ok((0..rows.len()).filter_map(row).collect())
    })
}

/// Has what was kept folded before this transaction, of a subscription's worker, commits.
pub fn resume() -> Result<()> {
    let mut checked: BTreeMap<u32, Vec<(Key, Checks)>> = BTreeMap::new();
    for kept in take(None)? {
        // A table that is not tracked any more has no need of it.
        let Some(pair) = cache::still(kept.messages)? else { continue };
        commit::look_at(&pair, named(&kept.what)?, &kept.text)?;
        if kept.checks.count > 0 && pair.mapping.p.keeps_checks() {
            let key = key_from_text(&pair, &kept.text)?;
            checked.entry(kept.messages.to_u32()).or_default().push((key, kept.checks));
        }
    }
    for (messages, checked) in checked {
        let Some(pair) = cache::still(Oid::from(messages))? else { continue };
        let taken = apply::taken(&pair, checked.iter().map(|(key, _)| key.clone()).collect())?;
        let (left, counted): (Vec<_>, Vec<_>) = checked.into_iter().partition(|(key, _)| taken.contains(key));
        apply::count_checks(&pair, counted)?;
        left.iter().try_for_each(|(key, checks)| leave(&pair, key, *checks))?;
    }
    Ok(())
}

/// Folds what was kept about one messages table, for `settle`. Gives how many messages were written.
pub fn settle(pair: &Rc<Pair>) -> Result<u64> {
    let (mut keys, mut sids, mut checked) = (Vec::new(), Vec::new(), Vec::new());
    for kept in take(Some(pair.messages.oid))? {
        match named(&kept.what)? {
            What::WaitingCallback | What::MessageBySid => sids.push(crate::encoding::from_server(&kept.text)),
            What::Callback | What::Message => {
                let key = key_from_text(pair, &kept.text)?;
                if kept.checks.count > 0 && pair.mapping.p.keeps_checks() {
                    checked.push((key.clone(), kept.checks));
                }
                keys.push(key);
            }
        }
    }
    if keys.is_empty() && sids.is_empty() {
        return Ok(0);
    }
    let outcome = apply::refold(pair, &mut keys, Whose::Anybodys)?;
    commit::callbacks_wait(pair, outcome.unmatched);
    if !checked.is_empty() {
        apply::count_checks(pair, checked)?;
    }
    waiting::place(pair, &sids, Held::Left)?;
    Ok(outcome.written)
}

const NAMES: [(What, &str); 4] = [
    (What::Callback, "callback"),
    (What::WaitingCallback, "waiting callback"),
    (What::Message, "message"),
    (What::MessageBySid, "message by SID"),
];

fn name(what: What) -> &'static str {
    NAMES.iter().find(|(w, _)| *w == what).map_or("", |(_, name)| name)
}

fn named(name: &str) -> Result<What> {
    let found = NAMES.iter().find(|(_, n)| *n == name);
    found.map(|(what, _)| *what).ok_or_else(|| Fault::internal(format!("prepared_key has \"{name}\"")))
}
