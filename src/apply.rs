//! Bringing folds to the messages table.
//!
//! New events go by one UPDATE that asks the fold ([`decide`]): single callbacks, statements that take all of their rows
//! or none (`all_or_none`), and the parts of larger ones. What a row can't decide, and what is folded from the log, goes
//! by look, lock, decide again and write (`chunk`).

mod decide;
mod free;
mod rows;
mod told;

use crate::boundary;
use crate::datum::in_scratch;
use crate::errors::{Code, Result};
use crate::fold::{Checks, Fold, Join, Row, Told, Verdict};
use crate::key::Key;
use crate::pair::Pair;
use crate::pair::sql::Lock;
use crate::poll::wait::a_while;
use crate::session::{ActAs, Rights};
use crate::spi::Spi;
use crate::status::Status;
use crate::subtransaction::attempt;
use indexmap::IndexMap;
use pgrx::pg_sys;
use rows::{AsOf, Found};
use std::time::Duration;

pub use rows::{event_at as event_in, read_event};
pub use told::{Memory, forget};

/// Keys a chunk: enough to spread the cost of a statement, few enough to bound its memory.
const CHUNK: usize = 4096;

/// What became of the keys of a statement.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Keys that no message has.
    pub unmatched: Vec<Key>,
    /// Messages that were written.
    pub written: u64,
}

/// Where the folds that are applied come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// Events that are new; the log is asked where a row can't decide.
    Events,
    /// The whole log of each key.
    Log,
    /// The same, and some of its rows are this transaction's, which nobody else sees yet.
    LogWithEvents,
}

/// Applies one event, on the path made for single callbacks. `None` if no message has this key.
pub fn single(pair: &Pair, key: &Key, status: Status, fold: &Fold) -> Result<Option<Verdict>> {
    if !pair.meddlers {
        match decide::update(pair, key, status, fold)? {
            decide::Outcome::Unmatched => return Ok(None),
            decide::Outcome::Unchanged(verdict) | decide::Outcome::Changed(verdict) => return Ok(Some(verdict)),
            decide::Outcome::Undecided | decide::Outcome::Again => {}
        }
    }
    Ok(chunk(pair, &[key], From::Events, &[fold], look(pair, &[key])?, Some(status), false)?.verdict)
}

/// Applies folds of new events, many messages at once, in key order.
pub fn batch(pair: &Pair, groups: IndexMap<Key, Fold>) -> Result<Outcome> {
    let together = groups.len() <= CHUNK;
    let mut groups = groups.sorted_unstable_by(|a, _, b, _| pair.key.compare(a, b)).peekable();
    let mut outcome = Outcome::default();
    while groups.peek().is_some() {
        let mut part: Vec<(Key, Fold)> = Vec::with_capacity(groups.len().min(CHUNK));
        while let Some((key, _)) = groups.peek() {
            // Keys may be equal and not look it: 1.0 and 1.00, or two spellings that a collation does not tell apart.
            let same = part.last().is_some_and(|last| pair.key.compare(&last.0, key).is_eq());
            if !same && part.len() == CHUNK {
                break;
            }
            let Some((key, fold)) = groups.next() else { break };
            match part.last_mut().filter(|_| same) {
                Some(last) => last.1.merge(fold, &pair.ranks),
                None => part.push((key, fold)),
            }
        }
        let keys: Vec<&Key> = part.iter().map(|g| &g.0).collect();
        let folds: Vec<&Fold> = part.iter().map(|g| &g.1).collect();
        let judged = in_scratch(|| many(pair, &keys, &folds, together))?;
        outcome.written += judged.written;
        outcome.unmatched.extend(judged.unmatched.into_iter().map(|i| keys[i].clone()));
    }
    Ok(outcome)
}

/// Whose messages are folded from their log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// This transaction's own: nobody else can see them yet, or change them.
    Own,
    /// Those that this transaction has callbacks of, which nobody else can see yet.
    OfCallbacks,
    Anybodys,
}

