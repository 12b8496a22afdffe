//! One UPDATE that finds the rows of callbacks, asks the fold, and writes what it says.
//!
//! `UPDATE messages SET status = decided_status(), … WHERE sid = $1 AND CASE WHEN sid = $1 THEN decide(status, …) …`:
//! PostgreSQL shows `decide` the row under the key, and evaluates the SET list for the same row right behind it. A row that
//! would not change is neither locked nor written. A row that somebody else changed meanwhile is waited for and shown
//! again, as PostgreSQL does with every UPDATE, and what counts is what was decided last.
//!
//! Where a statement must not wait for a row while it holds others, `decide` also locks the row that would change, and
//! ends the UPDATE if somebody else has it. In partitioned tables it always does, as a row that somebody moves to another
//! partition meanwhile would end the UPDATE with an error: then the UPDATE is done again, and finds it there.

use super::free::{Free, Lock};
use super::rows;
use crate::boundary;
use crate::errors::{Code, Fault, Result};
use crate::fold::{Checks, Fold, Join, Ranks, Row, Stored, Told, Verdict};
use crate::function::Args;
use crate::key::Key;
use crate::pair::Pair;
use crate::pair::plans::Statement;
use crate::pair::sql::Role;
use crate::session::{ActAs, as_engine};
use crate::spi::Spi;
use crate::status::Status;
use crate::status::oids::StatusOids;
use pgrx::pg_sys::{Datum, Oid};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

crate::sql_function!(msgstatus_decide, pg_finfo_msgstatus_decide, decide);
crate::sql_function!(msgstatus_decided_status, pg_finfo_msgstatus_decided_status, decided_status);
crate::sql_function!(msgstatus_decided_time, pg_finfo_msgstatus_decided_time, decided_time);
crate::sql_function!(msgstatus_decided_integer, pg_finfo_msgstatus_decided_integer, decided_integer);
crate::sql_function!(msgstatus_decided_text, pg_finfo_msgstatus_decided_text, decided_text);
crate::sql_function!(msgstatus_decided_boolean, pg_finfo_msgstatus_decided_boolean, decided_boolean);
crate::sql_function!(msgstatus_decided_checks, pg_finfo_msgstatus_decided_checks, decided_checks);
crate::sql_function!(msgstatus_decided_checked_at, pg_finfo_msgstatus_decided_checked_at, decided_checked_at);

/// What the UPDATE that runs is about, and what became of it so far.
struct Question {
    /// The fold at each place, and the status to judge by where there is but one event.
    folds: Vec<Fold>,
    /// What is remembered of the logs of some messages, by place, and what is to be by now.
    told: HashMap<usize, Told>,
    judge: Option<Status>,
    /// The folds are of whole logs, not of new events.
    whole: bool,
    ranks: Ranks,
    stored: Stored,
    oids: StatusOids,
    outcomes: Vec<Outcome>,
    /// Locks rows that would change before PostgreSQL does.
    free: Option<Free>,
    /// The UPDATE also keeps how often the provider was asked.
    checks: bool,
    /// What the row that was looked at last becomes, if it is written, and the checks that it gains.
    after: Option<(Row, Checks)>,
}

/// What became of the events at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No row has the key.
    Unmatched,
    /// The row stays as it is.
    Unchanged(Verdict),
    /// The row is written: it changes, or the provider was asked about it.
    Changed(Verdict),
    /// The row can't tell, or has to be locked first.
    Undecided,
    /// Somebody changed the row meanwhile, and perhaps moved it to another partition: ask again.
    Again,
}

