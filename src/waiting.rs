//! Callbacks that the log can't take (yet), and where they wait: `msgstatus.waiting_callback`.
//!
//! Mostly they came before their message. Where the log goes by another key than the provider's SID, it has no key for them;
//! and it takes none without its message where a column is copied from there, or the key is a foreign key. They go into the
//! log when a message has their SID: when one is inserted, or gets it. [`crate::commit`] sees to it that neither misses the
//! other. What the log refuses waits too, and words that it has no place for: until [`settle`] finds it willing.

use crate::datum::{Columns, Layout, array_of, text_datum};
use crate::edge::event::Event;
use crate::encoding::{is_in_encoding, to_server_lossy, warn};
use crate::errors::{Fault, Result};
use crate::fold::Time;
use crate::log_write::{self, LogRow};
use crate::pair::sql::Repeated;
use crate::pair::{Pair, resolve, sql};
use crate::poll::claim::text_array;
use crate::session::{Rights, as_extension};
use crate::spi::Spi;
use crate::subtransaction::together_or_alone;
use pgrx::pg_sys::{self, Datum};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// SIDs that are looked at together.
const CHUNK: usize = 4096;

/// What becomes of callbacks for messages that somebody else holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// They are waited for.
    Awaited,
    /// They go on waiting beside the log: whoever holds messages already must not wait for others out of turn.
    Left,
}

/// What the log gets as the source of a callback that waited.
pub const SOURCE: &str = "callback";

/// The keys of the messages with these SIDs, by SID. A SID that is the key itself is one, whether there is a message or not.
pub fn keys(pair: &Pair, sids: &[String]) -> Result<BTreeMap<String, Vec<String>>> {
    let Some(statement) = &pair.plans.select_keys_by_sid else {
        return Ok(sids.iter().filter(|_| is_by_sid(pair)).map(|sid| (sid.clone(), vec![sid.clone()])).collect());
    };
    if let Some(sid) = &pair.mapping.p.sid {
        resolve::required(&pair.messages, "sid", sid)?;
    }
    // What the database's encoding does not have, no message has.
    let asked: BTreeSet<&str> = sids.iter().map(String::as_str).filter(|sid| is_in_encoding(sid)).collect();
    let _owner = Rights::Owner.on(&pair.messages);
    let spi = Spi::connect()?;
    let rows = spi.run(statement.plan()?, &[Some(text_array(asked.iter().copied()))])?;
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for i in 0..rows.len() {
        let (Some(sid), Some(key)) = (rows.string(i, 0), rows.string(i, 1)) else { continue };
        // A collation may find another spelling equal. To the provider it is another message.
        if asked.contains(sid.as_str()) {
            keys.entry(sid).or_default().push(key);
        }
    }
    Ok(keys)
}

/// Does the log go by the provider's id?
pub fn is_by_sid(pair: &Pair) -> bool {
    pair.mapping.p.sid.is_none() && pair.key.is_text()
}

/// Which of these SIDs some message has.
pub fn matched(pair: &Pair, sids: &[String]) -> Result<Vec<String>> {
    Ok(keys(pair, sids)?.into_keys().collect())
}

/// Keeps callbacks that the log can't take, or not yet.
pub fn keep(pair: &Rc<Pair>, provider: &str, events: &[&Event]) -> Result<()> {
    let text = |t: &str| Some(text_datum(&to_server_lossy(t)));
    let (texts, times) = (pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID);
    let mut rows = Columns::new([texts, texts, texts, texts, times, texts]);
    for event in events {
        rows.push([
            text(&event.sid),
            text(&event.status),
            event.error_code.as_deref().and_then(text),
            event.error_message.as_deref().and_then(text),
            event.at.map(Datum::from),
            text(&event.payload.to_string()),
        ]);
    }
    let (mut types, mut values) = (rows.types().to_vec(), rows.arrays().to_vec());
    types.extend([pg_sys::OIDOID, texts]);
    values.extend([Some(Datum::from(pair.messages.oid)), text(provider)]);
    as_extension(|spi| {
        let sql = "INSERT INTO msgstatus.waiting_callback
                       (messages, provider, sid, status, error_code, error_message, event_at, payload)
                   SELECT $7, $8, k.sid, k.status, k.error_code, k.error_message, k.event_at, k.payload::pg_catalog.jsonb
                     FROM unnest($1, $2, $3, $4, $5, $6)
                       AS k(sid, status, error_code, error_message, event_at, payload)";
        spi.once(sql, &types, &values).map(drop)
    })?;
    Ok(())
}

