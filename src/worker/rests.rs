//! Accounts that refused us, and what was said about them.

use crate::gucs;
use crate::twilio::client::Failure;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long an account is left alone that failed again and again, and that asked to be left alone for longer.
const A_LITTLE: Duration = Duration::from_secs(10);
const AT_MOST: Duration = Duration::from_secs(3600);

/// Things to remember that were said; a trigger may refuse each row in words of its own.
const MOST_SAID: usize = 1000;

/// Accounts that are left alone until a time. What is wrong is said once, until it is right again.
#[derive(Default)]
pub struct Rests {
    until: HashMap<String, Instant>,
    said: HashMap<String, String>,
    /// The round asks with credentials that may be none any more.
    is_outdated: bool,
}

impl Rests {
    /// The accounts to leave alone now.
    pub fn resting(&self) -> Vec<String> {
        let now = Instant::now();
        self.until.iter().filter(|(_, until)| **until > now).map(|(account, _)| account.clone()).collect()
    }

    /// A round begins, with the credentials as they are.
    pub fn round_begins(&mut self) {
        self.is_outdated = false;
    }

    /// Leaves an account alone: as long as the setting says if it refused us, as long as it asked for, or a little.
    pub fn rest(&mut self, account: &str, why: &Failure) {
        let wait = match why {
            // That the old credentials were refused says nothing of the new ones.
            Failure::Refused(..) if self.is_outdated => return,
            Failure::Refused(..) => gucs::auth_retry(),
            Failure::NotAsked(_) => {
                return self.say(&format!("account {account}"), &format!("account {account}: {why}"));
            }
            _ => why.retry_after().unwrap_or_default().clamp(A_LITTLE, AT_MOST),
        };
        self.until.insert(account.to_owned(), Instant::now() + wait);
        self.say(
            &format!("account {account}"),
            &format!("account {account}: {why}; it is asked again every {} seconds, the others go on", wait.as_secs()),
        );
    }

    pub fn answered(&mut self, account: &str) {
        self.until.remove(account);
        self.silence(&format!("account {account}"));
    }

    /// The settings, and with them perhaps the credentials, are others now.
    pub fn forget(&mut self) {
        self.until.clear();
        self.said.clear();
        self.is_outdated = true;
    }

    /// Warns about something, unless that is what was said about it last.
    pub fn say(&mut self, about: &str, what: &str) {
        if self.said.get(about).is_none_or(|said| said != what) {
            self.said.insert(about.to_owned(), what.to_owned());
            pgrx::warning!("msgstatus worker: {what}");
        }
    }

    /// Warns about several things of a kind, as [`Rests::say`] does; those of which nothing is said any more are right again.
    pub fn say_all(&mut self, about: &str, what: &[String]) {
        let mark = format!("{about}: ");
        self.said.retain(|known, said| !known.starts_with(&mark) || what.contains(said));
        for what in what {
            self.say(&format!("{mark}{what}"), what);
        }
    }

    /// Warns about something, unless something was said about it before.
    pub fn say_once(&mut self, about: &str, what: &str) {
        if !self.said.contains_key(about) && self.said.len() < MOST_SAID {
            self.say(about, what);
        }
    }

    /// It is right again: if it goes wrong once more, that is worth saying.
    pub fn silence(&mut self, about: &str) {
        self.said.remove(about);
    }
}