thread_local! {
    static QUESTION: RefCell<Option<Question>> = const { RefCell::new(None) };
    /// The place whose row somebody else has, where that ended the UPDATE.
    static TAKEN: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Brings one event to its message. `Undecided` also where the row that was to change did not get written.
pub fn update(pair: &Pair, key: &Key, status: Status, fold: &Fold) -> Result<Outcome> {
    loop {
        let mut question = Question::new(pair, &[key], vec![fold.clone()], Some(status));
        question.free = pair.messages.partitioned.then(|| Free::new(Lock::Awaited, true));
        let statement = pair.plans.decided(false, question.checks);
        let (question, written) = ask(pair, statement, question, || pair.key.datum(key))?;
        match question.outcomes.into_iter().next() {
            Some(Outcome::Again) => {}
            Some(Outcome::Changed(_)) | None if written == 0 => return Ok(Outcome::Undecided),
            Some(outcome) => {
                question.told.into_values().for_each(|told| pair.told.put(key, told));
                return Ok(outcome);
            }
            None => return Ok(Outcome::Undecided),
        }
    }
}

/// Brings folds to the messages with these keys, which are in key order; rows are locked as they are written, in that
/// order. Gives what became of each, and how many rows were written.
///
/// `whole` says that the folds are of the whole log of each message, which then must be the transaction's own: nobody
/// else has events for it that the log does not show yet.
pub fn update_many(pair: &Pair, keys: &[&Key], folds: &[&Fold], whole: bool) -> Result<(Vec<Outcome>, u64)> {
    let mut question = Question::new(pair, keys, folds.iter().map(|&f| f.clone()).collect(), None);
    question.whole = whole;
    question.free = (pair.messages.partitioned && !whole).then(|| Free::new(Lock::Awaited, true));
    // What a log says as a whole was counted when its rows came.
    question.checks &= !whole;
    let statement = pair.plans.decided(true, question.checks);
    let (question, written) = ask(pair, statement, question, || pair.key.array(keys.iter().copied()))?;
    question.told.into_iter().for_each(|(place, told)| pair.told.put(keys[place], told));
    Ok((question.outcomes, written))
}

/// The same with new events, waiting for no row: `Err` has the place of one that somebody else has or has changed
/// meanwhile, and then the caller's subtransaction has to be undone. Rows that can't tell are locked, too.
pub fn update_free(
    pair: &Pair,
    keys: &[&Key],
    folds: &[&Fold],
) -> Result<std::result::Result<(Vec<Outcome>, u64), usize>> {
    let mut question = Question::new(pair, keys, folds.iter().map(|&f| f.clone()).collect(), None);
    question.free = Some(Free::new(Lock::Free, pair.messages.partitioned));
    let statement = pair.plans.decided(true, question.checks);
    TAKEN.set(None);
    let asked =
        boundary::unless(Code::Taken, || ask(pair, statement, question, || pair.key.array(keys.iter().copied())));
    match (asked, TAKEN.take()) {
        (Ok(asked), _) => {
            let (question, written) = asked?;
            question.told.into_iter().for_each(|(place, told)| pair.told.put(keys[place], told));
            Ok(Ok((question.outcomes, written)))
        }
        (Err(_), Some(place)) => Ok(Err(place)),
        // Some other 55P03, of a user's trigger: it is not for us.
        (Err(error), None) => error.resume(),
    }
}

impl Question {
    fn new(pair: &Pair, keys: &[&Key], folds: Vec<Fold>, judge: Option<Status>) -> Question {
        let told = pair.told.of(keys);
        Question {
            told,
            outcomes: vec![Outcome::Unmatched; folds.len()],
            checks: pair.mapping.p.keeps_checks() && folds.iter().any(|f| f.checks().count > 0),
            folds,
            judge,
            whole: false,
            ranks: pair.ranks,
            stored: pair.stored,
            oids: pair.oids,
            free: None,
            after: None,
        }
    }
}

fn ask(
    pair: &Pair,
    statement: &Statement,
    question: Question,
    argument: impl FnOnce() -> Datum,
) -> Result<(Question, u64)> {
    /// Triggers of the user may write log rows in turn, and so ask questions of their own.
    struct Restore(Option<Question>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let outer = self.0.take();
            QUESTION.with(|q| q.try_borrow_mut().map(|mut q| *q = outer).ok());
        }
    }
    let _owner = ActAs::owner(pair.messages.owner, pair.messages.forced_rls);
    let spi = Spi::connect()?;
    let _restore = Restore(QUESTION.replace(Some(question)));
    let plan = statement.plan()?;
    let written = as_engine(|| spi.run(plan, &[Some(argument())]))?.len() as u64;
    let question = QUESTION.take().ok_or_else(not_alone)?;
    Ok((question, written))
}

fn not_alone() -> Fault {
    Fault::new(
        Code::NotReady,
        "this function is part of the engine's own UPDATE",
        "Insert into the delivery log, or call msgstatus.apply_status.",
    )
}

fn taken() -> Fault {
    Fault::new(Code::Taken, "somebody else has a message of this statement", "The engine waits for it and tries again.")
}

