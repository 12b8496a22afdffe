//! The fold: what a set of events makes of a message. This is the one place where the rule is written.
//!
//! Everything here is plain Rust, without PostgreSQL, so that the rule can be tested over its whole domain.
//! The log trigger, the guard, the replay, `verify` and `rebuild` all end in [`Row::join_log`], or in what gives the same.
//!
//! # Why it converges
//! The status that stands is the maximum of its events under a total order (rank, then the earlier time,
//! then the later label); milestones are minima; `statuses_seen` is a union; the error is the minimum over the
//! events that carry one (of failing events before others, then the earlier time). All of them are commutative,
//! associative and idempotent, so order, batching and repetition cannot show in the result.
//!
//! # What a row does not tell
//! The time of its error, whether the error was written directly, and, without `status_at`, the time of its status.
//! So there is one rule for callbacks, direct writes, `verify` and `settle`, [`Row::join_log`]: what a row has to be,
//! given all of its log. A row is always what it gives. [`Row::join`] is the short cut for events that are new: it gives
//! the same without the log, or [`Join::Undecided`] where only the log can tell. Events that tell what the row does not
//! show need its lock even if it stays equal ([`Join::Locked`]): who asks the log meanwhile must wait until they are there.

mod direct;
mod join;
#[cfg(test)]
mod tests;

use crate::status::{COUNT, DEFAULT_RANKS, MILESTONES, Status};
use std::borrow::Cow;
use std::collections::BTreeMap;

pub use direct::Direct;
pub use join::{Hold, Join, Stored, Told};

/// Microseconds since 2000-01-01 UTC, PostgreSQL's `timestamptz`.
pub type Time = i64;

/// What no time of PostgreSQL's reaches: the beginning of the year 294277.
pub const END: Time = 9_223_371_331_200_000_000;

/// A time as PostgreSQL stores it. A column that holds times less exactly may have been rounded to the end of all times: that
/// is read as the last moment before.
pub fn stored_time(raw: i64) -> Time {
    if raw == Time::MAX { raw } else { raw.min(END - 1) }
}

/// Ranks of one policy, by position in the enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks(pub [i16; COUNT]);

impl Default for Ranks {
    fn default() -> Self {
        Ranks(DEFAULT_RANKS)
    }
}

impl Ranks {
    pub fn of(&self, status: Status) -> i16 {
        self.0[status.index()]
    }

    /// Does event `a` stand against event `b`? A strict total order on distinct `(status, time)` pairs.
    pub fn stands(&self, a: (Status, Time), b: (Status, Time)) -> bool {
        let key = |(s, t): (Status, Time)| (self.of(s), std::cmp::Reverse(t), s);
        key(a) > key(b)
    }
}

/// What a provider said went wrong. Bytes, because the database's encoding need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Error {
    pub code: Option<Box<[u8]>>,
    pub message: Option<Box<[u8]>>,
}

impl Error {
    /// An error from two optional texts; `None` if neither says anything.
    pub fn new(code: Option<&[u8]>, message: Option<&[u8]>) -> Option<Error> {
        let said = |t: Option<&[u8]>| t.filter(|t| !t.is_empty()).map(Box::from);
        let error = Error { code: said(code), message: said(message) };
        (error != Error::default()).then_some(error)
    }
}

/// One row of the delivery log whose word was understood.
#[derive(Clone, Debug)]
pub struct Event {
    pub status: Status,
    /// `least(coalesce(event_at, created_at), created_at)`: a provider's clock may be slow, it is never ahead of ours.
    pub at: Time,
    /// The log row has no time, and `at` is when it was read: it will be another one the next time.
    pub untimed: bool,
    pub error: Option<Error>,
}

/// Of which event an error is: of a failing one first, then of the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Carrier {
    beside: bool,
    at: Time,
}

/// How often the provider was asked about a message, and when last.
///
/// It is kept beside the fold and not part of it: a count is not idempotent. So it counts only what the log trigger sees,
/// which sees each row once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    pub count: i32,
    pub last: Option<Time>,
}

impl Checks {
    /// Takes the checks of other events of the same message in.
    pub fn merge(&mut self, other: Checks) {
        self.count = self.count.saturating_add(other.count);
        self.last = self.last.max(other.last);
    }
}

/// A set of events of one message, folded. Some 150 bytes while no event carries an error.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    stands: Option<(Status, Time)>,
    milestones: [Option<Time>; MILESTONES],
    seen: i32,
    /// Some event has no time of its own.
    untimed: bool,
    /// Each error, and the first event that carries it.
    errors: BTreeMap<Error, Carrier>,
    checks: Checks,
}

impl Fold {
    /// Takes one more event in.
    pub fn add(&mut self, event: Event, ranks: &Ranks) {
        let new = (event.status, event.at);
        if self.stands.is_none_or(|old| ranks.stands(new, old)) {
            self.stands = Some(new);
        }
        for &m in event.status.milestones() {
            earliest(&mut self.milestones[m as usize], Some(event.at));
        }
        self.seen |= event.status.bit();
        self.untimed |= event.untimed;
        if let Some(error) = event.error {
            self.carry(error, Carrier { beside: !event.status.is_failure(), at: event.at });
        }
    }

