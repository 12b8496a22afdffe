//! Transactions that a subscription prepares (`two_phase`), and what is to be folded when they are committed.
//!
//! A transaction of a user's folds what it wrote before it is prepared, and keeps its messages and the lock of
//! [`crate::commit`] until COMMIT PREPARED: others wait. A subscription must not do so: what would end the wait may come
//! behind in the very stream that waits. So it prepares nothing but its rows and, in `msgstatus.prepared_key`, what they are
//! about. COMMIT PREPARED makes both visible at once, and the transaction around it, which has written nothing, folds them
//! before it ends; or `settle` does.

use crate::commit::{self, What};
use crate::datum::{Columns, text_datum};
use crate::errors::{Fault, Result};
use crate::gather;
use crate::pair::cache;
use crate::session::as_extension;
use pgrx::pg_sys::{self, Datum, Oid};

/// Keeps what the transaction that is being prepared wrote about.
pub fn prepare() -> Result<()> {
    let mut rows = Columns::new([pg_sys::OIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID]);
    let gathered = gather::take_keys().into_iter().flat_map(|(pair, keys)| {
        let text = |key: &_| pair.key.text(key);
        keys.iter().map(|key| (std::rc::Rc::clone(&pair), What::Callback, text(key))).collect::<Vec<_>>()
    });
    for (pair, what, text) in gathered.chain(commit::take_all()) {
        let values = [Datum::from(pair.messages.oid), text_datum(&text), text_datum(name(what).as_bytes())];
        rows.push(values.map(Some));
    }
    as_extension(|spi| {
        let sql = "INSERT INTO msgstatus.prepared_key (messages, key, what) SELECT * FROM unnest($1, $2, $3)";
        spi.once(sql, &rows.types(), &rows.arrays()).map(drop)
    })
}

/// Takes what prepared transactions wrote about that are committed by now, and has it folded before this one commits.
pub fn resume() -> Result<()> {
    if cache::policy_table() == pg_sys::InvalidOid {
        // A database without the extension.
        return Ok(());
    }
    let kept: Vec<(Oid, Vec<u8>, String)> = as_extension(|spi| {
        let some = spi.once("SELECT FROM msgstatus.prepared_key LIMIT 1", &[], &[])?;
        if some.is_empty() {
            return Ok(Vec::new());
        }
        let rows = spi.once("DELETE FROM msgstatus.prepared_key RETURNING messages, key, what", &[], &[])?;
        let row = |i| Some((Oid::from(rows.get(i, 0)?.value() as u32), rows.text(i, 1)?, rows.string(i, 2)?));
        Ok((0..rows.len()).filter_map(row).collect())
    })?;
    for (messages, text, what) in kept {
        // A table that is not tracked any more has no need of it.
        if let Some(pair) = cache::still(messages)? {
            commit::look_at(&pair, named(&what)?, &text)?;
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
