//! Direct writes: what the guard makes of a row that somebody inserts or updates.
//!
//! A direct write is an event of its own time, and what it leaves is what [`Row::join_log`] leaves alone: so `verify` finds
//! nothing to tell of it, and no callback that is repeated undoes it.

use super::{Event, Fold, Join, Ranks, Row, Stored, Time};
use crate::status::Status;

/// What direct writes of a table are folded by.
#[derive(Clone, Copy)]
pub struct Direct<'a> {
    pub ranks: &'a Ranks,
    pub stored: &'a Stored,
    /// The time of a write that does not say one.
    pub now: Time,
}

impl Direct<'_> {
    fn event(&self, status: Status, at: Time) -> Fold {
        let mut fold = Fold::default();
        fold.add(Event { status, at: self.stored.round(at), untimed: false, error: None }, self.ranks);
        fold
    }

    /// The row as an INSERT leaves it.
    pub fn inserted(&self, new: &Row) -> Row {
        let new = new.united().into_owned();
        let Some(status) = new.status else { return new };
        let at = said_time(&new, &Row::default()).unwrap_or(self.now);
        let without = Row { status: None, status_at: None, error: None, ..new.clone() };
        match without.join(&self.event(status, at), self.ranks, self.stored, None) {
            Join::Row(row) | Join::Locked(row) => Row { error: new.error, ..row },
            Join::Undecided => new,
        }
    }

    /// The row as an UPDATE leaves it, and whether its status was refused.
    pub fn updated(&self, old: &Row, new: &Row) -> (Row, bool) {
        let (old, new) = (&*old.united(), &*new.united());
        let mut row = Row { error: None, ..old.clone() };
        if let Some(status) = new.status.filter(|_| new.status != old.status) {
            // The transaction may have begun before the outcome that stands came. What is written now, over that outcome, is
            // no earlier outcome all the same.
            let rival = old.status.is_some_and(|s| self.ranks.of(s) == self.ranks.of(status));
            let stands = old.status_at.filter(|_| rival).map(|t| self.stored.after(t));
            let at = said_time(new, old).unwrap_or_else(|| stands.map_or(self.now, |t| t.max(self.now)));
            let fold = self.event(status, at);
            match row.join(&fold, self.ranks, self.stored, None) {
                Join::Row(joined) | Join::Locked(joined) => row = joined,
                // No time says that it is earlier than the outcome of equal rank that stands.
                Join::Undecided => row.take_evidence(&fold),
            }
        }
        let refused = row.status != new.status;
        if !refused && row.status == old.status && new.status_at < row.status_at {
            row.status_at = new.status_at.or(row.status_at);
        }
        for (slot, t) in row.milestones.iter_mut().zip(new.milestones) {
            *slot = match (*slot, t) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        row.seen |= new.seen;
        // An error that the UPDATE sets stands; one that it merely does not know is kept.
        row.error = new.error.clone().or_else(|| old.error.clone());
        (row, refused)
    }

    /// The row of a message whose key an UPDATE changes. If it sets the status too, what it says counts as with an INSERT,
    /// and what it leaves as it was belonged to the other message and goes.
    pub fn rekeyed(&self, old: &Row, new: &Row) -> Row {
        if new.status == old.status {
            return new.united().into_owned();
        }
        let mut said = new.clone();
        let keep_set = |new: &mut [Option<Time>], old: &[Option<Time>]| {
            new.iter_mut().zip(old).for_each(|(new, &old)| *new = new.filter(|&t| Some(t) != old));
        };
        keep_set(&mut said.milestones, &old.milestones);
        if let (Some(new), Some(old)) = (&mut said.mapped, &old.mapped) {
            keep_set(&mut new[..], &old[..]);
        }
        said.status_at = new.status_at.filter(|_| new.status_at != old.status_at);
        said.error = new.error.clone().filter(|_| new.error != old.error);
        if new.seen == old.seen {
            said.seen = 0;
        }
        self.inserted(&said)
    }
}

/// When a direct write itself says that its status was reached.
fn said_time(row: &Row, before: &Row) -> Option<Time> {
    let set = |new: Option<Time>, old: Option<Time>| new.filter(|_| new != old);
    let own = row
        .status
        .and_then(|s| s.milestones().last())
        .and_then(|&m| set(row.milestones[m as usize], before.milestones[m as usize]));
    set(row.status_at, before.status_at).or(own)
}
