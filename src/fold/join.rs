//! Joining a fold with the row that is stored.

use super::{Carrier, END, Error, Fold, Ranks, Row, Time, earliest};
use crate::status::{MILESTONES, Milestone, Status};

/// What joining some events with a stored row gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Join {
    /// The row as it has to be. Equal to the stored one if nothing changed.
    Row(Row),
    /// The same, once the row is locked, also if it stays equal: the events tell of its status or its error what the row
    /// does not show. Whoever asks the log meanwhile would not find them there, and decide without.
    Locked(Row),
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
            // Infinity stays what it is; the rest is rounded to the nearest, half away from 2000 as PostgreSQL does.
            Hold::Steps(_) if t == Time::MAX || t == Time::MIN => Some(t),
            Hold::Steps(step) => {
                let steps = t.signum() * ((t.abs() + step / 2) / step);
                // What would be rounded beyond the last time that PostgreSQL has is held as the step before.
                Some(if steps * step >= END { steps - 1 } else { steps } * step)
            }
            Hold::Iso => Some(t.clamp(crate::status_map::FIRST, crate::status_map::LAST)),
        }
    }
}

impl Stored {
    /// The row as it comes back from the table, its milestones in order. Errors are cut where they are read.
    pub fn mask(&self, mut row: Row) -> Row {
        row.status_at = row.status_at.and_then(|t| self.status_at.held(t));
        if !self.seen {
            row.seen = 0;
        }
        for (slot, hold) in row.milestones.iter_mut().zip(self.milestones) {
            *slot = slot.and_then(|t| hold.held(t));
        }
        self.put_in_order(&mut row.milestones);
        row.mapped = self.mapped.then(|| Box::new(row.milestones.map(|t| t.and_then(|t| Hold::Iso.held(t)))));
        // Where there is no status yet, the column stays what it is.
        if self.is_final
            && let Some(status) = row.status
        {
            row.is_final = Some(status.is_final());
        }
        row
    }

    /// A later milestone vouches for those before it: they are no later. Events always say so; what is written directly may
    /// not. That columns hold times more or less exactly makes no disorder.
    fn put_in_order(&self, milestones: &mut [Option<Time>; MILESTONES]) {
        let [sent, delivered, read] = [Milestone::Sent, Milestone::Delivered, Milestone::Read].map(|m| m as usize);
        for (earlier, later) in [(delivered, read), (sent, delivered)] {
            if let (Some(a), Some(b)) = (milestones[earlier], milestones[later])
                && self.milestones[later].held(a).is_some_and(|a| b < a)
            {
                milestones[earlier] = self.milestones[earlier].held(b);
            }
        }
    }

    /// A time of an event: no more exact than the status's own, which it will be compared with.
    pub fn round(&self, t: Time) -> Time {
        match self.status_at {
            Hold::Steps(_) => self.status_at.held(t).unwrap_or(t),
            _ => t,
        }
    }

    /// The next later time that the status's column can tell from this one, if there is one.
    pub fn after(&self, t: Time) -> Time {
        let next = t.saturating_add(if let Hold::Steps(step) = self.status_at { step } else { 1 });
        if next < END { next } else { t }
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

/// What the log of a message was found to say of its row: remembered, so that not every one of many callbacks of a message
/// has to ask the log. It stays true while the row has the same error and status, and the log only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// An error, and by which of its events it is known: others may be before that one.
    error: Option<(Error, Carrier)>,
    /// A status, and by which of its events it is known.
    status: Option<(Status, Time)>,
}

impl Told {
    /// What a log says of the row that it makes. Nothing that stays true, where a row of it has no time.
    pub fn of(row: &Row, log: &Fold) -> Told {
        if log.untimed {
            return Told::default();
        }
        Told {
            error: row.error.as_ref().and_then(|error| Some((error.clone(), log.carrier(error)?))),
            status: log.stands.filter(|&(status, _)| row.status == Some(status)),
        }
    }

    /// What is known after new events made `after` of `before`.
    pub fn and_then(self, before: &Row, after: &Row, fold: &Fold) -> Told {
        if fold.untimed {
            return Told::default();
        }
        let first = || fold.first_error().map(|(carrier, error)| (error.clone(), carrier));
        Told {
            error: if before.error == after.error { self.error } else { first() },
            status: if before.status == after.status { self.status } else { fold.stands },
        }
    }
}

impl Row {
    /// Joins events that are new to the row: gives what [`Row::join_log`] would give with them in the log, if the row and
    /// what was `told` before suffice for it.
    pub fn join(&self, fold: &Fold, ranks: &Ranks, stored: &Stored, told: Option<&Told>) -> Join {
        let told = told.filter(|_| !fold.untimed);
        let before = self.united();
        let mut row = before.as_ref().clone();
        if let Some(new) = fold.stands {
            match before.status_by(new, ranks, stored, told) {
                Some(status) => (row.status, row.status_at) = status,
                None => return Join::Undecided,
            }
        }
        row.take_evidence(fold);
        match before.error_by(fold, stored, told) {
            Some(error) => row.error = error.cloned(),
            None => return Join::Undecided,
        }
        if before.conceals(fold, ranks, told) { Join::Locked(row) } else { Join::Row(row) }
    }