/// Folds the whole log of these keys into their messages.
pub fn refold(pair: &Pair, keys: &mut Vec<Key>, whose: Whose) -> Result<Outcome> {
    keys.sort_unstable_by(|a, b| pair.key.compare(a, b));
    keys.dedup_by(|next, kept| pair.key.compare(next, kept).is_eq());
    let (mut outcome, several) = (Outcome::default(), keys.len() > CHUNK);
    for part in keys.chunks(CHUNK) {
        in_scratch(|| -> Result<()> {
            let all: Vec<&Key> = part.iter().collect();
            let own = whose == Whose::Own && !pair.meddlers;
            // The messages first and then their log: a callback that comes in between is one that the row does not have
            // yet, and is not taken for a status that was written directly.
            let looked = if own { Vec::new() } else { look(pair, &all)? };
            let folds = rows::read_log(pair, Rights::Owner, AsOf::Now, &all)?;
            let mut place_of = vec![None; all.len()];
            let mut told: Vec<(&Key, &Fold)> = Vec::with_capacity(all.len());
            for (place, (&key, fold)) in all.iter().zip(&folds).enumerate() {
                if fold.stands().is_some() {
                    place_of[place] = Some(told.len());
                    told.push((key, fold));
                }
            }
            if told.is_empty() {
                return Ok(());
            }
            let (keys, folds): (Vec<&Key>, Vec<&Fold>) = told.into_iter().unzip();
            if own {
                outcome.written += decide::update_many(pair, &keys, &folds, true)?.1;
                return Ok(());
            }
            let moved = |mut found: Found| {
                found.place = place_of[found.place]?;
                Some(found)
            };
            let looked = looked.into_iter().filter_map(moved).collect();
            let from = if whose == Whose::OfCallbacks { From::LogWithEvents } else { From::Log };
            // A last look holds what its statement wrote, and waits for messages that came later. Whoever holds those
            // began later still to wait, so nobody waits for each other, if it takes all that it found or none.
            let together = whose == Whose::OfCallbacks && !several;
            let judged = chunk(pair, &keys, from, &folds, looked, None, together)?;
            outcome.written += judged.written;
            outcome.unmatched.extend(judged.unmatched.into_iter().map(|i| keys[i].clone()));
            Ok(())
        })?;
    }
    Ok(outcome)
}

/// The messages with these keys, unlocked.
fn look(pair: &Pair, keys: &[&Key]) -> Result<Vec<Found>> {
    let _owner = ActAs::owner(pair.messages.owner, pair.messages.forced_rls);
    rows::look_at(pair, &Spi::connect()?, AsOf::Now, keys)
}

/// The rows of these messages, as stored and as their log folds, where the two differ.
pub fn differences(pair: &Pair, rights: Rights, keys: &[Key]) -> Result<Vec<(Key, Row, Row)>> {
    let keys: Vec<&Key> = keys.iter().collect();
    let folds = rows::read_log(pair, rights, AsOf::Query, &keys)?;
    let _rights = rights.on(&pair.messages);
    let spi = Spi::connect()?;
    let found = rows::look_at(pair, &spi, AsOf::Query, &keys)?;
    Ok(found
        .into_iter()
        .filter_map(|f| {
            let folded = pair.stored.mask(f.row.join_log(&folds[f.place], &pair.ranks));
            (folded != f.row).then(|| (keys[f.place].clone(), f.row, folded))
        })
        .collect())
}

/// What a row that is being written directly has to be, by its log.
pub fn by_log(pair: &Pair, key: &Key, row: &Row) -> Result<Row> {
    let logged = rows::read_log(pair, Rights::Owner, AsOf::Now, &[key])?;
    Ok(logged.iter().fold(row.clone(), |row, log| row.join_log(log, &pair.ranks)))
}

/// The stored row of one message, read with the rights of the caller.
pub fn stored(pair: &Pair, spi: &Spi, key: &Key) -> Result<Option<Row>> {
    Ok(rows::look_at(pair, spi, AsOf::Query, &[key])?.into_iter().next().map(|f| f.row))
}

/// How often, and how many milliseconds apart, it is looked whether messages are free that somebody holds.
const LOOKS: (usize, u64) = (6, 20);

