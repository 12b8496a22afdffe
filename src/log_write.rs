//! Writing events into a delivery log, with the rights of its owner: what providers answered and called back.

use crate::datum::{Columns, text_datum};
use crate::encoding::to_server_lossy;
use crate::errors::Result;
use crate::fold::Time;
use crate::pair::sql::{Insert, Repeated};
use crate::pair::{Pair, sql};
use crate::poll::claim::text_array;
use crate::session::{Rights, is_restricted_on};
use crate::spi::Spi;
use pgrx::pg_sys::{self, Datum};
use std::collections::HashSet;

/// A row of a delivery log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogRow<'a> {
    /// The message's key, as text.
    pub key: &'a str,
    pub status: &'a str,
    pub event_at: Option<Time>,
    pub error_code: Option<&'a str>,
    pub error_message: Option<&'a str>,
    /// JSON.
    pub payload: Option<&'a str>,
    pub provider: &'a str,
    pub source: &'a str,
    /// When it came, if that is not now.
    pub created_at: Option<Time>,
}

/// Writes rows, and gives how many there are now: a log that holds labels has no place for a word that is none.
///
/// It takes one INSERT, so that the messages are locked in one order. Columns that no row says anything of get their defaults.
pub fn write(pair: &Pair, rows: &[LogRow], repeated: Repeated) -> Result<usize> {
    let text = |t: &str| Some(text_datum(&to_server_lossy(t)));
    let (texts, times) = (pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID);
    let mut columns = Columns::new([texts, texts, times, texts, texts, texts, texts, texts, times]);
    // In the order of `insert_events`.
    let mut given = [false; 9];
    for row in rows {
        let values = [
            text(row.key),
            text(row.status),
            row.event_at.map(Datum::from),
            row.error_code.and_then(text),
            row.error_message.and_then(text),
            row.payload.and_then(text),
            text(row.provider),
            text(row.source),
            row.created_at.map(Datum::from),
        ];
        given = std::array::from_fn(|i| given[i] || values[i].is_some());
        columns.push(values);
    }
    if rows.is_empty() {
        return Ok(0);
    }
    // A single one is given as it is: that is the webhook of every day, and arrays take time.
    let single = columns.single();
    let (types, values) = single.unwrap_or_else(|| (columns.types(), columns.arrays()));
    let what = Insert { given, single: single.is_some(), repeated };
    let statement = pair.plans.insert_events(&pair.mapping, pair.log_rules()?, what, &types);
    at_once(pair, || {
        let _owner = Rights::Owner.on(&pair.log);
        let spi = Spi::connect()?;
        Ok(spi.run(statement.plan()?, &values)?.len())
    })
}

/// Has constraints of the log looked at with each statement of the work, where nothing that is deferred can be fired.
///
/// What the transaction did to the log before is looked at then, too.
fn at_once<T>(pair: &Pair, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let deferred = pair.log_rules()?.deferred.join(", ");
    if deferred.is_empty() || !is_restricted_on(&pair.log) {
        return work();
    }
    let set = |when: &str| Spi::connect()?.once(&format!("SET CONSTRAINTS {deferred} {when}"), &[], &[]).map(drop);
    set("IMMEDIATE")?;
    let done = work()?;
    set("DEFERRED")?;
    Ok(done)
}

/// Locks the messages with these keys that nobody else holds. Gives their keys.
pub fn lock_free<'a>(pair: &Pair, keys: impl Iterator<Item = &'a str>) -> Result<HashSet<String>> {
    let _owner = Rights::Owner.on(&pair.messages);
    let spi = Spi::connect()?;
    let rows = spi.by_index(
        &sql::lock_answered(&pair.mapping, &pair.plans.shape),
        &[pg_sys::TEXTARRAYOID],
        &[Some(text_array(keys))],
    )?;
    Ok((0..rows.len()).filter_map(|i| rows.string(i, 0)).collect())
}