    /// Do events tell what the row would not show, and what may yet decide between it and events that are still to come?
    /// The time of a status that another one of its rank could follow, or the time of an error.
    pub fn conceals(&self, fold: &Fold, ranks: &Ranks, told: Option<&Told>) -> bool {
        let status = match (fold.stands, self.status, self.status_at) {
            (Some(new), Some(old), None) => {
                let known = told.and_then(|told| told.status).filter(|&(status, _)| status == old);
                ranks.of(new.0) == ranks.of(old)
                    && Status::ALL.iter().any(|s| *s != old && ranks.of(*s) == ranks.of(old))
                    && known.is_none_or(|known| ranks.stands(new, known))
            }
            _ => false,
        };
        let error = match (fold.first_error(), &self.error) {
            (Some(new), Some(stands)) => {
                let known = told.and_then(|told| told.error.as_ref()).filter(|(error, _)| error == stands);
                known.is_none_or(|(_, known)| new < (*known, stands))
            }
            _ => false,
        };
        status || error
    }

    /// What the row has to be, given everything that the log has of this message. The rule of all rules: `verify` lists
    /// where a row is something else, and whatever writes a row leaves it so.
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
        // An error that is stored and that no row of the log carries was written directly.
        if before.error.as_ref().is_none_or(|error| log.carrier(error).is_some()) {
            row.error = log.first_error().map(|(_, error)| error.clone());
        }
        row
    }

    /// Takes in what events say beside their status and their error.
    pub fn take_evidence(&mut self, fold: &Fold) {
        for (slot, t) in self.milestones.iter_mut().zip(fold.milestones) {
            earliest(slot, t);
        }
        self.seen |= fold.seen;
    }

    /// Status and time after new events, of which `new` stands; `None` if only the log can tell.
    fn status_by(
        &self,
        new: (Status, Time),
        ranks: &Ranks,
        stored: &Stored,
        told: Option<&Told>,
    ) -> Option<(Option<Status>, Option<Time>)> {
        let (taken, kept) = ((Some(new.0), Some(new.1)), (self.status, self.status_at));
        let Some(old) = self.status else { return Some(taken) };
        match (self.status_at, ranks.of(new.0).cmp(&ranks.of(old))) {
            (Some(at), _) => Some(if ranks.stands(new, (old, at)) { taken } else { kept }),
            (None, std::cmp::Ordering::Greater) => Some(taken),
            (None, std::cmp::Ordering::Less) => Some(kept),
            // Said again, and nothing of equal rank was ever said beside it.
            (None, std::cmp::Ordering::Equal) if new.0 == old && stored.seen && self.has_no_rival(old, ranks) => {
                Some(taken)
            }
            (None, std::cmp::Ordering::Equal) => {
                let known = told?.status.filter(|&(status, _)| status == old)?;
                if !ranks.stands(new, known) || new.0 == old && stored.status_at == Hold::Not {
                    return Some(kept);
                }
                self.is_before(old, new.1, stored).then_some(taken)
            }
        }
    }

    fn has_no_rival(&self, status: Status, ranks: &Ranks) -> bool {
        let rival = |s: &Status| *s != status && ranks.of(*s) == ranks.of(status) && self.seen & s.bit() != 0;
        !Status::ALL.iter().any(rival)
    }

    /// Is a time before any event of this status that the row has taken in? Its own milestone tells, where there is one.
    fn is_before(&self, status: Status, t: Time, stored: &Stored) -> bool {
        status.milestones().last().is_some_and(|&m| self.is_before_milestone(m, t, stored))
    }

    fn is_before_milestone(&self, milestone: Milestone, t: Time, stored: &Stored) -> bool {
        let m = milestone as usize;
        // Rounding keeps the order of times, but for making some equal.
        matches!((self.milestones[m], stored.milestones[m].held(t)), (Some(at), Some(t)) if t < at)
    }

    /// The error after new events; `None` if only the log can tell.
    fn error_by<'a>(&'a self, fold: &'a Fold, stored: &Stored, told: Option<&Told>) -> Option<Option<&'a Error>> {
        let (Some(stands), Some((carrier, new))) = (&self.error, fold.first_error()) else {
            return Some(self.error.as_ref().or(fold.first_error().map(|(_, error)| error)));
        };
        let (_, known) = told?.error.as_ref().filter(|(error, _)| error == stands)?;
        if new == stands || (carrier, new) > (*known, stands) {
            return Some(Some(stands));
        }
        let first = !carrier.beside && self.is_before_milestone(Milestone::Failed, carrier.at, stored);
        first.then_some(Some(new))
    }
}