/// Locks the messages with these keys that nobody else holds, or only for a moment. Gives the keys of those that somebody
/// goes on holding.
pub fn taken(pair: &Pair, mut keys: Vec<Key>) -> Result<Vec<Key>> {
    keys.sort_unstable_by(|a, b| pair.key.compare(a, b));
    for look in 0..LOOKS.0 {
        let mut held = Vec::new();
        for part in keys.chunks(CHUNK) {
            let part: Vec<&Key> = part.iter().collect();
            held.extend(despite_moves(pair, || {
                let _owner = ActAs::owner(pair.messages.owner, pair.messages.forced_rls);
                let spi = Spi::connect()?;
                let mut free = vec![false; part.len()];
                rows::lock_many(pair, &spi, &part, Lock::Free)?.iter().for_each(|f| free[f.place] = true);
                let others: Vec<&Key> = part.iter().zip(free).filter(|(_, free)| !free).map(|(key, _)| *key).collect();
                let there = if others.is_empty() { Vec::new() } else { rows::look_at(pair, &spi, AsOf::Now, &others)? };
                Ok(there.iter().map(|f| others[f.place].clone()).collect::<Vec<_>>())
            })?);
        }
        keys = held;
        if keys.is_empty() || look + 1 == LOOKS.0 {
            break;
        }
        a_while(Duration::from_millis(LOOKS.1));
    }
    Ok(keys)
}

/// Notes how often and when the provider was asked about messages.
pub fn count_checks(pair: &Pair, checked: Vec<(Key, Checks)>) -> Result<()> {
    let mut by_key: IndexMap<Key, Checks> = IndexMap::new();
    for (key, checks) in checked {
        by_key.entry(key).or_default().merge(checks);
    }
    by_key.sort_unstable_by(|a, _, b, _| pair.key.compare(a, b));
    let _owner = ActAs::owner(pair.messages.owner, pair.messages.forced_rls);
    rows::count_checks(pair, &Spi::connect()?, by_key.iter().map(|(key, &checks)| (key, checks)))
}

/// Which of these keys some message has.
pub fn matched(pair: &Pair, keys: &[Key]) -> Result<Vec<Key>> {
    let mut matched = Vec::new();
    for part in keys.chunks(CHUNK) {
        let keys: Vec<&Key> = part.iter().collect();
        in_scratch(|| -> Result<()> {
            matched.extend(look(pair, &keys)?.into_iter().map(|f| keys[f.place].clone()));
            Ok(())
        })?;
    }
    Ok(matched)
}

/// The row as these events make it, if the log need not be asked, nor the row be locked first.
fn decide(pair: &Pair, found: &Found, fold: &Fold, told: Option<&Told>, locked: bool) -> Option<Row> {
    match found.row.join(fold, &pair.ranks, &pair.stored, told) {
        Join::Row(row) => Some(pair.stored.mask(row)),
        Join::Locked(row) => Some(pair.stored.mask(row)).filter(|after| locked || *after != found.row),
        Join::Undecided => None,
    }
}

#[derive(Default)]
struct Judged {
    unmatched: Vec<usize>,
    written: u64,
    verdict: Option<Verdict>,
}

/// New events of a chunk of messages, in key order: by one UPDATE, and what that leaves open by [`chunk`].
///
/// `together` says that the statement has no other chunks, and so can be undone rather than wait for a row while it
/// holds rows.
fn many(pair: &Pair, keys: &[&Key], folds: &[&Fold], together: bool) -> Result<Judged> {
    if pair.meddlers {
        return chunk(pair, keys, From::Events, folds, look(pair, keys)?, None, together);
    }
    if together && keys.len() > 1 {
        return match all_or_none(pair, keys, folds)? {
            Some(judged) => Ok(judged),
            None => chunk(pair, keys, From::Events, folds, look(pair, keys)?, None, true),
        };
    }
    let (outcomes, written) = decide::update_many(pair, keys, folds, false)?;
    let mut judged = Judged { written, ..Judged::default() };
    // A row that was to be written and was not: it is gone by now, or somebody's trigger kept it.
    let changed = outcomes.iter().filter(|o| matches!(o, decide::Outcome::Changed(_))).count() as u64;
    let kept = changed > written;
    let mut open = Vec::new();
    for (i, outcome) in outcomes.iter().enumerate() {
        match outcome {
            decide::Outcome::Unmatched => judged.unmatched.push(i),
            decide::Outcome::Undecided | decide::Outcome::Again => open.push(i),
            decide::Outcome::Changed(_) if kept => open.push(i),
            _ => {}
        }
    }
    judged.add(the_open(pair, keys, folds, &open, together)?);
    Ok(judged)
}

/// What a statement left open, at these places.
fn the_open(pair: &Pair, keys: &[&Key], folds: &[&Fold], open: &[usize], together: bool) -> Result<Judged> {
    if open.is_empty() {
        return Ok(Judged::default());
    }
    let keys: Vec<&Key> = open.iter().map(|&i| keys[i]).collect();
    let folds: Vec<&Fold> = open.iter().map(|&i| folds[i]).collect();
    let mut judged = chunk(pair, &keys, From::Events, &folds, look(pair, &keys)?, None, together)?;
    judged.unmatched.iter_mut().for_each(|i| *i = open[*i]);
    Ok(judged)
}

