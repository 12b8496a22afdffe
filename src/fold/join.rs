//! Joining a fold with the row that is stored.

use super::{Fold, Ranks, Row, Time, earliest};
use crate::status::{MILESTONES, Milestone};

/// What joining some events with a stored row gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Join {
    /// The row as it has to be. Equal to the stored one if nothing changed.
    Row(Row),
    /// The row does not hold enough to decide (the time of the error, or of the status): join the fold of the
    /// whole log of this message with [`Row::join_log`], while holding the row's lock.
    Undecided,
}

/// What a table can hold of a folded row: what is not stored, or stored less exactly, must not make a row differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub status_at: Hold,
    pub seen: bool,
    pub milestones: [Hold; MILESTONES],
    /// There is a status map.
    pub mapped: bool,
    /// There is a plain column that says whether the status is final.
    pub is_final: bool,
    /// How many characters the error columns take; `None` for any number.
    pub code_length: Option<usize>,
    pub message_length: Option<usize>,
}

/// How a time is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// No column for it.
    Not,
    /// In multiples of so many microseconds: 1 for timestamptz, 1000000 for timestamptz(0).
    Steps(Time),
    /// As ISO 8601 in a status map, which ends at the years 1 and 9999: what is beyond is held as the end.
    Iso,
}

impl Hold {
    /// The time as it comes back from the table.
    pub fn held(self, t: Time) -> Option<Time> {
        match self {
            Hold::Not => None,
            Hold::Steps(1) => Some(t),
            // Infinity stays what it is; the rest is rounded half up, as PostgreSQL does.
            Hold::Steps(_) if t == Time::MAX || t == Time::MIN => Some(t),
            Hold::Steps(step) => Some((t + step / 2).div_euclid(step) * step),
            Hold::Iso => Some(t.clamp(crate::status_map::FIRST, crate::status_map::LAST)),
        }
    }
}

impl Stored {
    /// The row as it comes back from the table. Errors are cut where they are read.
    pub fn mask(&self, mut row: Row) -> Row {
        row.status_at = row.status_at.and_then(|t| self.status_at.held(t));
        if !self.seen {
            row.seen = 0;
        }
        for (slot, hold) in row.milestones.iter_mut().zip(self.milestones) {
            *slot = slot.and_then(|t| hold.held(t));
        }
        row.mapped = self.mapped.then(|| Box::new(row.milestones.map(|t| t.and_then(|t| Hold::Iso.held(t)))));
        // Where there is no status yet, the column stays what it is.
        if self.is_final
            && let Some(status) = row.status
        {
            row.is_final = Some(status.is_final());
        }
        row
    }

    /// A time of an event: no more exact than the status's own, which it will be compared with.
    pub fn round(&self, t: Time) -> Time {
        match self.status_at {
            Hold::Steps(_) => self.status_at.held(t).unwrap_or(t),
            _ => t,
        }
    }

    /// A text as an error column of this length holds it.
    pub fn cut(text: &[u8], length: Option<usize>) -> &[u8] {
        let Some(length) = length.filter(|&n| n < text.len()) else { return text };
        match std::str::from_utf8(text) {
            Ok(s) => s.char_indices().nth(length).map_or(text, |(at, _)| &text[..at]),
            Err(_) => &text[..length],
        }
    }
}

impl Row {
    /// Joins events that are new to the row.
    pub fn join(&self, fold: &Fold, ranks: &Ranks) -> Join {
        let before = self.united();
        let mut row = before.as_ref().clone();
        match (before.status, before.status_at, fold.stands) {
            (_, _, None) => {}
            (None, _, Some((s, t))) => {
                row.status = Some(s);
                row.status_at = Some(t);
            }
            (Some(old), None, Some((new, t))) if old == new => row.status_at = Some(t),
            (Some(old), None, Some((new, _))) if ranks.of(old) == ranks.of(new) => {
                return Join::Undecided;
            }
            (Some(old), at, Some(new)) => {
                // A missing time only reaches this arm with different ranks, where times do not count.
                if ranks.stands(new, (old, at.unwrap_or(new.1))) {
                    row.status = Some(new.0);
                    row.status_at = Some(new.1);
                }
            }
        }
        row.take_evidence(fold);
        if !row.join_error(&before, fold) {
            return Join::Undecided;
        }
        Join::Row(row)
    }

    /// Joins the fold of everything the log has of this message.
    ///
    /// What the row holds and the log does not explain was written directly, and stands as such: the result is
    /// never below what the row has already reached.
    pub fn join_log(&self, log: &Fold, ranks: &Ranks) -> Row {
        let before = self.united();
        let mut row = before.as_ref().clone();
        if let Some((new, t)) = log.stands {
            let stands = match (before.status, before.status_at) {
                (None, _) => true,
                (Some(old), Some(at)) => ranks.stands((new, t), (old, at)),
                // No time is stored: the log's order decides, if the log knows this status at all.
                (Some(old), None) if old == new => true,
                (Some(old), None) => match ranks.of(new).cmp(&ranks.of(old)) {
                    std::cmp::Ordering::Greater => true,
                    std::cmp::Ordering::Equal => log.seen & old.bit() != 0,
                    std::cmp::Ordering::Less => false,
                },
            };
            if stands {
                row.status = Some(new);
                row.status_at = Some(t);
            }
        }
        row.take_evidence(log);
        row.error = before.error_by_log(log);
        row
    }

    fn take_evidence(&mut self, fold: &Fold) {
        for (slot, t) in self.milestones.iter_mut().zip(fold.milestones) {
            earliest(slot, t);
        }
        self.seen |= fold.seen;
    }

    /// Decides the error from the stored row `old` and new events; false if only the log can.
    fn join_error(&mut self, old: &Row, fold: &Fold) -> bool {
        let Some(stored) = &old.error else {
            let carried = fold.first_error(true).or_else(|| {
                let quiet = !fold.has_failure() && !old.has_failure();
                fold.first_error(false).filter(|_| quiet)
            });
            self.error = carried.map(|c| c.error.clone());
            return true;
        };
        if let Some(first) = fold.first_error(true) {
            let failed_at = old.milestones[Milestone::Failed as usize];
            if !old.has_failure() || failed_at.is_some_and(|at| first.at < at) {
                self.error = Some(first.error.clone());
                return true;
            }
            return first.error == *stored;
        }
        if fold.has_failure() {
            // It failed and says nothing: an error that came beside another event goes, one that was
            // written directly stays. Only the log knows which it is.
            return old.has_failure();
        }
        match fold.first_error(false) {
            Some(other) => old.has_failure() || other.error == *stored,
            None => true,
        }
    }

    fn error_by_log(&self, log: &Fold) -> Option<super::Error> {
        // An error that is stored and that no row of the log carries was written directly.
        let direct = self.error.as_ref().filter(|e| !log.carries(e));
        let failed_at = self.milestones[Milestone::Failed as usize];
        let logged_at = log.milestones[Milestone::Failed as usize];
        if let Some(first) = log.first_error(true) {
            let earlier = failed_at.is_some_and(|at| logged_at.is_none_or(|l| at < l));
            return Some(match direct {
                Some(d) if earlier => d.clone(),
                _ => first.error.clone(),
            });
        }
        if direct.is_some() {
            return direct.cloned();
        }
        if log.has_failure() || self.has_failure() {
            return None;
        }
        log.first_error(false).map(|c| c.error.clone())
    }
}
