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
use crate::encoding::warn;
use crate::errors::{Fault, Result};
use crate::fold::Checks;
use crate::gather;
use crate::inspect::key_from_text;
use crate::key::Key;
use crate::pair::{Pair, cache};
use crate::session::as_extension;
use crate::subtransaction::apart;
use pgrx::pg_sys::{self, Datum, Oid};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Keeps what the transaction that is being prepared wrote about.
pub fn prepare() -> Result<()> {
    let mut kept = Vec::new();
    for (pair, events) in gather::take()? {
        kept.extend(events.iter().map(|(key, checks)| (pair.messages.oid, of_callback(&pair, key, *checks))));
    }
    for (pair, what, text) in commit::take_all() {
        kept.push((pair.messages.oid, Kept { text, what: name(what).to_owned(), checks: Checks::default() }));
    }
    keep(&kept)
}

/// Leaves a callback to a later transaction, whose message somebody goes on holding.
pub fn leave(pair: &Pair, key: &Key, checks: Checks) -> Result<()> {
    keep(&[(pair.messages.oid, of_callback(pair, key, checks))])
}

fn of_callback(pair: &Pair, key: &Key, checks: Checks) -> Kept {
    Kept { text: pair.key.text(key), what: name(What::Callback).to_owned(), checks }
}

/// Writes rows of `prepared_key`, each with its messages table.
fn keep(kept: &[(Oid, Kept)]) -> Result<()> {
    let (texts, times) = (pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID);
    let mut rows = Columns::new([pg_sys::OIDOID, texts, texts, pg_sys::INT4OID, times]);
    for (messages, Kept { text, what, checks }) in kept {
        rows.push([
            Some(Datum::from(*messages)),
            Some(text_datum(text)),
            Some(text_datum(what.as_bytes())),
            Some(Datum::from(checks.count)),
            checks.last.map(Datum::from),
        ]);
    }
    as_extension(|spi| {
        let sql = "INSERT INTO msgstatus.prepared_key (messages, key, what, checks, checked_at) \
                   SELECT * FROM unnest($1, $2, $3, $4, $5)";
        spi.once(sql, &rows.types(), &rows.arrays()).map(drop)
    })
}

/// A row of `prepared_key`, less its table.
struct Kept {
    text: Vec<u8>,
    what: String,
    checks: Checks,
}

/// Takes what was kept of a messages table and is committed by now, less what somebody else is taking.
fn take(messages: Oid) -> Result<Vec<Kept>> {
    as_extension(|spi| {
        let sql = "DELETE FROM msgstatus.prepared_key p WHERE p.id OPERATOR(pg_catalog.=) ANY (ARRAY(
                       SELECT k.id FROM msgstatus.prepared_key k WHERE k.messages OPERATOR(pg_catalog.=) $1
                          FOR UPDATE SKIP LOCKED))
                   RETURNING p.key, p.what, p.checks, p.checked_at";
        let rows = spi.once(sql, &[pg_sys::OIDOID], &[Some(Datum::from(messages))])?;
        let row = |i| {
            Some(Kept {
                text: rows.text(i, 0)?,
                what: rows.string(i, 1)?,
                checks: Checks {
                    count: rows.get(i, 2)?.value() as i32,
                    last: rows.get(i, 3).map(|d| d.value() as i64),
                },
            })
        };
        Ok((0..rows.len()).filter_map(row).collect())
    })
}

/// Folds what was kept, before this transaction of a subscription's worker commits. What it can't fold stays, with a warning: a
/// message that a constraint of somebody's refuses must not stop a subscription that has nothing to do with it.
pub fn resume() -> Result<()> {
    for messages in kept_about()? {
        // A table that is not tracked any more has no need of it.
        let Some(pair) = cache::still(messages)? else {
            take(messages)?;
            continue;
        };
        match apart(|| fold(&pair, Others::Left)) {
            Ok(folded) => folded.look_again(&pair)?,
            Err(why) => warn(&format!(
                "what msgstatus.prepared_key has of table {} cannot be folded: {}",
                pair.messages_name(),
                why.message
            )),
        }
    }
    Ok(())
}

/// Folds what was kept about one messages table, for `settle`. Gives how many messages were written.
pub fn settle(pair: &Rc<Pair>) -> Result<u64> {
    let folded = fold(pair, Others::Awaited)?;
    folded.look_again(pair)?;
    Ok(folded.written)
}

/// The messages tables about which something was kept.
fn kept_about() -> Result<Vec<Oid>> {
    if cache::policy_table() == pg_sys::InvalidOid {
        // A database without the extension.
        return Ok(Vec::new());
    }
    as_extension(|spi| {
        let rows = spi.once("SELECT DISTINCT p.messages FROM msgstatus.prepared_key p ORDER BY 1", &[], &[])?;
        Ok((0..rows.len()).filter_map(|i| rows.get(i, 0)).map(|d| Oid::from(d.value() as u32)).collect())
    })
}

/// What becomes of messages that somebody else holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    Awaited,
    /// They are left for later.
    Left,
}

/// What was folded, and what is to be looked at again before the commit: callbacks without a message, and messages.
struct Folded {
    written: u64,
    again: Vec<(What, Vec<u8>)>,
}

impl Folded {
    fn look_again(&self, pair: &Rc<Pair>) -> Result<()> {
        self.again.iter().try_for_each(|(what, text)| commit::look_at(pair, *what, text))
    }
}

fn fold(pair: &Rc<Pair>, others: Others) -> Result<Folded> {
    let mut folded = Folded { written: 0, again: Vec::new() };
    let mut by_key: BTreeMap<Key, Checks> = BTreeMap::new();
    for kept in take(pair.messages.oid)? {
        let what = named(&kept.what)?;
        match what {
            What::Callback | What::Message => {
                by_key.entry(key_from_text(pair, &kept.text)?).or_default().merge(kept.checks);
            }
            What::WaitingCallback | What::MessageBySid => {}
        }
        if what != What::Callback {
            folded.again.push((what, kept.text));
        }
    }
    if others == Others::Left {
        for key in apply::taken(pair, by_key.keys().cloned().collect())? {
            let checks = by_key.remove(&key).unwrap_or_default();
            leave(pair, &key, checks)?;
        }
    }
    let mut keys: Vec<Key> = by_key.keys().cloned().collect();
    let outcome = apply::refold(pair, &mut keys, Whose::Anybodys)?;
    folded.written = outcome.written;
    folded.again.extend(outcome.unmatched.iter().map(|key| (What::Callback, pair.key.text(key))));
    let checked: Vec<_> = by_key.into_iter().filter(|(_, checks)| checks.count > 0).collect();
    if !checked.is_empty() && pair.mapping.p.keeps_checks() {
        apply::count_checks(pair, checked)?;
    }
    Ok(folded)
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
