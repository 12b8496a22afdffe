//! One round: what is asked, what comes back, and what becomes of it. The worker and `poll()` differ in when they commit.

use super::claim::Due;
use super::record::{self, Entry, What};
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
    Returned(String),
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
    pub tally: Tally,
    /// Keep the reports, for who wants to show them.
    keep: bool,
}

impl Round {
    pub fn new(due: Vec<Due>, keep: bool) -> Round {
        let mut by_sid: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, due) in due.iter().enumerate() {
            by_sid.entry(due.sid.clone()).or_default().push(i);
        }
        let outcomes = vec![Outcome::Open; due.len()];
        Round { due, outcomes, by_sid, tally: Tally::default(), keep }
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

    /// Writes down what was said about messages of one table; call within a transaction.
    pub fn record(&mut self, pair: &Pair, schedule: &Schedule, said: &[Said]) -> Result<()> {
        let table = pair.messages.oid;
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: Vec<(usize, Outcome)> = Vec::new();
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
                                entries.push(Entry { key: &self.due[i].key, what: What::Answer(report) });
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
                            Failure::Refused(..) | Failure::NotAsked(_) => What::Returned,
                            _ => What::Failed,
                        };
                        entries.push(Entry { key: &self.due[i].key, what });
                        places.push((i, Outcome::Silent(why.clone())));
                    }
                }
                Said::Stopped { why, unasked, .. } => {
                    for i in unasked.iter().filter_map(|sid| self.open(sid, table)) {
                        if !taken.insert(i) {
                            continue;
                        }
                        entries.push(Entry { key: &self.due[i].key, what: What::Returned });
                        places.push((i, Outcome::Returned(why.to_string())));
                    }
                }
                Said::Clock { .. } | Said::Done(_) => {}
            }
        }
        // A page shows messages that were not asked about: what it says of them is as good.
        let mut more = Vec::new();
        if others.len() > 1 && resolve::finds_sid(&pair.mapping, &pair.messages)? {
            more = record::others(pair, schedule, &others)?;
        }
        entries.extend(more.iter().map(|(key, report)| Entry { key, what: What::Answer(report) }));
        if entries.is_empty() {
            return Ok(());
        }
        let statuses = record::record(pair, &entries)?;
        self.tally.checked += statuses.len() as u64;
        self.tally.changed += statuses.values().filter(|(old, new)| old != new).count() as u64;
        for (i, report) in reports {
            let (old, new) = statuses.get(&self.due[i].key).copied().unwrap_or_default();
            let report = if self.keep { Arc::clone(report) } else { Arc::default() };
            places.push((i, Outcome::Answered { old, new, report }));
        }
        for (i, outcome) in places {
            self.outcomes[i] = outcome;
        }
        Ok(())
    }

    /// The message of this SID in this table that was asked about and not heard of yet.
    fn open(&self, sid: &str, table: Oid) -> Option<usize> {
        let places = self.by_sid.get(sid)?;
        let open = |&&i: &&usize| self.due[i].messages == table && matches!(self.outcomes[i], Outcome::Open);
        places.iter().find(open).copied()
    }

    /// Gives back what nobody said anything about; call within a transaction.
    pub fn give_back(&mut self, pair: &Pair) -> Result<()> {
        let open =
            |(due, outcome): &(&Due, &Outcome)| due.messages == pair.messages.oid && matches!(outcome, Outcome::Open);
        let entries: Vec<Entry> =
            self.results().filter(open).map(|(due, _)| Entry { key: &due.key, what: What::Returned }).collect();
        if !entries.is_empty() {
            record::record(pair, &entries)?;
        }
        Ok(())
    }

    /// Marks messages that are sent for too long; call within a transaction, when all answers are recorded.
    pub fn mark_unknown(&mut self, pair: &Pair, most: i32) -> Result<()> {
        let marked: HashSet<String> = record::mark_unknown(pair, most)?.into_iter().collect();
        self.tally.changed += marked.len() as u64;
        for (due, outcome) in self.due.iter().zip(&mut self.outcomes) {
            if let Outcome::Answered { new, .. } = outcome
                && due.messages == pair.messages.oid
                && marked.contains(&due.key)
            {
                *new = Some(Status::DeliveryUnknown);
            }
        }
        Ok(())
    }

    /// Forgets what was said of messages that were not asked about.
    pub fn only_asked(&self, said: &mut Said) {
        if let Said::Reports { reports, .. } = said {
            reports.retain(|r| r.message.sid.as_ref().is_some_and(|sid| self.by_sid.contains_key(sid)));
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