/// Calls `row` for each callback whose word is known, in order of arrival, with the columns of `unmatched`: the SID stands for
/// the key.
pub fn each(pair: &Pair, mut row: impl FnMut(&[Option<Datum>]) -> Result<()>) -> Result<()> {
    as_extension(|spi| {
        let rows = spi.once(
            "SELECT NULL::bigint, w.received_at, w.sid, w.provider, w.status, w.event_at, w.error_code, w.error_message,
                    $2::pg_catalog.text
               FROM msgstatus.waiting_callback w
              WHERE w.messages OPERATOR(pg_catalog.=) $1 AND msgstatus.parse_status(w.status, w.provider) IS NOT NULL
              ORDER BY w.id",
            &[pg_sys::OIDOID, pg_sys::TEXTOID],
            &[Some(Datum::from(pair.messages.oid)), Some(text_datum(SOURCE.as_bytes()))],
        )?;
        (0..rows.len()).try_for_each(|i| row(&rows.row::<9>(i)?))
    })
}

/// A word that means nothing, whose it is, how often it came, first and last.
pub type Word = (String, String, i64, Option<Time>, Option<Time>);

/// The words that mean nothing among what waits, counted.
pub fn unrecognized(pair: &Pair) -> Result<Vec<Word>> {
    as_extension(|spi| {
        let rows = spi.once(
            "SELECT w.provider, w.status, pg_catalog.count(*), pg_catalog.min(w.received_at), pg_catalog.max(w.received_at)
               FROM msgstatus.waiting_callback w
              WHERE w.messages OPERATOR(pg_catalog.=) $1 AND msgstatus.parse_status(w.status, w.provider) IS NULL
              GROUP BY 1, 2",
            &[pg_sys::OIDOID],
            &[Some(Datum::from(pair.messages.oid))],
        )?;
        let number = |i, column| rows.get(i, column).map(|d| d.value() as i64);
        let word = |i| Some((rows.string(i, 0)?, rows.string(i, 1)?, number(i, 2)?, number(i, 3), number(i, 4)));
        Ok((0..rows.len()).filter_map(word).collect())
    })
}

/// Puts what waits for these SIDs into the log, as far as there are messages with them: one INSERT, so that the messages are
/// locked in one order. Gives how many SIDs there were. `Held::Left` leaves what is for messages that somebody holds.
///
/// What the log refuses goes on waiting: whoever inserts a message must not fail for what a provider said about it.
pub fn place(pair: &Pair, sids: &[String], held: Held) -> Result<u64> {
    let mut placed = 0;
    for part in sids.chunks(CHUNK) {
        let waiting = waiting_for(pair, part)?;
        if waiting.is_empty() {
            continue;
        }
        let waited_for: BTreeSet<&str> = waiting.iter().map(|(_, sid)| sid.as_str()).collect();
        let mut keys = keys(pair, &waited_for.into_iter().map(str::to_owned).collect::<Vec<_>>())?;
        if held == Held::Left {
            let free = log_write::lock_free(pair, keys.values().flatten().map(String::as_str))?;
            keys.retain(|_, keys| keys.iter().all(|key| free.contains(key)));
        }
        let found: Vec<&(i64, String)> = waiting.iter().filter(|(_, sid)| keys.contains_key(sid)).collect();
        if found.is_empty() {
            continue;
        }
        let mut sids: BTreeSet<&str> = BTreeSet::new();
        together_or_alone(
            &found,
            &mut |found| {
                move_into_log(pair, found.iter().map(|(id, _)| *id), &keys)?;
                sids.extend(found.iter().map(|(_, sid)| sid.as_str()));
                Ok(())
            },
            &mut |(id, _), why| {
                warn(&format!(
                    "callback {id} of msgstatus.waiting_callback waits: {} does not take it: {}",
                    pair.mapping.log, why.message
                ));
            },
        )?;
        placed += sids.len() as u64;
    }
    Ok(placed)
}

