//! Transactions that a subscription prepares (`two_phase`), and what is to be folded when they are committed.
//!
//! A transaction of a user's folds what it wrote before it is prepared, and keeps its messages and the lock of
//! [`crate::commit`] until COMMIT PREPARED: others wait. A subscription must not do so: what would end the wait may come
//! behind in the very stream that waits. So it prepares nothing but its rows and, in `msgstatus.prepared_key`, what they are
//! about. COMMIT PREPARED makes both visible at once, and the transaction around it, which has written nothing, folds them
//! before it ends; or `settle` does.

use crate::apply;
use crate::commit::{self, What};
use crate::datum::{Columns, text_datum};
use crate::errors::{Fault, Result};
use crate::fold::Checks;
use crate::gather;
use crate::inspect::key_from_text;
use crate::key::Key;
use crate::pair::{Pair, cache};
use crate::session::as_extension;
use pgrx::pg_sys::{self, Datum, Oid};
use std::collections::BTreeMap;

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

/// A row of `prepared_key`.
struct Kept {
    messages: Oid,
    text: Vec<u8>,
    what: String,
    checks: Checks,
}

/// Takes what prepared transactions wrote about that are committed by now, and has it folded before this one commits.
pub fn resume() -> Result<()> {
    if cache::policy_table() == pg_sys::InvalidOid {
        // A database without the extension.
        return Ok(());
    }
    let all: Vec<Kept> = as_extension(|spi| {
        if spi.once("SELECT FROM msgstatus.prepared_key LIMIT 1", &[], &[])?.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "DELETE FROM msgstatus.prepared_key RETURNING messages, key, what, checks, checked_at";
        let rows = spi.once(sql, &[], &[])?;
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
    })?;
    let mut checked: BTreeMap<u32, Vec<(Key, Checks)>> = BTreeMap::new();
    for kept in &all {
        // A table that is not tracked any more has no need of it.
        let Some(pair) = cache::still(kept.messages)? else { continue };
        commit::look_at(&pair, named(&kept.what)?, &kept.text)?;
        if kept.checks.count > 0 && pair.mapping.p.keeps_checks() {
            let key = key_from_text(&pair, &kept.text)?;
            checked.entry(kept.messages.to_u32()).or_default().push((key, kept.checks));
        }
    }
    for (messages, checked) in checked {
        if let Some(pair) = cache::still(Oid::from(messages))? {
            apply::count_checks(&pair, checked)?;
        }
    }
    Ok(())
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
