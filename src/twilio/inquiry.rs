//! Everything that is asked in one round: of several accounts at once, each by lists and fetches.

use super::account::Login;
use super::client::{Answer, Client, Failure};
use super::message::{Message, Page};
use super::pace::Pace;
use super::plan::{Ask, PAGE, Shown, Step, Walk};
use super::{Time, now};
use backon::{BackoffBuilder, ExponentialBuilder};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{SemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

/// Twilio asks for exponential backoff with jitter on 429, from 100 ms on (Twilio, "Best practices", error 20429).
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A server that wants to be left alone for longer is asked again in another round.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Requests in a row that failed for good, after which an account is left alone for the round.
const ENOUGH_FAILURES: u32 = 5;

/// What one account is asked.
#[derive(Debug)]
pub struct Asked {
    pub account: String,
    pub login: Login,
    pub asks: Vec<Ask>,
    /// By how much Twilio's clock is ahead of ours, if it is known.
    pub clock: Option<Time>,
}

/// What is said about a message, and when it came to that at the latest, by our clock.
#[derive(Debug, Default)]
pub struct Report {
    pub message: Message,
    pub changed_at: Option<Time>,
}

/// What comes of it, in any order, [`Said::Done`] last.
#[derive(Debug)]
pub enum Said {
    /// Answers about single messages or a page of them, among which those asked about may be a few.
    Reports {
        account: String,
        reports: Vec<Arc<Report>>,
    },
    /// A message was asked about in vain.
    Silent {
        sid: String,
        why: Failure,
    },
    /// An account was not asked to the end: its credentials were refused, or it failed again and again.
    Stopped {
        account: String,
        why: Failure,
        unasked: Vec<String>,
    },
    /// By how much the clock of those who answer for an account is ahead of ours, in microseconds.
    Clock {
        account: String,
        ahead: Time,
    },
    Done(Counts),
}

/// What a round cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub requests: u64,
    pub throttled: u64,
}

/// The conversation with one account.
struct Line<'a> {
    account: &'a str,
    login: &'a Login,
    client: &'a Client,
    pace: &'a Pace,
    counts: &'a Cell<Counts>,
    out: &'a mpsc::Sender<Said>,
    clock: Cell<Option<Time>>,
    /// After 429 nobody asks before.
    quiet_until: Cell<Instant>,
    deadline: Instant,
    failures: Cell<u32>,
    stopped: RefCell<Option<Failure>>,
}

/// Asks all accounts at once. It ends early when nobody listens any more, and starts no request after the deadline.
pub async fn run(client: &Client, pace: &Pace, asked: Vec<Asked>, deadline: Instant, out: mpsc::Sender<Said>) {
    let counts = Cell::new(Counts::default());
    let lines = asked.into_iter().map(|asked| account(client, pace, asked, deadline, &counts, &out));
    futures_util::future::join_all(lines).await;
    // Nobody is left to tell if this fails.
    let _ = out.send(Said::Done(counts.get())).await;
}

/// Says of all of it that nobody can be asked.
pub async fn decline(asked: Vec<Asked>, why: &str, out: &mpsc::Sender<Said>) {
    for Asked { account, asks, .. } in asked {
        let unasked = asks.into_iter().map(|ask| ask.sid).collect();
        // Nobody is left to tell if this fails.
        let _ = out.send(Said::Stopped { account, why: Failure::NotAsked(why.to_owned()), unasked }).await;
    }
    let _ = out.send(Said::Done(Counts::default())).await;
}

async fn account(
    client: &Client,
    pace: &Pace,
    asked: Asked,
    deadline: Instant,
    counts: &Cell<Counts>,
    out: &mpsc::Sender<Said>,
) {
    let line = Line {
        account: &asked.account,
        login: &asked.login,
        client,
        pace,
        counts,
        out,
        clock: Cell::new(asked.clock),
        quiet_until: Cell::new(Instant::now()),
        deadline,
        failures: Cell::new(0),
        stopped: RefCell::new(None),
    };
    let mut asks = asked.asks;
    // A window of a list is in Twilio's time, which the first answer tells. It also tells whether the credentials work.
    if line.clock.get().is_none() && asks.len() > 1 {
        let first = asks.remove(0);
        line.fetch(first.sid).await;
    }
    let walks = Walk::split(asks, pace.at_once());
    let mut alone = VecDeque::new();
    for sids in futures_util::future::join_all(walks.into_iter().map(|walk| line.walk(walk))).await {
        alone.extend(sids);
    }
    let queue = RefCell::new(alone);
    let next = || queue.borrow_mut().pop_front();
    futures_util::future::join_all((0..pace.at_once()).map(|_| async {
        while line.goes_on()
            && let Some(sid) = next()
        {
            line.fetch(sid).await;
        }
    }))
    .await;
    if let Some(ahead) = line.clock.get() {
        line.say(Said::Clock { account: asked.account.clone(), ahead }).await;
    }
    let why = line.stopped.borrow_mut().take();
    if let Some(why) = why {
        let unasked = queue.into_inner().into();
        line.say(Said::Stopped { account: asked.account.clone(), why, unasked }).await;
    }
}

