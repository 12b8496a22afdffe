//! All messages, with an index in the order of lists, so that a page costs the page and not the list.

use crate::clock::Moment;
use crate::filter::Filter;
use crate::message::Message;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

/// Where a message stands in a list: by the second, then by SID so that no two stand at the same place.
type Place = (i64, Arc<str>);

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    Start,
    /// Behind this message.
    After(String),
    /// The page that ends before this message.
    Before(String),
}

/// The messages of a page, and whether there are more on either side.
#[derive(Debug)]
pub struct Found<'a> {
    pub messages: Vec<&'a Message>,
    pub more_before: bool,
    pub more_after: bool,
}

/// The messages of one account. Which of them have been sent depends on the clock, but not when they are.
#[derive(Default)]
struct Index {
    /// By the time of sending, past or to come.
    sent: BTreeSet<Place>,
    /// Those that are never sent, by the time of creation.
    unsent: BTreeSet<Place>,
}

impl Index {
    fn side(&mut self, message: &Message) -> (&mut BTreeSet<Place>, Place) {
        match message.sent() {
            Some(sent) => (&mut self.sent, (sent.second(), message.sid.clone())),
            None => (&mut self.unsent, (message.created.second(), message.sid.clone())),
        }
    }
}

#[derive(Default)]
pub struct Store {
    messages: HashMap<Arc<str>, Message>,
    indexes: HashMap<Arc<str>, Index>,
}

impl Store {
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn clear(&mut self) {
        *self = Store::default();
    }

    /// Adds a message; one of the same SID is forgotten.
    pub fn insert(&mut self, message: Message) {
        self.remove(&message.sid);
        let index = self.indexes.entry(message.account.clone()).or_default();
        let (side, place) = index.side(&message);
        side.insert(place);
        self.messages.insert(message.sid.clone(), message);
    }

    pub fn remove(&mut self, sid: &str) -> bool {
        let Some(message) = self.messages.remove(sid) else { return false };
        if let Some(index) = self.indexes.get_mut(&message.account) {
            let (side, place) = index.side(&message);
            side.remove(&place);
        }
        true
    }

    pub fn get(&self, account: &str, sid: &str) -> Option<&Message> {
        self.messages.get(sid).filter(|message| &*message.account == account)
    }

    /// A message of whatever account.
    pub fn find(&self, sid: &str) -> Option<&Message> {
        self.messages.get(sid)
    }

    /// Some other message of the account.
    pub fn another(&self, account: &str, sid: &str) -> Option<&Message> {
        let index = self.indexes.get(account)?;
        let (_, other) = index.sent.iter().chain(&index.unsent).find(|(_, other)| &**other != sid)?;
        self.messages.get(other)
    }

    /// A page of at most `size` messages, the latest first; None if there is no such message as the cursor's.
    ///
    /// Twilio sorts by date_sent. A message that has not been sent yet stands where it was created; when it is sent it
    /// moves towards the beginning, so that who pages on from it sees some messages twice rather than none.
    pub fn page(&self, account: &str, filter: &Filter, cursor: &Cursor, size: usize, now: Moment) -> Option<Found<'_>> {
        let (ahead, origin) = match cursor {
            Cursor::Start => (true, None),
            Cursor::After(sid) => (true, Some(place(self.get(account, sid)?, now))),
            Cursor::Before(sid) => (false, Some(place(self.get(account, sid)?, now))),
        };
        let from_start = origin.is_none();
        let mut messages: Vec<&Message> = match self.indexes.get(account) {
            Some(index) => self.walk(index, filter, ahead, origin, now).take(size + 1).collect(),
            None => Vec::new(),
        };
        let more = messages.len() > size;
        messages.truncate(size);
        if !ahead {
            messages.reverse();
        }
        // The cursor's own message lies on its other side.
        let (more_before, more_after) = if ahead { (!from_start, more) } else { (more, true) };
        Some(Found { messages, more_before, more_after })
    }

    /// The messages that the filter lets through, from the origin on, which is not among them: ahead is towards older
    /// ones.
    fn walk<'a, 'f>(
        &'a self,
        index: &'a Index,
        filter: &'f Filter,
        ahead: bool,
        origin: Option<Place>,
        now: Moment,
    ) -> impl Iterator<Item = &'a Message> + use<'a, 'f> {
        // What has been sent by now, in the seconds that the filter allows.
        let (first, last) = filter.sent.unwrap_or((i64::MIN, i64::MAX));
        let sent = Stretch::of_seconds(first, last.min(now.second())).cut(ahead, origin.as_ref());
        let has_been_sent = move |(_, sid): &Place| self.messages.get(sid).is_some_and(|m| m.sent_by(now).is_some());
        let mut sources: Vec<Places> = vec![Box::new(sent.walk(&index.sent, ahead).filter(has_been_sent))];
        if filter.sent.is_none() {
            // What will be sent some day, and in the meantime stands where it was created. Sorted anew for each page:
            // few messages are on their way at once.
            let mut waiting: Vec<Place> = Stretch::of_seconds(now.second(), i64::MAX)
                .of(&index.sent)
                .filter_map(|(_, sid)| self.messages.get(sid))
                .filter(|message| message.sent_by(now).is_none())
                .map(|message| place(message, now))
                .filter(|place| origin.as_ref().is_none_or(|o| if ahead { place < o } else { place > o }))
                .collect();
            waiting.sort();
            sources.push(if ahead { Box::new(waiting.into_iter().rev()) } else { Box::new(waiting.into_iter()) });
            sources
                .push(Stretch::of_seconds(i64::MIN, i64::MAX).cut(ahead, origin.as_ref()).walk(&index.unsent, ahead));
        }
        Merged { sources: sources.into_iter().map(Iterator::peekable).collect(), ahead }
            .filter_map(|(_, sid)| self.messages.get(&sid))
            .filter(move |message| filter.passes(message, now))
    }
}

