//! Which messages a round asks about.

use super::round::Pairs;
use super::schedule::Schedule;
use crate::datum::{Columns, Layout, interval_datum, text_datum};
use crate::encoding::{to_server, warn};
use crate::errors::Result;
use crate::gucs;
use crate::pair::{cache, resolve, sql};
use crate::session::Rights;
use crate::spi::{Rows, Spi};
use crate::status::Status;
use crate::status::oids::StatusOids;
use crate::subtransaction::apart;
use crate::twilio::account::Accounts;
use crate::twilio::{Time, now};
use pgrx::pg_sys::{self, Datum, Oid};
use std::collections::HashSet;

/// A message to ask about.
#[derive(Clone, Debug)]
pub struct Due {
    pub messages: Oid,
    /// Its key, as text.
    pub key: String,
    pub sid: String,
    pub status: Option<Status>,
    pub account: String,
    /// From when until when it was sent.
    pub sent: Option<(Time, Time)>,
    /// Somebody asked for it by hand.
    pub wanted: bool,
    /// Its turn among the messages of its table and account.
    turn: i64,
    /// When it was last asked about.
    checked: Option<Time>,
}

/// What a round may take.
pub struct Terms<'a> {
    pub most: i32,
    pub accounts: &'a Accounts,
    /// Accounts that are left alone for now.
    pub resting: &'a [String],
    /// Only what was asked for by hand.
    pub wanted: bool,
}

/// Tables that can't be asked about, and why: they keep no other from it.
#[derive(Debug, Default)]
pub struct Troubles(pub Vec<String>);

impl Troubles {
    /// Does some work for one table; it is undone if it fails.
    pub fn apart<T>(&mut self, messages: Oid, work: impl FnOnce() -> Result<T>) -> Option<T> {
        match apart(work) {
            Ok(value) => Some(value),
            Err(failed) => {
                let name = resolve::relation_name(messages);
                self.0.push(format!("table {name} is left out: {}", failed.message));
                None
            }
        }
    }

    /// Tells whoever asks by hand.
    pub fn warn(&self) {
        for text in &self.0 {
            warn(text);
        }
    }
}

/// The tables that have a schedule, and which.
pub fn scheduled(messages: Option<Oid>, troubles: &mut Troubles) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    for (oid, schedule) in cache::scheduled()? {
        if messages.is_some_and(|m| m != oid) {
            continue;
        }
        let pair = troubles.apart(oid, || {
            let Some(pair) = cache::still(oid)? else { return Ok(None) };
            resolve::due_columns(&pair.mapping, &pair.messages)?;
            Ok(Some((pair, Schedule::read(&schedule)?)))
        });
        pairs.extend(pair.flatten());
    }
    Ok(pairs)
}

/// What is due. The tables share a round evenly.
pub fn due(pairs: &Pairs, terms: &Terms, troubles: &mut Troubles) -> Vec<Due> {
    let only = terms.accounts.only();
    // One account speaks for every other, so none is left out.
    let known: Option<Vec<&str>> = only.is_none().then(|| terms.accounts.names().collect());
    let mut all = Vec::new();
    for (pair, schedule) in pairs {
        let taken = troubles.apart(pair.messages.oid, || {
            let _owner = Rights::Owner.on(&pair.messages);
            let spi = Spi::connect()?;
            let text = sql::take_due(sql::select_due(&pair.mapping, &pair.plans.shape, schedule));
            let rows = spi.once(
                &text,
                &[
                    pg_sys::INT4OID,
                    pg_sys::INT4OID,
                    pg_sys::INTERVALOID,
                    pg_sys::TEXTOID,
                    pg_sys::TEXTARRAYOID,
                    pg_sys::TEXTARRAYOID,
                    pg_sys::BOOLOID,
                ],
                &[
                    Some(Datum::from(gucs::max_checks())),
                    Some(Datum::from(terms.most)),
                    Some(interval_datum(gucs::give_up_after())),
                    only.map(|sid| text_datum(&to_server(sid))),
                    known.as_ref().map(|names| text_array(names.iter().copied())),
                    Some(text_array(terms.resting.iter().map(String::as_str))),
                    Some(Datum::from(terms.wanted)),
                ],
            )?;
            read(&rows)
        });
        all.extend(taken.into_iter().flatten());
    }
    in_turn(all, terms.most)
}

/// The first of them, as `due()` has them: by turn, then the most urgent.
fn in_turn(mut all: Vec<Due>, most: i32) -> Vec<Due> {
    fn order(d: &Due) -> impl Ord {
        (d.turn, urgency(d.wanted, d.checked, d.sent.map(|s| s.0), &d.key))
    }
    all.sort_by(|a, b| order(a).cmp(&order(b)));
    all.truncate(most.unsigned_abs() as usize);
    all
}

