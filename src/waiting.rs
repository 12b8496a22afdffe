//! Callbacks that came before their message, where the log goes by another key than the provider's SID.
//!
//! Such a log has no key for them yet. They wait in `msgstatus.waiting_callback`, and go into the log when a message has
//! their SID: when one is inserted, or gets it. [`crate::commit`] sees to it that neither misses the other.

use crate::boundary::Failed;
use crate::commit;
use crate::datum::text_datum;
use crate::edge::event::Event;
use crate::encoding::to_server;
use crate::errors::{Fault, Result};
use crate::fold::Time;
use crate::log_write::{self, LogRow};
use crate::pair::Pair;
use crate::poll::claim::text_array;
use crate::session::{Rights, as_extension};
use crate::spi::Spi;
use crate::subtransaction::apart;
use pgrx::pg_sys::{self, Datum};
use std::collections::BTreeMap;
use std::rc::Rc;

/// SIDs that are looked at together.
const CHUNK: usize = 4096;

/// What the log gets as the source of a callback that waited.
pub const SOURCE: &str = "callback";

/// The keys of the messages with these SIDs, where a SID is not the key.
pub fn keys(pair: &Pair, sids: &[String]) -> Result<BTreeMap<String, Vec<String>>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let Some(statement) = &pair.plans.select_keys_by_sid else { return Ok(keys) };
    let _owner = Rights::Owner.on(&pair.messages);
    let spi = Spi::connect()?;
    let rows = spi.run(statement.plan()?, &[Some(text_array(sids.iter().map(String::as_str)))])?;
    for i in 0..rows.len() {
        if let (Some(sid), Some(key)) = (rows.string(i, 0), rows.string(i, 1)) {
            keys.entry(sid).or_default().push(key);
        }
    }
    Ok(keys)
}

/// Which of these SIDs some message has.
pub fn matched(pair: &Pair, sids: &[String]) -> Result<Vec<String>> {
    Ok(keys(pair, sids)?.into_keys().collect())
}

/// Keeps callbacks for which there is no message (yet).
pub fn keep(pair: &Rc<Pair>, provider: &str, events: &[&Event]) -> Result<()> {
    let text = |t: &str| Some(text_datum(&to_server(t)));
    as_extension(|spi| {
        for event in events {
            spi.once(
                "INSERT INTO msgstatus.waiting_callback
                     (messages, sid, provider, status, error_code, error_message, event_at, payload)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8::pg_catalog.jsonb)",
                &[
                    pg_sys::OIDOID,
                    pg_sys::TEXTOID,
                    pg_sys::TEXTOID,
                    pg_sys::TEXTOID,
                    pg_sys::TEXTOID,
                    pg_sys::TEXTOID,
                    pg_sys::TIMESTAMPTZOID,
                    pg_sys::TEXTOID,
                ],
                &[
                    Some(Datum::from(pair.messages.oid)),
                    text(&event.sid),
                    text(provider),
                    text(&event.status),
                    event.error_code.as_deref().and_then(text),
                    event.error_message.as_deref().and_then(text),
                    event.at.map(Datum::from),
                    text(&event.payload.to_string()),
                ],
            )?;
        }
        Ok(())
    })?;
    commit::sids_wait(pair, events.iter().map(|event| event.sid.clone()));
    Ok(())
}

/// Calls `row` for each callback that waits, in order of arrival, with the columns of `unmatched`: the SID stands for the key.
pub fn each(pair: &Pair, mut row: impl FnMut(&[Option<Datum>]) -> Result<()>) -> Result<()> {
    as_extension(|spi| {
        let rows = spi.once(
            "SELECT NULL::bigint, w.received_at, w.sid, w.provider, w.status, w.event_at, w.error_code, w.error_message,
                    $2::pg_catalog.text
               FROM msgstatus.waiting_callback w WHERE w.messages OPERATOR(pg_catalog.=) $1 ORDER BY w.id",
            &[pg_sys::OIDOID, pg_sys::TEXTOID],
            &[Some(Datum::from(pair.messages.oid)), Some(text_datum(SOURCE.as_bytes()))],
        )?;
        (0..rows.len()).try_for_each(|i| row(&rows.row::<9>(i)?))
    })
}

/// A callback that has waited.
struct Waiting {
    id: i64,
    provider: String,
    status: String,
    error_code: Option<String>,
    error_message: Option<String>,
    event_at: Option<Time>,
    payload: Option<String>,
    received_at: Option<Time>,
}