/// `decide(status, status_at, sent_at, delivered_at, read_at, failed_at, canceled_at, seen, code, message, map, final,
/// place, tableoid, ctid)`: would the row change?
fn decide(args: &Args) -> Result<Option<Datum>> {
    let values = std::array::from_fn(|i| args.get(i));
    let place = args.get(values.len()).map_or(0, |d| d.value()).wrapping_sub(1);
    QUESTION.with_borrow_mut(|question| {
        let question = question.as_mut().ok_or_else(not_alone)?;
        let row = rows::row_of(&values, &question.oids, &question.stored);
        let fold = question.folds.get(place).ok_or_else(not_alone)?;
        let told = question.told.get(&place);
        let join = match question.whole {
            true => Join::Row(row.join_log(fold, &question.ranks)),
            false => row.join(fold, &question.ranks, &question.stored, told),
        };
        let mut outcome = match join {
            Join::Undecided => Outcome::Undecided,
            Join::Locked(after) if question.stored.mask(after.clone()) == row => Outcome::Undecided,
            Join::Row(after) | Join::Locked(after) => {
                let after = question.stored.mask(after);
                let status = question.judge.or(after.status).unwrap_or(Status::Queued);
                let verdict = Verdict::of(status, &row, &after, &question.ranks);
                let checks = if question.checks { fold.checks() } else { Checks::default() };
                if let Some(told) = told {
                    let told = told.clone().and_then(&row, &after, fold);
                    question.told.insert(place, told);
                }
                question.after = (after != row || checks.count > 0).then_some((after, checks));
                if question.after.is_some() { Outcome::Changed(verdict) } else { Outcome::Unchanged(verdict) }
            }
        };
        if matches!(outcome, Outcome::Changed(_) | Outcome::Undecided)
            && let Some(free) = &mut question.free
            && (free.lock == Lock::Free || outcome != Outcome::Undecided)
        {
            let (Some(table), Some(tid)) = (args.get(values.len() + 1), args.get(values.len() + 2)) else {
                return Err(not_alone());
            };
            if !free.lock(Oid::from(table.value() as u32), tid)? {
                if free.lock == Lock::Free {
                    TAKEN.set(Some(place));
                    return Err(taken());
                }
                outcome = Outcome::Again;
            }
        }
        let changes = matches!(outcome, Outcome::Changed(_));
        // Partitions may hold several rows of a key: one that can't tell is not forgotten for the next that can.
        if !matches!(question.outcomes[place], Outcome::Undecided | Outcome::Again) {
            question.outcomes[place] = outcome;
        }
        Ok(Some(Datum::from(changes)))
    })
}

/// Reads from the row that was decided last, and from the checks that it gains.
fn last<T>(read: impl FnOnce(&Row, Checks, &StatusOids) -> T) -> Result<T> {
    QUESTION.with_borrow(|question| {
        let question = question.as_ref().ok_or_else(not_alone)?;
        let (row, checks) = question.after.as_ref().ok_or_else(not_alone)?;
        Ok(read(row, *checks, &question.oids))
    })
}

/// A column of that row, if it is of the type that the function gives.
fn decided(args: &Args, of_type: impl FnOnce(Role) -> bool) -> Result<Option<Datum>> {
    let role = args.get(0).and_then(|d| Role::from_number(d.value() as i32));
    let role = role.filter(|&r| of_type(r)).ok_or_else(not_alone)?;
    last(|row, _, oids| rows::value(role, row, oids))
}

fn decided_checks(_: &Args) -> Result<Option<Datum>> {
    last(|_, checks, _| Some(Datum::from(checks.count)))
}

fn decided_checked_at(_: &Args) -> Result<Option<Datum>> {
    last(|_, checks, _| checks.last.map(Datum::from))
}

fn decided_status(args: &Args) -> Result<Option<Datum>> {
    decided(args, |r| r == Role::Status)
}

fn decided_time(args: &Args) -> Result<Option<Datum>> {
    decided(args, |r| matches!(r, Role::StatusAt | Role::Milestone(_)))
}

fn decided_integer(args: &Args) -> Result<Option<Datum>> {
    decided(args, |r| r == Role::Seen)
}

fn decided_text(args: &Args) -> Result<Option<Datum>> {
    decided(args, |r| matches!(r, Role::ErrorCode | Role::ErrorMessage | Role::StatusMap))
}

fn decided_boolean(args: &Args) -> Result<Option<Datum>> {
    decided(args, |r| r == Role::Final)
}