/// What orders messages of several tables as the SQL does those of one, by its `URGENCY`: whether somebody asked for it by
/// hand, when it was last asked about, from when it was sent, and its key.
pub fn urgency(wanted: bool, checked: Option<Time>, began: Option<Time>, key: &str) -> impl Ord {
    (!wanted, checked, began, key)
}

/// Reads the columns of `take_due`.
pub fn read(rows: &Rows) -> Result<Vec<Due>> {
    let oids = StatusOids::get()?;
    let time = |row, col| rows.get(row, col).map(|d| d.value() as i64).filter(|&t| t != Time::MIN && t != Time::MAX);
    let mut all = Vec::with_capacity(rows.len());
    for i in 0..rows.len() {
        let (Some(oid), Some(key), Some(sid)) = (rows.get(i, 0), rows.string(i, 1), rows.string(i, 2)) else {
            continue;
        };
        all.push(Due {
            messages: Oid::from(oid.value() as u32),
            key,
            sid,
            status: rows.get(i, 3).and_then(|d| oids.status(d)),
            account: rows.string(i, 4).unwrap_or_default(),
            // The clocks of the application and of Twilio are not quite the same.
            sent: time(i, 5).zip(time(i, 6)).map(|(from, to)| (from - CLOCKS_DIFFER, to.max(from) + CLOCKS_DIFFER)),
            turn: rows.get(i, 7).map_or(0, |d| d.value() as i64),
            wanted: rows.get(i, 8).is_some_and(|d| d.value() != 0),
            checked: rows.get(i, 9).map(|d| d.value() as i64),
        });
    }
    Ok(all)
}

/// By how much a message may have been sent before its row was written, in microseconds.
const CLOCKS_DIFFER: Time = 5_000_000;

/// A message that somebody asked for by hand is taken for so much longer than others, in microseconds, by which it is told
/// from them. In whole seconds, which every column can hold.
pub const WISH: Time = 1_000_000;

/// Until when a round takes its messages that has them for so long: an even second, so that a wish's is another round's
/// never.
pub fn taken_until(time: Time) -> Time {
    (now() + time) / (2 * WISH) * (2 * WISH)
}

/// Takes them until a time, so that no other round does; gives those that could be had. A table that has no
/// `next_check_at` has nowhere to say so.
pub fn lease(pairs: &Pairs, due: &[Due], until: Time, troubles: &mut Troubles) -> Vec<Due> {
    let mut had: HashSet<(Oid, String)> = HashSet::with_capacity(due.len());
    for (pair, _) in pairs {
        let table = pair.messages.oid;
        let mine: Vec<&str> = due.iter().filter(|d| d.messages == table).map(|d| d.key.as_str()).collect();
        if mine.is_empty() {
            continue;
        }
        let Some(text) = sql::lease(&pair.mapping, &pair.plans.shape) else {
            had.extend(mine.into_iter().map(|key| (table, key.to_owned())));
            continue;
        };
        let keys = troubles.apart(table, || {
            let _owner = Rights::Owner.on(&pair.messages);
            let spi = Spi::connect()?;
            let rows = spi.by_index(
                &text,
                &[pg_sys::TEXTARRAYOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID],
                &[Some(text_array(mine.into_iter())), Some(Datum::from(until)), Some(Datum::from(until + WISH))],
            )?;
            Ok((0..rows.len()).filter_map(|i| Some((table, rows.string(i, 0)?))).collect::<Vec<_>>())
        });
        had.extend(keys.into_iter().flatten());
    }
    due.iter().filter(|d| had.contains(&(d.messages, d.key.clone()))).cloned().collect()
}

/// Gives back what rounds had taken until one of these times.
pub fn end_leases(pairs: &Pairs, until: &[Time], troubles: &mut Troubles) {
    for (pair, _) in pairs {
        if let Some(text) = sql::end_leases(&pair.mapping, &pair.plans.shape) {
            troubles.apart(pair.messages.oid, || {
                let _owner = Rights::Owner.on(&pair.messages);
                let mut times = Columns::new([pg_sys::TIMESTAMPTZOID; 2]);
                for &t in until {
                    times.push([Some(Datum::from(t)), Some(Datum::from(t + WISH))]);
                }
                Spi::connect()?.once(&text, &times.types(), &times.arrays()).map(drop)
            });
        }
    }
}

/// A text[] value.
pub fn text_array<'a>(texts: impl Iterator<Item = &'a str>) -> Datum {
    let texts: Vec<_> = texts.map(|t| Some(text_datum(&to_server(t)))).collect();
    Layout::of(pg_sys::TEXTOID).array(&texts)
}