/// How often work is done again where somebody moved a row to another partition meanwhile.
const MOVES: usize = 100;

/// Does work that locks rows by SELECT, again where that failed because a row was moved to another partition: PostgreSQL
/// takes that for an error, also where nothing is to be repeatable.
fn despite_moves<T>(pair: &Pair, work: impl Fn() -> Result<T>) -> Result<T> {
    // SAFETY: reads a variable of this process.
    let repeatable = unsafe { pg_sys::XactIsoLevel } >= pg_sys::XACT_REPEATABLE_READ as i32;
    if !pair.messages.partitioned || repeatable {
        return work();
    }
    for _ in 0..MOVES {
        let done = attempt(|| match boundary::unless(Code::Moved, &work) {
            Ok(done) => done.map(Some),
            Err(_) => Ok(None),
        })?;
        if let Some(done) = done {
            return Ok(done);
        }
    }
    work()
}

/// One chunk of keys, in key order, whose rows were looked at: locks those that would change, decides again and writes.
fn chunk(
    pair: &Pair,
    keys: &[&Key],
    from: From,
    folds: &[&Fold],
    looked: Vec<Found>,
    judge: Option<Status>,
    together: bool,
) -> Result<Judged> {
    despite_moves(pair, || chunk_once(pair, keys, from, folds, &looked, judge, together))
}

fn chunk_once(
    pair: &Pair,
    keys: &[&Key],
    from: From,
    folds: &[&Fold],
    looked: &[Found],
    judge: Option<Status>,
    together: bool,
) -> Result<Judged> {
    let mut judged = Judged::default();
    let _owner = ActAs::owner(pair.messages.owner, pair.messages.forced_rls);
    let spi = Spi::connect()?;
    let mut known = vec![false; keys.len()];
    let decide = |found: &Found, place: usize, locked: bool| match from {
        From::Events => decide(pair, found, folds[place], pair.told.get(keys[place]).as_ref(), locked),
        // As with events, which these are to others.
        From::LogWithEvents if !locked && found.row.conceals(folds[place], &pair.ranks, None) => None,
        _ => Some(pair.stored.mask(found.row.join_log(folds[place], &pair.ranks))),
    };

    let keeps = from == From::Events && pair.mapping.p.keeps_checks();
    let counts = |place: usize| keeps && folds[place].checks().count > 0;

    let mut todo = Vec::new();
    for found in looked {
        match decide(found, found.place, false) {
            Some(after) if after == found.row && !counts(found.place) => {
                known[found.place] = true;
                judged.judge(pair, judge, found, &after);
            }
            _ => todo.push(found.place),
        }
    }
    todo.sort_unstable();
    todo.dedup();

    let locked_keys: Vec<&Key> = todo.iter().map(|&i| keys[i]).collect();
    let locked = match locked_keys.len() {
        0 => Vec::new(),
        2.. if together => lock_together(pair, &spi, &locked_keys)?,
        _ => rows::lock_many(pair, &spi, &locked_keys, Lock::Wait)?,
    };
    // What a row can't decide, the log does: all of it that committed before the row was ours.
    let open: Vec<usize> = (0..locked.len())
        .filter(|&i| from != From::Events || decide(&locked[i], todo[locked[i].place], true).is_none())
        .collect();
    let asked: Vec<&Key> = open.iter().map(|&i| locked_keys[locked[i].place]).collect();
    let logged = if asked.is_empty() { Vec::new() } else { rows::read_log(pair, Rights::Owner, AsOf::Now, &asked)? };
    let mut log_of = vec![None; locked.len()];
    for (fold, &i) in logged.iter().zip(&open) {
        log_of[i] = Some(fold);
    }

    let mut changed = Vec::new();
    for (found, log) in locked.iter().zip(log_of) {
        let place = todo[found.place];
        known[place] = true;
        let after = match log {
            Some(log) => {
                let after = pair.stored.mask(found.row.join_log(log, &pair.ranks));
                if from == From::Events {
                    pair.told.put(keys[place], Told::of(&after, log));
                }
                Some(after)
            }
            None => decide(found, place, true),
        };
        let Some(after) = after else { continue };
        judged.judge(pair, judge, found, &after);
        if after != found.row {
            changed.push((found, after));
        }
    }
    if !changed.is_empty() {
        judged.written = rows::write_many(pair, &spi, &locked_keys, &changed)?;
    }
    let checked: Vec<_> = locked.iter().map(|f| todo[f.place]).filter(|&place| counts(place)).collect();
    if !checked.is_empty() {
        rows::count_checks(pair, &spi, checked.iter().map(|&place| (keys[place], folds[place].checks())))?;
    }
    judged.unmatched = (0..keys.len()).filter(|&i| !known[i]).collect();
    Ok(judged)
}

