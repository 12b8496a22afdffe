//! Whether to fetch messages one by one or to list them: whichever needs fewer requests.
//!
//! Twilio's list can't be asked for SIDs, only for the time at which messages were sent, and gives up to 1000 of them on a
//! page, the latest first. How many messages an account sends nobody tells; but every page shows how much time it covers.
//! So a [`Walk`] goes through its messages from the latest to the earliest, and asks for a page where it expects several of
//! them on it, going by the pages before. What a page should have shown and did not is fetched.

use super::Time;

/// Messages on a page (Twilio's OpenAPI, PageSize: at most 1000).
pub const PAGE: usize = 1000;

/// A page is some thousand times larger than an answer about one message: it has to replace this many.
const WORTH: usize = 3;

/// With fewer messages left than this, nothing is listed just to see how much time a page covers.
const ENOUGH: usize = 10;

/// After so many fetches in a row it may be another hour of the day: a page may cover more time now.
const LOOK_AGAIN: usize = 25;

/// Pages in a row that show none of our messages, after which no more are asked for.
const PATIENCE: usize = 3;

/// A message to ask about, and when it was sent at the earliest and latest, by our clock, if that is known.
#[derive(Clone, Debug)]
pub struct Ask {
    pub sid: String,
    pub sent: Option<(Time, Time)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A page should have shown it, or nobody knows when it was sent: only a fetch helps.
    Alone,
    Taken,
}

/// What to ask for next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Fetch(String),
    /// The first page of what was sent in this time, by our clock.
    List {
        oldest: Time,
        latest: Time,
    },
    /// The page that follows the last one.
    Next(String),
    Done,
}

/// What a page showed.
pub struct Shown<'a> {
    /// The SIDs, and when the first and the last of them were sent, by our clock.
    pub sids: &'a [&'a str],
    pub sent: Option<(Time, Time)>,
    pub next: Option<String>,
}

/// The way through the messages of one account, or a part of them.
pub struct Walk {
    /// The latest first.
    asks: Vec<(Ask, State)>,
    position: usize,
    /// How much time the last full page covered.
    span: Option<Time>,
    /// The page after the last one, and where it begins.
    next: Option<(String, Time)>,
    /// The time that the last page was asked for.
    window: Option<(Time, Time)>,
    fetches: usize,
    in_vain: usize,
}

impl Walk {
    pub fn new(asks: Vec<Ask>) -> Walk {
        let mut asks: Vec<_> = asks
            .into_iter()
            .map(|ask| {
                let state = if ask.sent.is_some() { State::Open } else { State::Alone };
                (ask, state)
            })
            .collect();
        asks.sort_by_key(|(ask, _)| std::cmp::Reverse(ask.sent.map(|s| s.1)));
        Walk { asks, position: 0, span: None, next: None, window: None, fetches: 0, in_vain: 0 }
    }

    /// The messages in as many walks of their own, each through a part of the time, but none through only a few.
    pub fn split(mut asks: Vec<Ask>, most: usize) -> Vec<Walk> {
        asks.sort_by_key(|ask| std::cmp::Reverse(ask.sent.map(|s| s.1)));
        let parts = (asks.len() / (2 * LOOK_AGAIN)).clamp(1, most.max(1));
        let size = asks.len().div_ceil(parts).max(1);
        asks.chunks(size).map(|part| Walk::new(part.to_vec())).collect()
    }

    /// Takes every message that nothing was asked about yet.
    pub fn abandon(&mut self) -> Vec<String> {
        let open = self.asks.iter_mut().filter(|(_, state)| *state != State::Taken);
        open.map(|(ask, state)| {
            *state = State::Taken;
            ask.sid.clone()
        })
        .collect()
    }

    pub fn step(&mut self) -> Step {
        while self.asks.get(self.position).is_some_and(|(_, state)| *state == State::Taken) {
            self.position += 1;
        }
        let Some((ask, state)) = self.asks.get_mut(self.position) else { return Step::Done };
        if let (State::Open, Some((_, latest))) = (*state, ask.sent)
            && self.in_vain < PATIENCE
            && self.is_page_worth_it(latest)
        {
            self.fetches = 0;
            if let Some((next, begins)) = self.next.take()
                && latest >= begins.saturating_sub(self.span.unwrap_or(0) / 10)
            {
                return Step::Next(next);
            }
            let open = self.asks[self.position..].iter().filter(|(_, state)| *state == State::Open);
            let oldest = open.filter_map(|(ask, _)| ask.sent.map(|s| s.0)).min().unwrap_or(latest);
            self.window = Some((oldest, latest));
            return Step::List { oldest, latest };
        }
        let (ask, state) = &mut self.asks[self.position];
        *state = State::Taken;
        self.fetches += 1;
        Step::Fetch(ask.sid.clone())
    }

