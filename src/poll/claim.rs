//! Which messages a round asks about.

use super::schedule::Schedule;
use crate::datum::{Layout, interval_datum, text_datum};
use crate::encoding::to_server;
use crate::errors::Result;
use crate::gucs;
use crate::pair::{Pair, cache, resolve, sql};
use crate::session::Rights;
use crate::spi::{Rows, Spi};
use crate::status::Status;
use crate::status::oids::StatusOids;
use crate::twilio::Time;
use crate::twilio::account::Accounts;
use pgrx::pg_sys::{self, Datum, Oid};
use std::rc::Rc;

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

/// The tables that have a schedule, and which.
pub fn scheduled(messages: Option<Oid>) -> Result<Vec<(Rc<Pair>, Schedule)>> {
    let mut pairs = Vec::new();
    for (oid, schedule) in cache::scheduled()? {
        if messages.is_none_or(|m| m == oid)
            && let Some(pair) = cache::still(oid)?
        {
            resolve::due_columns(&pair.mapping, &pair.messages)?;
            pairs.push((pair, Schedule::read(&schedule)?));
        }
    }
    Ok(pairs)
}

/// What is due. The tables share a round evenly.
pub fn due(pairs: &[(Rc<Pair>, Schedule)], terms: &Terms) -> Result<Vec<Due>> {
    let only = terms.accounts.only();
    // One account speaks for every other, so none is left out.
    let known: Option<Vec<&str>> = only.is_none().then(|| terms.accounts.names().collect());
    let mut lists = Vec::new();
    for (pair, schedule) in pairs {
        let _owner = Rights::Owner.on(&pair.messages);
        let spi = Spi::connect()?;
        let text = sql::take_due(sql::select_due(&pair.mapping, &pair.plans.shape, schedule));
        let array = text_array(known.iter().flatten().copied());
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
                known.is_some().then_some(array),
                Some(text_array(terms.resting.iter().map(String::as_str))),
                Some(Datum::from(terms.wanted)),
            ],
        )?;
        lists.push(read(&rows)?);
    }
    Ok(interleave(lists, terms.most))
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
        });
    }
    Ok(all)
}

/// By how much a message may have been sent before its row was written, in microseconds.
const CLOCKS_DIFFER: Time = 5_000_000;

fn interleave(lists: Vec<Vec<Due>>, most: i32) -> Vec<Due> {
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let mut taken = Vec::new();
    while taken.len() < most.unsigned_abs() as usize {
        let before = taken.len();
        taken.extend(lists.iter_mut().filter_map(Iterator::next));
        if taken.len() == before {
            break;
        }
    }
    taken.truncate(most.unsigned_abs() as usize);
    taken
}

/// Takes them until a time, so that no other round does; gives those that could be had. A table that has no
/// `next_check_at` has nowhere to say so.
pub fn lease(pairs: &[(Rc<Pair>, Schedule)], due: Vec<Due>, until: Time) -> Result<Vec<Due>> {
    let mut had = Vec::with_capacity(due.len());
    for (pair, _) in pairs {
        let mine = || due.iter().filter(|d| d.messages == pair.messages.oid);
        let Some(text) = sql::lease(&pair.mapping, &pair.plans.shape) else {
            had.extend(mine().cloned());
            continue;
        };
        if mine().next().is_none() {
            continue;
        }
        let _owner = Rights::Owner.on(&pair.messages);
        let spi = Spi::connect()?;
        let rows = spi.by_index(
            &text,
            &[pg_sys::TEXTARRAYOID, pg_sys::TIMESTAMPTZOID],
            &[Some(text_array(mine().map(|d| d.key.as_str()))), Some(Datum::from(until))],
        )?;
        let keys: std::collections::HashSet<String> = (0..rows.len()).filter_map(|i| rows.string(i, 0)).collect();
        had.extend(mine().filter(|d| keys.contains(&d.key)).cloned());
    }
    Ok(had)
}

/// Gives back what rounds had taken until one of these times.
pub fn end_leases(pairs: &[(Rc<Pair>, Schedule)], until: &[Time]) -> Result<()> {
    for (pair, _) in pairs {
        if let Some(text) = sql::end_leases(&pair.mapping, &pair.plans.shape) {
            let _owner = Rights::Owner.on(&pair.messages);
            let times: Vec<_> = until.iter().map(|&t| Some(Datum::from(t))).collect();
            let array = Layout::of(pg_sys::TIMESTAMPTZOID).array(&times);
            Spi::connect()?.once(&text, &[pg_sys::TIMESTAMPTZARRAYOID], &[Some(array)])?;
        }
    }
    Ok(())
}

/// A text[] value.
pub fn text_array<'a>(texts: impl Iterator<Item = &'a str>) -> Datum {
    let texts: Vec<_> = texts.map(|t| Some(text_datum(&to_server(t)))).collect();
    Layout::of(pg_sys::TEXTOID).array(&texts)
}