/// What waits for these SIDs: its numbers, and the SIDs.
fn waiting_for(pair: &Pair, sids: &[String]) -> Result<Vec<(i64, String)>> {
    as_extension(|spi| {
        let sids = text_array(sids.iter().map(String::as_str));
        let rows = spi.run(pair.plans.select_waiting.plan()?, &[Some(Datum::from(pair.messages.oid)), Some(sids)])?;
        Ok((0..rows.len()).filter_map(|i| Some((rows.get(i, 0)?.value() as i64, rows.string(i, 1)?))).collect())
    })
}

/// A callback that has waited.
struct Waiting {
    id: i64,
    sid: String,
    provider: String,
    status: String,
    error_code: Option<String>,
    error_message: Option<String>,
    event_at: Option<Time>,
    payload: Option<String>,
    received_at: Option<Time>,
}

/// Moves these callbacks into the log, as far as nobody else did so meanwhile.
fn move_into_log(pair: &Pair, ids: impl Iterator<Item = i64>, keys: &BTreeMap<String, Vec<String>>) -> Result<()> {
    let mut all: Vec<Waiting> = as_extension(|spi| {
        let ids: Vec<_> = ids.map(|id| Some(Datum::from(id))).collect();
        let rows = spi.by_index(
            "DELETE FROM msgstatus.waiting_callback w WHERE w.id OPERATOR(pg_catalog.=) ANY ($1)
             RETURNING w.id, w.sid, w.provider, w.status, w.error_code, w.error_message, w.event_at,
                       w.payload::pg_catalog.text, w.received_at",
            &[array_of(pg_sys::INT8OID)],
            &[Some(Layout::of(pg_sys::INT8OID).array(&ids))],
        )?;
        let time = |i, column| rows.get(i, column).map(|d| d.value() as Time);
        (0..rows.len())
            .map(|i| {
                let needed =
                    |column| rows.string(i, column).ok_or_else(|| Fault::internal("a waiting callback of NULLs"));
                Ok(Waiting {
                    id: rows.get(i, 0).map_or(0, |d| d.value() as i64),
                    sid: needed(1)?,
                    provider: needed(2)?,
                    status: needed(3)?,
                    error_code: rows.string(i, 4),
                    error_message: rows.string(i, 5),
                    event_at: time(i, 6),
                    payload: rows.string(i, 7),
                    received_at: time(i, 8),
                })
            })
            .collect()
    })?;
    all.sort_unstable_by_key(|w| w.id);
    let of_sid = |w: &Waiting| keys.get(&w.sid).map_or(&[][..], Vec::as_slice);
    let rows: Vec<LogRow> = all.iter().flat_map(|w| of_sid(w).iter().map(move |key| log_row(w, key))).collect();
    log_write::write(pair, &rows, Repeated::LeftOut).map(drop)
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

/// Places what came since then, or ever, and waits for messages that are there: as after a time with triggers disabled, or
/// detached. Gives how many SIDs there were.
pub fn settle(pair: &Pair, since: Option<Time>, held: Held) -> Result<u64> {
    if pair.plans.select_keys_by_sid.is_none() && !is_by_sid(pair) {
        return Ok(0);
    }
    let sids: Vec<String> = as_extension(|spi| {
        let rows = spi.once(
            &sql::select_waiting_sids(&pair.plans.shape),
            &[pg_sys::OIDOID, pg_sys::TIMESTAMPTZOID],
            &[Some(Datum::from(pair.messages.oid)), Some(Datum::from(since.unwrap_or(Time::MIN)))],
        )?;
        Ok((0..rows.len()).filter_map(|i| rows.string(i, 0)).collect())
    })?;
    place(pair, &sids, held)
}
