//! One round: what is asked, what comes back, and what becomes of it. The worker and `poll()` differ in when they commit.

use super::claim::{Due, Troubles, WISH};
use super::record::{self, Entry, Failures, What};
use super::schedule::Schedule;
use crate::errors::Result;
use crate::gucs;
use crate::pair::{Pair, resolve};
use crate::status::Status;
use crate::twilio::Time;
use crate::twilio::account::Accounts;
use crate::twilio::client::Failure;
use crate::twilio::inquiry::{Asked, Counts, Report, Said};
use crate::twilio::plan::Ask;
use crate::twilio::thread::Inquiry;
use pgrx::pg_sys::Oid;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A round starts no request after this.
pub const LONGEST: Duration = Duration::from_secs(8 * 60);

/// The tables of a round and their schedules.
pub type Pairs = Vec<(Rc<Pair>, Schedule)>;

/// What became of a message that was asked about.
#[derive(Clone, Debug, Default)]
pub enum Outcome {
    #[default]
    Open,
    Answered {
        old: Option<Status>,
        new: Option<Status>,
        report: Arc<Report>,
    },
    Silent(Failure),
    /// It was not asked about after all.
    Returned(Failure),
    /// What was said could not be written down.
    Refused {
        why: String,
        report: Arc<Report>,
    },
}

impl Outcome {
    /// What went wrong, if it did.
    pub fn error(&self) -> Option<String> {
        match self {
            Outcome::Answered { .. } => None,
            Outcome::Silent(why) => Some(why.to_string()),
            Outcome::Returned(why @ Failure::NotAsked(_)) => Some(why.to_string()),
            Outcome::Returned(why) => Some(format!("not asked: {why}")),
            Outcome::Refused { why, .. } => Some(format!("the answer can't be written down: {why}")),
            Outcome::Open => Some("not asked".to_owned()),
        }
    }
}

/// What was written down about messages of one table. It counts once its transaction is committed: see [`Round::apply`].
#[derive(Debug, Default)]
pub struct Written {
    outcomes: Vec<(usize, Outcome)>,
    /// Answers that are in the log now, by log and key.
    told: Vec<(Oid, String)>,
    checked: u64,
    changed: u64,
    /// What rows could not take: their keys, and why.
    pub failures: Failures,
    /// Messages that were asked about and that somebody else holds; nothing was written about them.
    pub held: Vec<usize>,
    /// Messages that became delivery_unknown.
    unknown: HashSet<(Oid, String)>,
}

/// What a round came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub checked: u64,
    pub changed: u64,
    pub errors: u64,
    pub counts: Counts,
    /// The first thing that went wrong.
    pub message: Option<String>,
}

pub struct Round {
    due: Vec<Due>,
    outcomes: Vec<Outcome>,
    /// One SID may be that of messages in several tables.
    by_sid: HashMap<String, Vec<usize>>,
    /// Answers that were written, by log and key: several messages tables may share a log.
    told: HashSet<(Oid, String)>,
    pub tally: Tally,
    /// Keep the reports, for who wants to show them.
    keep: bool,
    /// Until when the messages are taken, where their rows say so.
    taken_until: Option<Time>,
}