fn place(message: &Message, now: Moment) -> Place {
    (message.sent_by(now).unwrap_or(message.created).second(), message.sid.clone())
}

type Places<'a> = Box<dyn Iterator<Item = Place> + 'a>;

/// A stretch of an index: from one place, up to another which does not belong to it.
struct Stretch {
    from: Bound<Place>,
    to: Bound<Place>,
    empty: bool,
}

impl Stretch {
    /// All of these seconds, with the first and the last.
    fn of_seconds(first: i64, last: i64) -> Stretch {
        let to = last.checked_add(1).map_or(Bound::Unbounded, |next| Bound::Excluded((next, Arc::from(""))));
        Stretch { from: Bound::Included((first, Arc::from(""))), to, empty: first > last }
    }

    /// What of it lies on one side of the origin.
    fn cut(mut self, ahead: bool, origin: Option<&Place>) -> Stretch {
        let Some(origin) = origin else { return self };
        let end = |bound: &Bound<Place>| match bound {
            Bound::Unbounded => None,
            Bound::Included(place) | Bound::Excluded(place) => Some(place.cmp(origin)),
        };
        let begins_below = end(&self.from).is_none_or(|order| order == Ordering::Less);
        let ends_above = end(&self.to).is_none_or(|order| order == Ordering::Greater);
        match (ahead, begins_below, ends_above) {
            (true, false, _) | (false, _, false) => self.empty = true,
            (true, true, true) => self.to = Bound::Excluded(origin.clone()),
            (false, true, true) => self.from = Bound::Excluded(origin.clone()),
            // All of it is on that side.
            (true, true, false) | (false, false, true) => {}
        }
        self
    }

    fn of<'a>(&self, places: &'a BTreeSet<Place>) -> Box<dyn DoubleEndedIterator<Item = &'a Place> + 'a> {
        if self.empty {
            return Box::new(std::iter::empty());
        }
        Box::new(places.range((self.from.clone(), self.to.clone())))
    }

    fn walk<'a>(&self, places: &'a BTreeSet<Place>, ahead: bool) -> Places<'a> {
        let stretch = self.of(places).cloned();
        if ahead { Box::new(stretch.rev()) } else { Box::new(stretch) }
    }
}

/// Several sequences of places as one, each in the same order.
struct Merged<'a> {
    sources: Vec<Peekable<Places<'a>>>,
    ahead: bool,
}

impl Iterator for Merged<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let mut best: Option<(usize, Place)> = None;
        for (number, source) in self.sources.iter_mut().enumerate() {
            let Some(place) = source.peek() else { continue };
            if best.as_ref().is_none_or(|(_, other)| if self.ahead { place > other } else { place < other }) {
                best = Some((number, place.clone()));
            }
        }
        best.and_then(|(number, _)| self.sources.get_mut(number)?.next())
    }
}

#[cfg(test)]
mod tests;