    /// Would a page that begins here show enough of what is left?
    fn is_page_worth_it(&self, begin: Time) -> bool {
        let open = self.asks[self.position..].iter().filter(|(_, state)| *state == State::Open);
        match self.span {
            Some(span) if self.fetches < LOOK_AGAIN => {
                let end = begin.saturating_sub(span);
                open.take(WORTH).filter(|(ask, _)| ask.sent.is_some_and(|s| s.1 > end)).count() == WORTH
            }
            // The page is not lost: it shows the message that it begins with.
            _ => open.take(ENOUGH).count() == ENOUGH,
        }
    }

    /// Takes in what a page showed. Gives how many of the messages were on it.
    pub fn shown(&mut self, page: &Shown) -> usize {
        let mut sids: Vec<&str> = page.sids.to_vec();
        sids.sort_unstable();
        let mut found = 0;
        for (ask, state) in &mut self.asks[self.position..] {
            if *state != State::Taken && sids.binary_search(&ask.sid.as_str()).is_ok() {
                *state = State::Taken;
                found += 1;
            }
        }
        let (oldest, latest) = self.window.unwrap_or((Time::MAX, Time::MIN));
        // Without a page that follows, the whole window was shown.
        let shown_from = match (&page.next, page.sent) {
            (Some(_), Some((_, last))) => last,
            (Some(_), None) => latest,
            (None, _) => oldest,
        };
        for (ask, state) in &mut self.asks[self.position..] {
            if *state == State::Open && ask.sent.is_some_and(|s| s.0 >= shown_from && s.1 <= latest) {
                *state = State::Alone;
            }
        }
        self.next = None;
        if let (Some(next), Some((first, last))) = (&page.next, page.sent) {
            self.span = Some(first.saturating_sub(last).max(1));
            self.next = Some((next.clone(), last));
        } else {
            // A page that is not full says how little there is.
            self.span = Some(latest.saturating_sub(oldest).max(1));
        }
        self.in_vain = if found == 0 { self.in_vain + 1 } else { 0 };
        found
    }