/// How often rows are tried for before they are waited for, one of them after each try: somebody else has got on meanwhile.
const TRIES: usize = 100;

/// New events of the messages of a statement, by one UPDATE that takes all of its rows or none; `None` if that can't be.
///
/// Key order alone does not rule deadlocks out: before it commits, a transaction may find messages that were not there
/// before ([`crate::commit`]), and lock them while it holds others with higher keys. So a statement does not wait for
/// a row while it holds rows. It takes all that there are or none, and while there are none it waits for one that it
/// could not have. Only after some tries it waits in key order after all.
fn all_or_none(pair: &Pair, keys: &[&Key], folds: &[&Fold]) -> Result<Option<Judged>> {
    for _ in 0..TRIES {
        let mut taken = None;
        let judged = attempt(|| {
            let (outcomes, written) = match decide::update_free(pair, keys, folds)? {
                Ok(done) => done,
                Err(place) => {
                    taken = Some(place);
                    return Ok(None);
                }
            };
            let changed = outcomes.iter().filter(|o| matches!(o, decide::Outcome::Changed(_))).count() as u64;
            if changed > written {
                return Ok(None);
            }
            let places = |what: decide::Outcome| {
                outcomes.iter().enumerate().filter(move |(_, o)| **o == what).map(|(i, _)| i).collect::<Vec<_>>()
            };
            let mut judged = Judged { unmatched: places(decide::Outcome::Unmatched), written, verdict: None };
            // Their rows are locked by now, so nothing is waited for.
            judged.add(the_open(pair, keys, folds, &places(decide::Outcome::Undecided), false)?);
            Ok(Some(judged))
        })?;
        match (judged, taken) {
            (None, Some(place)) => wait_for(pair, keys[place])?,
            (judged, _) => return Ok(judged),
        }
    }
    Ok(None)
}

/// Waits until this message is nobody's.
fn wait_for(pair: &Pair, key: &Key) -> Result<()> {
    let _owner = ActAs::owner(pair.messages.owner, pair.messages.forced_rls);
    let spi = Spi::connect()?;
    despite_moves(pair, || attempt(|| rows::lock_one(pair, &spi, key).map(|_| None::<()>)))?;
    Ok(())
}

/// Locks the messages with these keys, all that there are or none, as [`all_or_none`] does.
fn lock_together(pair: &Pair, spi: &Spi, keys: &[&Key]) -> Result<Vec<Found>> {
    for _ in 0..TRIES {
        let mut taken = None;
        let locked = attempt(|| {
            let locked = rows::lock_many(pair, spi, keys, Lock::Free)?;
            let mut have = vec![false; keys.len()];
            locked.iter().for_each(|f| have[f.place] = true);
            let missing: Vec<&Key> = keys.iter().zip(have).filter(|(_, have)| !have).map(|(k, _)| *k).collect();
            if !missing.is_empty() {
                taken = rows::look_at(pair, spi, AsOf::Now, &missing)?.iter().map(|f| missing[f.place]).min();
            }
            Ok(taken.is_none().then_some(locked))
        })?;
        if let Some(locked) = locked {
            return Ok(locked);
        }
        if let Some(key) = taken {
            wait_for(pair, key)?;
        }
    }
    rows::lock_many(pair, spi, keys, Lock::Wait)
}

impl Judged {
    /// Takes in what became of other keys.
    fn add(&mut self, other: Judged) {
        self.unmatched.extend(other.unmatched);
        self.written += other.written;
    }

    fn judge(&mut self, pair: &Pair, judge: Option<Status>, found: &Found, after: &Row) {
        if let Some(status) = judge {
            self.verdict = Some(Verdict::of(status, &found.row, after, &pair.ranks));
        }
    }
}
