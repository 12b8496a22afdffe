//! Rules of misbehaviour: which requests they strike, and what then happens.

use crate::endpoints::{Answer, Asked, Kind};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    kind: Option<Kind>,
    account: Option<String>,
    /// A message that is fetched, or that is on a page.
    pub sid: Option<String>,
    /// How many requests it strikes before it is used up.
    times: Option<u64>,
    /// How many requests it spares before.
    after: u64,
    pub delay_ms: u64,
    pub action: Action,
}

/// What a rule does to an answer. All parts can be combined, but there is one way of delivery only (see `delivery`).
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Action {
    pub status: Option<u16>,
    pub headers: BTreeMap<String, Value>,
    pub body: Option<Value>,

    pub drop: bool,
    pub reset: bool,
    pub cut: bool,
    pub hang: bool,
    pub drip_ms: Option<u64>,
    pub huge: Option<u64>,
    pub gzip: bool,
    pub gzip_bomb: Option<u64>,

    pub invalid_json: bool,
    pub empty: bool,

    pub unknown_status: Choice,
    pub null_status: bool,
    pub extra_fields: bool,
    pub missing_fields: Vec<String>,
    pub wrong_sid: Choice,

    pub next_page_uri: Option<String>,
    pub repeat_first_page: bool,
}

/// False, true, or true with a word.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
pub enum Choice {
    Whether(bool),
    Word(String),
}

impl Default for Choice {
    fn default() -> Choice {
        Choice::Whether(false)
    }
}

impl Choice {
    pub fn word<'a>(&'a self, default: &'a str) -> Option<&'a str> {
        match self {
            Choice::Whether(whether) => whether.then_some(default),
            Choice::Word(word) => Some(word),
        }
    }
}

impl Action {
    /// The headers as they go out.
    pub fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let header = |(name, value): (&String, &Value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let name = HeaderName::try_from(name).map_err(|error| format!("header {name}: {error}"))?;
            let value = HeaderValue::try_from(text).map_err(|error| format!("header {name}: {error}"))?;
            Ok((name, value))
        };
        self.headers.iter().map(header).collect()
    }

    /// The status as it goes out. Those below 200 do not end an exchange.
    pub fn status(&self) -> Result<Option<StatusCode>, String> {
        let Some(status) = self.status else { return Ok(None) };
        match StatusCode::from_u16(status) {
            Ok(code) if (200..600).contains(&status) => Ok(Some(code)),
            _ => Err(format!("status {status} is not from 200 to 599")),
        }
    }
}

struct Kept {
    rule: Arc<Rule>,
    seen: u64,
    struck: u64,
}

/// A rule that strikes a request, and its number.
pub struct Strike {
    pub number: usize,
    pub rule: Arc<Rule>,
}

#[derive(Default)]
pub struct Rules(Vec<Kept>);

impl Rules {
    /// Rules in their order, or what is wrong with one.
    pub fn new(rules: Vec<Rule>) -> Result<Rules, String> {
        for rule in &rules {
            rule.action.headers()?;
            rule.action.status()?;
        }
        Ok(Rules(rules.into_iter().map(|rule| Kept { rule: Arc::new(rule), seen: 0, struck: 0 }).collect()))
    }

    /// The first rule that matches, and neither spares the request nor is used up.
    pub fn strike(&mut self, asked: &Asked, answer: &Answer) -> Option<Strike> {
        self.0.iter_mut().enumerate().find_map(|(number, kept)| {
            if kept.rule.times.is_some_and(|times| kept.struck >= times) || !kept.rule.matches(asked, answer) {
                return None;
            }
            kept.seen += 1;
            if kept.seen <= kept.rule.after {
                return None;
            }
            kept.struck += 1;
            Some(Strike { number, rule: kept.rule.clone() })
        })
    }

    pub fn describe(&self) -> Value {
        let rule = |kept: &Kept| json!({ "rule": *kept.rule, "seen": kept.seen, "struck": kept.struck });
        self.0.iter().map(rule).collect()
    }
}

impl Rule {
    fn matches(&self, asked: &Asked, answer: &Answer) -> bool {
        self.kind.is_none_or(|kind| kind == asked.kind)
            && (self.account.is_none() || self.account == asked.account)
            && self.sid.as_ref().is_none_or(|sid| match asked.kind {
                Kind::Fetch => asked.sid.as_ref() == Some(sid),
                Kind::List => answer.shows(sid),
                Kind::Other => false,
            })
    }
}