impl Round {
    pub fn new(due: Vec<Due>, keep: bool, taken_until: Option<Time>) -> Round {
        let mut by_sid: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, due) in due.iter().enumerate() {
            by_sid.entry(due.sid.clone()).or_default().push(i);
        }
        let outcomes = vec![Outcome::Open; due.len()];
        Round { due, outcomes, by_sid, told: HashSet::new(), tally: Tally::default(), keep, taken_until }
    }

    pub fn results(&self) -> impl Iterator<Item = (&Due, &Outcome)> {
        self.due.iter().zip(&self.outcomes)
    }

    /// What is to be asked. `clocks` are the differences that earlier rounds found.
    pub fn inquiry(&self, accounts: &Accounts, clocks: &HashMap<String, Time>, time: Duration) -> Inquiry {
        let mut asked: BTreeMap<&str, Vec<Ask>> = BTreeMap::new();
        let mut sids: Vec<(&String, &Vec<usize>)> = self.by_sid.iter().collect();
        // In the order in which they are due.
        sids.sort_unstable_by_key(|(_, places)| places.first().copied());
        for (sid, places) in sids {
            let Some(due) = places.first().and_then(|&i| self.due.get(i)) else { continue };
            asked.entry(&due.account).or_default().push(Ask { sid: sid.clone(), sent: due.sent });
        }
        let asked = asked
            .into_iter()
            .filter_map(|(account, asks)| {
                let login = accounts.login(account)?.clone();
                let clock = clocks.get(account).copied();
                Some(Asked { account: account.to_owned(), login, asks, clock })
            })
            .collect();
        Inquiry {
            base_url: gucs::twilio_base_url(),
            timeout: gucs::http_timeout(),
            at_once: gucs::poll_concurrency(),
            delay: gucs::poll_delay(),
            time,
            asked,
        }
    }

    /// Writes down what was said about messages of one table; call within a transaction. It waits for messages that somebody
    /// else holds, or leaves them out.
    pub fn record(&self, pair: &Pair, schedule: &Schedule, said: &[Said], wait: bool) -> Result<Written> {
        let table = pair.messages.oid;
        let mut entries: Vec<Entry> = Vec::new();
        let mut written = Written::default();
        let (mut others, mut reports) = (Vec::new(), HashMap::new());
        // A message may be spoken of twice at once: fetched and on a page, or on two pages. The first word counts.
        let (mut taken, mut shown) = (HashSet::new(), HashSet::new());
        for said in said {
            match said {
                Said::Reports { reports: all, .. } => {
                    for report in all {
                        let sid = report.message.sid.as_deref().unwrap_or_default();
                        match self.open(sid, table) {
                            Some(i) if !taken.insert(i) => {}
                            Some(i) => {
                                entries.push(self.entry(i, self.answer(pair, &self.due[i].key, report)));
                                reports.insert(i, report);
                            }
                            None if shown.insert(sid) => others.push(&**report),
                            None => {}
                        }
                    }
                }
                Said::Silent { sid, why } => {
                    if let Some(i) = self.open(sid, table).filter(|&i| taken.insert(i)) {
                        let what = match why {
                            Failure::NotFound => What::Gone,
                            Failure::Refused(..) | Failure::NotAsked(_) => {
                                What::Returned { wanted: self.due[i].wanted }
                            }
                            _ => What::Failed,
                        };
                        entries.push(self.entry(i, what));
                        written.outcomes.push((i, Outcome::Silent(why.clone())));
                    }
                }
                Said::Stopped { why, unasked, .. } => {
                    for i in unasked.iter().filter_map(|sid| self.open(sid, table)) {
                        if taken.insert(i) {
                            entries.push(self.entry(i, What::Returned { wanted: self.due[i].wanted }));
                            written.outcomes.push((i, Outcome::Returned(why.clone())));
                        }
                    }
                }
                Said::Clock { .. } | Said::Done(_) => {}
            }
        }
        // A page shows messages that were not asked about: what it says of them is as good.
        let mut more = Vec::new();
        if !wait && others.len() > 1 && resolve::finds_sid(&pair.mapping, &pair.messages)? {
            more = record::others(pair, schedule, &others)?;
        }
        entries.extend(more.iter().map(|(key, report)| Entry {
            key,
            what: self.answer(pair, key, report),
            taken_until: None,
        }));
        if entries.is_empty() {
            return Ok(written);
        }
        let became = record::record(pair, &entries, wait)?;
        written.checked = became.statuses.len() as u64;
        written.changed = became.statuses.values().filter(|(old, new)| old != new).count() as u64;
        let is_held = |i: usize| became.held.contains(&self.due[i].key);
        written.held = taken.iter().copied().filter(|&i| is_held(i)).collect();
        written.outcomes.retain(|&(i, _)| !is_held(i));
        reports.retain(|&i, _| !is_held(i));
        for (i, report) in reports {
            let key = &self.due[i].key;
            let report = if self.keep { Arc::clone(report) } else { Arc::default() };
            let outcome = match became.failed.get(key) {
                Some(why) => Outcome::Refused { why: why.clone(), report },
                None => {
                    let (old, new) = became.statuses.get(key).copied().unwrap_or_default();
                    Outcome::Answered { old, new, report }
                }
            };
            written.outcomes.push((i, outcome));
        }
        let answers = entries.iter().filter(|e| matches!(e.what, What::Answer(_)) && !became.held.contains(e.key));
        let told = answers.filter(|e| !became.failed.contains_key(e.key));
        written.told = told.map(|e| (pair.log.oid, e.key.to_owned())).collect();
        written.failures = became.failed.into_iter().collect();
        Ok(written)
    }

    fn entry<'a>(&'a self, i: usize, what: What<'a>) -> Entry<'a> {
        let due = &self.due[i];
        let taken_until = self.taken_until.map(|until| if due.wanted { until + WISH } else { until });
        Entry { key: &due.key, what, taken_until }
    }

    fn answer<'a>(&self, pair: &Pair, key: &str, report: &'a Report) -> What<'a> {
        if self.told.contains(&(pair.log.oid, key.to_owned())) { What::Told(report) } else { What::Answer(report) }
    }

    /// Takes note of what was written, once it is there to stay.
    pub fn apply(&mut self, written: Written) {
        self.tally.checked += written.checked;
        self.tally.changed += written.changed;
        self.tally.errors += written.failures.len() as u64;
        if let Some((key, why)) = written.failures.into_iter().next() {
            self.tally.message.get_or_insert_with(|| format!("{key}: {why}"));
        }
        self.told.extend(written.told);
        for (i, outcome) in written.outcomes {
            self.outcomes[i] = outcome;
        }
        for (due, outcome) in self.due.iter().zip(&mut self.outcomes) {
            if let Outcome::Answered { new, .. } = outcome
                && written.unknown.contains(&(due.messages, due.key.clone()))
            {
                *new = Some(Status::DeliveryUnknown);
            }
        }
    }

    /// The message of this SID in this table that was asked about and not heard of yet.
    fn open(&self, sid: &str, table: Oid) -> Option<usize> {
        let places = self.by_sid.get(sid)?;
        let open = |&&i: &&usize| self.due[i].messages == table && matches!(self.outcomes[i], Outcome::Open);
        places.iter().find(open).copied()
    }

    /// Gives back what nobody said anything about; call within a transaction.
    pub fn give_back(&self, pair: &Pair) -> Result<()> {
        let open = |&i: &usize| self.due[i].messages == pair.messages.oid && matches!(self.outcomes[i], Outcome::Open);
        let returned = |i: usize| self.entry(i, What::Returned { wanted: self.due[i].wanted });
        let entries: Vec<Entry> = (0..self.due.len()).filter(open).map(returned).collect();
        if !entries.is_empty() {
            record::record(pair, &entries, false)?;
        }
        Ok(())
    }

    /// Gives up what was said about messages that somebody else holds.
    pub fn give_up(&mut self, held: &[usize]) {
        for &i in held {
            let why = "another transaction holds the message".to_owned();
            self.tally.errors += 1;
            self.tally.message.get_or_insert_with(|| format!("{}: {why}", self.due[i].sid));
            self.outcomes[i] = Outcome::Refused { why, report: Arc::default() };
        }
    }

    /// Marks messages that are sent for too long; call within a transaction, when all answers are recorded.
    pub fn mark_unknown(pair: &Pair, most: i32) -> Result<Written> {
        let (marked, failures) = record::mark_unknown(pair, most)?;
        let changed = marked.len() as u64;
        let unknown = marked.into_iter().map(|key| (pair.messages.oid, key)).collect();
        Ok(Written { changed, failures, unknown, ..Default::default() })
    }

    /// Forgets what was said of messages that were not asked about.
    pub fn only_asked(&self, said: &mut Said) {
        if let Said::Reports { reports, .. } = said {
            reports.retain(|r| r.message.sid.as_ref().is_some_and(|sid| self.by_sid.contains_key(sid)));
        }
    }

    /// Takes note of tables that could not be asked about.
    pub fn troubled(&mut self, troubles: &Troubles) {
        self.tally.errors += troubles.0.len() as u64;
        if let Some(first) = troubles.0.first() {
            self.tally.message.get_or_insert_with(|| first.clone());
        }
    }

    /// Takes note of what concerns no single message.
    pub fn note(&mut self, said: &Said) {
        match said {
            Said::Silent { why, .. } => {
                self.tally.errors += 1;
                self.tally.message.get_or_insert_with(|| why.to_string());
            }
            Said::Stopped { account, why, .. } => {
                self.tally.errors += 1;
                let text = format!("account {account}: {why}");
                match why {
                    Failure::Refused(..) => self.tally.message = Some(text),
                    _ => {
                        self.tally.message.get_or_insert(text);
                    }
                }
            }
            Said::Done(counts) => self.tally.counts = *counts,
            Said::Reports { .. } | Said::Clock { .. } => {}
        }
    }
}
