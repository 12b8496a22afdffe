//! The path of single callbacks: one UPDATE that finds the row, asks the fold, and writes what it says.
//!
//! `UPDATE messages SET status = decided_status(), … WHERE sid = $1 AND decide(status, …)`: PostgreSQL shows `decide`
//! the row under the key, and evaluates the SET list for the same row right behind it. A row that would not change is
//! neither locked nor written. A row that somebody else changed meanwhile is waited for and shown again, as PostgreSQL
//! does with every UPDATE, and what counts is what was decided last.

use super::rows;
use crate::errors::{Code, Fault, Result};
use crate::fold::{Fold, Join, Ranks, Row, Stored, Verdict};
use crate::function::Args;
use crate::key::Key;
use crate::pair::Pair;
use crate::pair::sql::Role;
use crate::session::{ActAs, as_engine};
use crate::spi::Spi;
use crate::status::Status;
use crate::status::oids::StatusOids;
use pgrx::pg_sys::Datum;
use std::cell::RefCell;

crate::sql_function!(msgstatus_decide, pg_finfo_msgstatus_decide, decide);
crate::sql_function!(msgstatus_decided_status, pg_finfo_msgstatus_decided_status, decided_status);
crate::sql_function!(msgstatus_decided_time, pg_finfo_msgstatus_decided_time, decided_time);
crate::sql_function!(msgstatus_decided_integer, pg_finfo_msgstatus_decided_integer, decided_integer);
crate::sql_function!(msgstatus_decided_text, pg_finfo_msgstatus_decided_text, decided_text);
crate::sql_function!(msgstatus_decided_boolean, pg_finfo_msgstatus_decided_boolean, decided_boolean);

/// What the UPDATE that runs is about, and what became of it so far.
struct Question {
    status: Status,
    fold: Fold,
    ranks: Ranks,
    stored: Stored,
    outcome: Outcome,
}

/// What became of a single callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No row has the key.
    Unmatched,
    /// The row stays as it is.
    Unchanged(Verdict),
    /// The row becomes this one.
    Changed(Verdict, Row),
    /// The row can't tell.
    Undecided,
}

thread_local! {
    static QUESTION: RefCell<Option<Question>> = const { RefCell::new(None) };
}

/// Brings one event to its message. `Undecided` also where the row that was to change did not get written.
pub fn update(pair: &Pair, key: &Key, status: Status, fold: &Fold) -> Result<Outcome> {
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
    let question =
        Question { status, fold: fold.clone(), ranks: pair.ranks, stored: pair.stored, outcome: Outcome::Unmatched };
    let _restore = Restore(QUESTION.replace(Some(question)));
    let plan = pair.plans.update_decided.plan()?;
    let written = as_engine(|| spi.run(plan, &[Some(pair.key.datum(key))]))?.len();
    let outcome = QUESTION.take().map_or(Outcome::Undecided, |q| q.outcome);
    Ok(match outcome {
        Outcome::Changed(..) if written == 0 => Outcome::Undecided,
        outcome => outcome,
    })
}

fn not_alone() -> Fault {
    Fault::new(
        Code::NotReady,
        "this function is part of the engine's own UPDATE",
        "Insert into the delivery log, or call msgstatus.apply_status.",
    )
}

/// `decide(status, status_at, sent_at, delivered_at, read_at, failed_at, canceled_at, seen, code, message, map)`: would
/// the row change?
fn decide(args: &Args) -> Result<Option<Datum>> {
    let oids = StatusOids::get()?;
    let values = std::array::from_fn(|i| args.get(i));
    let row = rows::row_of(&values, &oids);
    QUESTION.with_borrow_mut(|question| {
        let question = question.as_mut().ok_or_else(not_alone)?;
        question.outcome = match row.join(&question.fold, &question.ranks) {
            Join::Undecided => Outcome::Undecided,
            Join::Row(after) => {
                let after = question.stored.mask(after);
                let verdict = Verdict::of(question.status, &row, &after, &question.ranks);
                if after == row { Outcome::Unchanged(verdict) } else { Outcome::Changed(verdict, after) }
            }
        };
        Ok(Some(Datum::from(matches!(question.outcome, Outcome::Changed(..)))))
    })
}

/// A column of the row that was decided last, if it is of the type that the function gives.
fn decided(args: &Args, of_type: impl FnOnce(Role) -> bool) -> Result<Option<Datum>> {
    let role = args.get(0).and_then(|d| Role::from_number(d.value() as i32));
    let role = role.filter(|&r| of_type(r)).ok_or_else(not_alone)?;
    let oids = StatusOids::get()?;
    QUESTION.with_borrow(|question| match question.as_ref().map(|q| &q.outcome) {
        Some(Outcome::Changed(_, after)) => Ok(rows::value(role, after, &oids)),
        _ => Err(not_alone()),
    })
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