/// Puts what waits for these SIDs into the log, as far as there are messages with them. Gives how many messages there were.
///
/// What the log refuses goes on waiting: whoever inserts a message must not fail for what a provider said about it.
pub fn place(pair: &Pair, sids: &[String]) -> Result<u64> {
    let mut placed = 0;
    for part in sids.chunks(CHUNK) {
        let waited_for = waited_for(pair, part)?;
        let keys = if waited_for.is_empty() { BTreeMap::new() } else { keys(pair, &waited_for)? };
        for (sid, keys) in keys {
            match apart(|| place_one(pair, &sid, &keys)) {
                Ok(true) => placed += 1,
                Ok(false) => {}
                Err(why) => refused(pair, &sid, why)?,
            }
        }
    }
    Ok(placed)
}

fn refused(pair: &Pair, sid: &str, why: Failed) -> Result<()> {
    if why.is_passing() {
        return Err(why.fault());
    }
    pgrx::warning!("callbacks about {sid} wait: {} does not take them: {}", pair.mapping.log, why.message);
    Ok(())
}

/// Of these SIDs, those that callbacks wait for.
fn waited_for(pair: &Pair, sids: &[String]) -> Result<Vec<String>> {
    as_extension(|spi| {
        let sids = text_array(sids.iter().map(String::as_str));
        let rows = spi.run(pair.plans.select_waiting.plan()?, &[Some(Datum::from(pair.messages.oid)), Some(sids)])?;
        Ok((0..rows.len()).filter_map(|i| rows.string(i, 0)).collect())
    })
}

fn place_one(pair: &Pair, sid: &str, keys: &[String]) -> Result<bool> {
    let mut all: Vec<Waiting> = as_extension(|spi| {
        let rows = spi.once(
            "DELETE FROM msgstatus.waiting_callback w
              WHERE w.messages OPERATOR(pg_catalog.=) $1 AND w.sid OPERATOR(pg_catalog.=) $2
             RETURNING w.id, w.provider, w.status, w.error_code, w.error_message, w.event_at,
                       w.payload::pg_catalog.text, w.received_at",
            &[pg_sys::OIDOID, pg_sys::TEXTOID],
            &[Some(Datum::from(pair.messages.oid)), Some(text_datum(&to_server(sid)))],
        )?;
        let time = |i, column| rows.get(i, column).map(|d| d.value() as Time);
        (0..rows.len())
            .map(|i| {
                let needed =
                    |column| rows.string(i, column).ok_or_else(|| Fault::internal("a waiting callback of NULLs"));
                Ok(Waiting {
                    id: rows.get(i, 0).map_or(0, |d| d.value() as i64),
                    provider: needed(1)?,
                    status: needed(2)?,
                    error_code: rows.string(i, 3),
                    error_message: rows.string(i, 4),
                    event_at: time(i, 5),
                    payload: rows.string(i, 6),
                    received_at: time(i, 7),
                })
            })
            .collect()
    })?;
    all.sort_unstable_by_key(|w| w.id);
    let rows: Vec<LogRow> = all.iter().flat_map(|w| keys.iter().map(move |key| log_row(w, key))).collect();
    log_write::write(pair, &rows)?;
    Ok(!rows.is_empty())
}

fn log_row<'a>(waiting: &'a Waiting, key: &'a str) -> LogRow<'a> {
    LogRow {
        key,
        status: &waiting.status,
        event_at: waiting.event_at,
        error_code: waiting.error_code.as_deref(),
        error_message: waiting.error_message.as_deref(),
        payload: waiting.payload.as_deref(),
        provider: &waiting.provider,
        source: SOURCE,
        created_at: waiting.received_at,
    }
}

/// Places whatever waits (and came since then) for messages that are there, as after a time with triggers disabled. Gives
/// how many messages.
pub fn settle(pair: &Pair, since: Option<Time>) -> Result<u64> {
    if pair.plans.select_keys_by_sid.is_none() {
        return Ok(0);
    }
    let sids: Vec<String> = as_extension(|spi| {
        let rows = spi.once(
            "SELECT DISTINCT w.sid FROM msgstatus.waiting_callback w WHERE w.messages OPERATOR(pg_catalog.=) $1
                AND ($2 IS NULL OR w.received_at OPERATOR(pg_catalog.>=) $2)",
            &[pg_sys::OIDOID, pg_sys::TIMESTAMPTZOID],
            &[Some(Datum::from(pair.messages.oid)), since.map(Datum::from)],
        )?;
        Ok((0..rows.len()).filter_map(|i| rows.string(i, 0)).collect())
    })?;
    place(pair, &sids)
}