    /// Takes the events of another fold of the same message in.
    pub fn merge(&mut self, other: Fold, ranks: &Ranks) {
        if let Some(new) = other.stands
            && self.stands.is_none_or(|old| ranks.stands(new, old))
        {
            self.stands = Some(new);
        }
        for (slot, t) in self.milestones.iter_mut().zip(other.milestones) {
            earliest(slot, t);
        }
        self.seen |= other.seen;
        self.untimed |= other.untimed;
        for (error, carrier) in other.errors {
            self.carry(error, carrier);
        }
        self.checks.merge(other.checks);
    }

    /// Notes that one of the events was the provider's answer to a question, which came at this time.
    pub fn asked(&mut self, at: Time) {
        self.checks.merge(Checks { count: 1, last: Some(at) });
    }

    /// Somebody else counts how often the provider was asked.
    pub fn forget_checks(&mut self) {
        self.checks = Checks::default();
    }

    /// How many of the events were answers to questions.
    pub fn checks(&self) -> Checks {
        self.checks
    }

    fn carry(&mut self, error: Error, carrier: Carrier) {
        self.errors.entry(error).and_modify(|first| *first = carrier.min(*first)).or_insert(carrier);
    }

    /// The status these events leave a message in, and since when.
    pub fn stands(&self) -> Option<(Status, Time)> {
        self.stands
    }

    /// Bits of the statuses among these events.
    pub fn seen(&self) -> i32 {
        self.seen
    }

    /// The error that these events leave a message with, and whose it is.
    fn first_error(&self) -> Option<(Carrier, &Error)> {
        self.errors.iter().map(|(error, &carrier)| (carrier, error)).min()
    }

    fn carrier(&self, error: &Error) -> Option<Carrier> {
        self.errors.get(error).copied()
    }
}

/// The engine's columns of one message. A column that the table does not have stays `None` or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub status: Option<Status>,
    pub status_at: Option<Time>,
    /// From their columns; one that has no column from the status map.
    pub milestones: [Option<Time>; MILESTONES],
    /// What a status map says, if there is one: it may stand beside columns, and say something else.
    pub mapped: Option<Box<[Option<Time>; MILESTONES]>>,
    pub seen: i32,
    pub error: Option<Error>,
    /// What a column for it says: is the status final?
    pub is_final: Option<bool>,
}

impl Row {
    /// The row with each milestone as the earliest of its places.
    pub fn united(&self) -> Cow<'_, Row> {
        let Some(mapped) = &self.mapped else { return Cow::Borrowed(self) };
        let mut row = self.clone();
        for (slot, &t) in row.milestones.iter_mut().zip(mapped.iter()) {
            // A map ends at the years 1 and 9999: there it says no more than that the column has something beyond.
            if slot.and_then(|t| Hold::Iso.held(t)) != t {
                earliest(slot, t);
            }
        }
        Cow::Owned(row)
    }

    /// Has this status been seen, as far as the row can tell?
    fn has_seen(&self, status: Status) -> bool {
        self.seen & status.bit() != 0 || self.status == Some(status)
    }
}

/// What became of one event: the SQL enum `msgstatus.verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Applied,
    Backfilled,
    Duplicate,
    Stale,
    Conflict,
    Unmatched,
    Unrecognized,
}

impl Verdict {
    pub const fn label(self) -> &'static str {
        match self {
            Verdict::Applied => "applied",
            Verdict::Backfilled => "backfilled",
            Verdict::Duplicate => "duplicate",
            Verdict::Stale => "stale",
            Verdict::Conflict => "conflict",
            Verdict::Unmatched => "unmatched",
            Verdict::Unrecognized => "unrecognized",
        }
    }

    /// The verdict on an event with this status that took a message from `before` to `after`.
    ///
    /// That a late status is now in `statuses_seen` is bookkeeping, not a change of the message: the verdict
    /// stays `stale`.
    pub fn of(status: Status, before: &Row, after: &Row, ranks: &Ranks) -> Verdict {
        if before.status != after.status {
            return Verdict::Applied;
        }
        let changed =
            before.milestones != after.milestones || before.error != after.error || before.status_at != after.status_at;
        let seen = before.has_seen(status);
        let rival = after.status.is_some_and(|stands| stands != status && ranks.of(stands) == ranks.of(status));
        match (changed, rival, seen) {
            (false, _, true) => Verdict::Duplicate,
            (_, true, _) => Verdict::Conflict,
            (true, false, _) => Verdict::Backfilled,
            (false, false, false) => Verdict::Stale,
        }
    }
}

/// Keeps the earlier of two times, where nothing is later than any time.
fn earliest(slot: &mut Option<Time>, t: Option<Time>) {
    if let Some(t) = t
        && slot.is_none_or(|old| t < old)
    {
        *slot = Some(t);
    }
}