impl Line<'_> {
    fn goes_on(&self) -> bool {
        if Instant::now() >= self.deadline {
            self.stop(Failure::NotAsked("the time for this round is over".to_owned()));
        }
        self.stopped.borrow().is_none()
    }

    fn stop(&self, why: Failure) {
        self.stopped.borrow_mut().get_or_insert(why);
    }

    async fn say(&self, said: Said) {
        if self.out.send(said).await.is_err() {
            self.stop(Failure::NotAsked("nobody waits for the answer".to_owned()));
        }
    }

    /// Lists where that is worth it; gives what is left to fetch.
    async fn walk(&self, mut walk: Walk) -> Vec<String> {
        let mut alone = Vec::new();
        while self.goes_on() {
            let clock = self.clock.get().unwrap_or(0);
            let page = match walk.step() {
                Step::Done => return alone,
                Step::Fetch(sid) => {
                    alone.push(sid);
                    continue;
                }
                Step::List { oldest, latest } => {
                    let list = || self.client.list(self.login, self.account, oldest + clock, latest + clock, PAGE);
                    self.ask(list).await
                }
                Step::Next(uri) => self.ask(|| self.client.next(self.login, self.account, &uri)).await,
            };
            match page {
                Ok(page) => self.page(&mut walk, page).await,
                // What can't be listed may still be fetched.
                Err(_) => walk.no_list(),
            }
        }
        alone.extend(walk.abandon());
        alone
    }

    async fn page(&self, walk: &mut Walk, page: Page) {
        let clock = self.clock.get().unwrap_or(0);
        let messages: Vec<Message> =
            page.messages.into_iter().filter(|m| m.sid.is_some() && m.status.is_some()).collect();
        let sids: Vec<&str> = messages.iter().filter_map(|m| m.sid.as_deref()).collect();
        let sent = || messages.iter().filter_map(|m| m.date_sent).map(|at| at - clock);
        let sent = sent().max().zip(sent().min());
        walk.shown(&Shown { sids: &sids, sent, next: page.next_page_uri });
        let reports = messages.into_iter().map(|m| self.report(m)).collect();
        self.say(Said::Reports { account: self.account.to_owned(), reports }).await;
    }

    async fn fetch(&self, sid: String) {
        match self.ask(|| self.client.fetch(self.login, self.account, &sid)).await {
            Ok(message) => {
                let reports = vec![self.report(Message { sid: Some(sid), ..message })];
                self.say(Said::Reports { account: self.account.to_owned(), reports }).await;
            }
            Err(why) => {
                // What answers so again and again is not Twilio, or not as we know it.
                if let Failure::Unexpected(..) | Failure::Malformed(_) = why {
                    self.failed_for_good(&why);
                }
                self.say(Said::Silent { sid, why }).await;
            }
        }
    }

    fn failed_for_good(&self, why: &Failure) {
        self.failures.set(self.failures.get() + 1);
        if self.failures.get() >= ENOUGH_FAILURES {
            self.stop(why.clone());
        }
    }

    /// Twilio's times by our clock. A message did not change after we were told of it.
    fn report(&self, message: Message) -> Arc<Report> {
        let here = |at: Time| Some(at.checked_sub(self.clock.get()?)?.min(now()));
        Arc::new(Report { changed_at: message.changed_at().and_then(here), message })
    }

    /// Makes a request when it is its turn, and again if that may help.
    async fn ask<T, F: Future<Output = Result<Answer<T>, Failure>>>(
        &self,
        request: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let backoff =
            ExponentialBuilder::default().with_min_delay(FIRST_WAIT).with_max_delay(LONGEST_WAIT).with_jitter();
        let mut waits = backoff.with_max_times(4).build();
        let mut tries = 0;
        loop {
            let permit = self.turn().await;
            if !self.goes_on() {
                let why = self.stopped.borrow().as_ref().map_or_else(String::new, Failure::to_string);
                return Err(Failure::NotAsked(why));
            }
            self.count(|c| c.requests += 1);
            let answer = request().await;
            drop(permit);
            tries += 1;
            let why = match answer {
                Ok(answer) => {
                    if answer.clock.is_some() {
                        self.clock.set(answer.clock);
                    }
                    self.failures.set(0);
                    return Ok(answer.value);
                }
                Err(why) => why,
            };
            if let Failure::Throttled(_) = why {
                self.count(|c| c.throttled += 1);
            }
            if let Failure::Refused(..) = why {
                self.stop(why.clone());
            }
            if !why.is_passing() {
                return Err(why);
            }
            // Too many at once is Twilio's way to say "later"; trouble that does not pass is not worth as many tries.
            let most = if let Failure::Throttled(_) = why { 5 } else { 3 };
            let asked = why.retry_after().unwrap_or_default();
            match waits.next().filter(|_| tries < most && asked <= LONGEST_RETRY_AFTER) {
                Some(wait) if why.retry_after().is_some() || matches!(why, Failure::Throttled(_)) => {
                    self.quiet_until.set(self.quiet_until.get().max(Instant::now() + wait.max(asked)));
                }
                Some(wait) => sleep(wait).await,
                None => {
                    self.failed_for_good(&why);
                    if asked > LONGEST_RETRY_AFTER {
                        self.stop(why.clone());
                    }
                    return Err(why);
                }
            }
        }
    }

    /// Waits for a turn that comes when nobody has asked for quiet, or when the time of the round is over.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        loop {
            let quiet_until = self.quiet_until.get().min(self.deadline);
            sleep_until(quiet_until).await;
            let permit = self.pace.turn().await;
            // While others had their turn, Twilio may have asked for it.
            if self.quiet_until.get().min(self.deadline) <= Instant::now() {
                return permit;
            }
        }
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}