    /// The list can't be had: the rest is fetched.
    pub fn no_list(&mut self) {
        self.in_vain = PATIENCE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Time = 1_000_000;
    const DAY: Time = 86_400 * SECOND;

    /// An account that sent messages evenly, and the requests that a walk through some of them takes.
    struct Account {
        sent: Vec<Time>,
    }

    fn sid(i: usize) -> String {
        format!("SM{i:032x}")
    }

    impl Account {
        fn even(count: usize, time: Time) -> Account {
            let step = time / count as Time;
            Account { sent: (0..count as Time).map(|i| i * step).collect() }
        }

        fn ask(&self, i: usize) -> Ask {
            Ask { sid: sid(i), sent: Some((self.sent[i] - 5 * SECOND, self.sent[i] + 60 * SECOND)) }
        }

        /// Requests, and how many messages were asked about.
        fn walk(&self, mut walk: Walk, hidden: impl Fn(usize) -> bool) -> (usize, usize) {
            let (mut requests, mut asked, mut window) = (0, 0, 0);
            loop {
                let upto = match walk.step() {
                    Step::Done => return (requests, asked),
                    Step::Fetch(_) => {
                        requests += 1;
                        asked += 1;
                        continue;
                    }
                    Step::List { oldest, latest } => {
                        window = self.sent.partition_point(|&t| t < oldest);
                        self.sent.partition_point(|&t| t <= latest)
                    }
                    Step::Next(upto) => upto.parse().unwrap_or(0),
                };
                requests += 1;
                let from = upto.saturating_sub(PAGE).max(window);
                let sids: Vec<String> = (from..upto).filter(|&i| !hidden(i)).map(sid).collect();
                let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
                let sent = (from < upto).then(|| (self.sent[upto - 1], self.sent[from]));
                let next = (from > window).then(|| from.to_string());
                asked += walk.shown(&Shown { sids: &sids, sent, next });
            }
        }
    }

    #[test]
    fn after_an_outage_everything_is_listed() {
        let account = Account::even(200_000, DAY);
        let stuck: Vec<Ask> = (0..200_000).step_by(20).map(|i| account.ask(i)).collect();
        let (requests, asked) = account.walk(Walk::new(stuck), |_| false);
        assert_eq!(asked, 10_000);
        assert!((200..=204).contains(&requests), "{requests}");
    }

    #[test]
    fn a_round_of_an_outage_is_listed_too_where_that_is_cheaper() {
        let account = Account::even(200_000, DAY);
        let round: Vec<Ask> = (0..200_000).step_by(250).map(|i| account.ask(i)).collect();
        let (requests, asked) = account.walk(Walk::new(round), |_| false);
        assert_eq!(asked, 800);
        assert!(requests <= 300, "{requests}");
    }

    #[test]
    fn a_few_old_ones_are_fetched() {
        let account = Account::even(6_000_000, 30 * DAY);
        let old: Vec<Ask> = (0..50).map(|i| account.ask(i * 120_000 + 77)).collect();
        let (requests, asked) = account.walk(Walk::new(old), |_| false);
        assert_eq!((requests, asked), (50, 50));
    }

    #[test]
    fn a_quiet_account_is_listed_on_one_page() {
        let account = Account::even(900, 3 * DAY);
        let stuck: Vec<Ask> = (0..900).step_by(30).map(|i| account.ask(i)).collect();
        assert_eq!(account.walk(Walk::new(stuck), |_| false), (1, 30));
    }

    #[test]
    fn what_the_list_does_not_show_is_fetched() {
        let account = Account::even(200_000, DAY);
        let stuck: Vec<Ask> = (0..200_000).step_by(20).map(|i| account.ask(i)).collect();
        let (requests, asked) = account.walk(Walk::new(stuck), |i| i % 200 == 0);
        assert_eq!(asked, 10_000);
        assert!((1200..=1210).contains(&requests), "{requests}");
    }

    #[test]
    fn a_list_that_shows_none_of_ours_is_given_up() {
        let account = Account::even(200_000, DAY);
        let stuck: Vec<Ask> = (0..200_000).step_by(2000).map(|i| account.ask(i)).collect();
        let (requests, asked) = account.walk(Walk::new(stuck), |_| true);
        assert_eq!(asked, 100);
        assert!(requests <= 100 + PATIENCE, "{requests}");
    }

    #[test]
    fn a_list_that_repeats_itself_is_given_up() {
        let account = Account::even(200_000, DAY);
        let asks: Vec<Ask> = (150_000..160_000).step_by(10).map(|i| account.ask(i)).collect();
        let mut walk = Walk::new(asks);
        let sids: Vec<String> = (159_000..160_000).map(sid).collect();
        let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
        let (mut pages, mut fetches) = (0, 0);
        loop {
            match walk.step() {
                Step::Done => break,
                Step::Fetch(_) => fetches += 1,
                _ => {
                    pages += 1;
                    let sent = Some((account.sent[159_999], account.sent[159_000]));
                    walk.shown(&Shown { sids: &sids, sent, next: Some("same".to_owned()) });
                }
            }
        }
        assert_eq!((pages, fetches), (1 + PATIENCE, 900));
    }

    #[test]
    fn messages_without_a_time_are_fetched() {
        let asks = (0..100).map(|i| Ask { sid: sid(i), sent: None }).collect();
        let account = Account::even(10, DAY);
        assert_eq!(account.walk(Walk::new(asks), |_| false), (100, 100));
    }

    #[test]
    fn a_walk_is_split_and_loses_nothing() {
        let account = Account::even(1000, DAY);
        let asks: Vec<Ask> = (0..1000).map(|i| account.ask(i)).collect();
        let walks = Walk::split(asks, 4);
        assert_eq!(walks.len(), 4);
        let asked: usize = walks.into_iter().map(|walk| account.walk(walk, |_| false).1).sum();
        assert_eq!(asked, 1000);
        assert_eq!(Walk::split(Vec::new(), 4).len(), 0);
        assert_eq!(Walk::split((0..30).map(|i| account.ask(i)).collect(), 4).len(), 1);
    }
}
