//! What came in: statistics, the last requests, and how many are under way.

use crate::endpoints::{Asked, Kind};
use crate::{Simulator, lock};
use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// How many requests are remembered.
const REMEMBERED: usize = 10_000;

/// A request as it is remembered. What is not known yet is null.
#[derive(Clone, Serialize)]
struct Record {
    started_ms: f64,
    finished_ms: Option<f64>,
    /// Whether the whole answer was handed over.
    complete: Option<bool>,
    #[serde(flatten)]
    asked: Asked,
    status: Option<u16>,
    /// The number of the rule of misbehaviour that struck.
    rule: Option<usize>,
}

#[derive(Default)]
struct Gauge {
    now: usize,
    max: usize,
}

pub struct Traffic {
    since: Instant,
    records: VecDeque<Record>,
    /// The number of the first record that is remembered.
    first: u64,
    /// The most requests of one account that are answered at once.
    limit: Option<usize>,
    all: Gauge,
    accounts: BTreeMap<String, Gauge>,
    counts: BTreeMap<&'static str, u64>,
    by_status: BTreeMap<u16, u64>,
    by_account: BTreeMap<String, u64>,
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic {
            since: Instant::now(),
            records: VecDeque::new(),
            first: 0,
            limit: None,
            all: Gauge::default(),
            accounts: BTreeMap::new(),
            counts: BTreeMap::new(),
            by_status: BTreeMap::new(),
            by_account: BTreeMap::new(),
        }
    }
}

impl Traffic {
    pub fn set_limit(&mut self, limit: Option<usize>) {
        self.limit = limit;
    }

    /// Forgets all but what is under way.
    pub fn reset(&mut self) {
        let keep = |gauge: &Gauge| Gauge { now: gauge.now, max: gauge.now };
        *self = Traffic {
            first: self.first + self.records.len() as u64,
            limit: self.limit,
            all: keep(&self.all),
            accounts: self.accounts.iter().map(|(account, gauge)| (account.clone(), keep(gauge))).collect(),
            ..Traffic::default()
        };
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn elapsed_ms(&self) -> f64 {
        self.since.elapsed().as_micros() as f64 / 1000.0
    }

    fn record(&mut self, number: u64) -> Option<&mut Record> {
        self.records.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    pub fn stats(&self, messages: usize) -> Value {
        let count = |what| self.counts.get(what).copied().unwrap_or(0);
        let max: BTreeMap<_, _> = self.accounts.iter().map(|(account, gauge)| (account, gauge.max)).collect();
        json!({
            "requests": count("requests"),
            "fetches": count("fetches"),
            "lists": count("lists"),
            "others": count("others"),
            "unauthorized": count("unauthorized"),
            "throttled": count("throttled"),
            "misbehaved": count("misbehaved"),
            "by_status": self.by_status,
            "by_account": self.by_account,
            "concurrent": self.all.now,
            "max_concurrent": self.all.max,
            "max_concurrent_by_account": max,
            "messages": messages,
        })
    }

    pub fn requests(&self) -> Value {
        json!(self.records)
    }
}

/// A request that is under way, until this is dropped.
pub struct Ticket {
    simulator: Arc<Simulator>,
    pub number: u64,
    account: Option<String>,
    /// How many requests of its account are under way, with this one.
    pub concurrent: usize,
    /// Whether these are more than are allowed.
    pub over_limit: bool,
    finished: bool,
}

impl Ticket {
    pub fn begin(simulator: &Arc<Simulator>, asked: &Asked) -> Ticket {
        let mut traffic = lock(&simulator.traffic);
        let number = traffic.first + traffic.records.len() as u64;
        let record = Record {
            started_ms: traffic.elapsed_ms(),
            finished_ms: None,
            complete: None,
            asked: asked.clone(),
            status: None,
            rule: None,
        };
        traffic.records.push_back(record);
        if traffic.records.len() > REMEMBERED {
            traffic.records.pop_front();
            traffic.first += 1;
        }
        traffic.count("requests");
        traffic.count(match asked.kind {
            Kind::Fetch => "fetches",
            Kind::List => "lists",
            Kind::Other => "others",
        });
        traffic.all.now += 1;
        traffic.all.max = traffic.all.max.max(traffic.all.now);
        let mut concurrent = 1;
        if let Some(account) = &asked.account {
            *traffic.by_account.entry(account.clone()).or_default() += 1;
            let gauge = traffic.accounts.entry(account.clone()).or_default();
            gauge.now += 1;
            gauge.max = gauge.max.max(gauge.now);
            concurrent = gauge.now;
        }
        let over_limit = traffic.limit.is_some_and(|limit| concurrent > limit);
        if over_limit {
            traffic.count("throttled");
        }
        Ticket {
            simulator: simulator.clone(),
            number,
            account: asked.account.clone(),
            concurrent,
            over_limit,
            finished: false,
        }
    }

    pub fn answered(&self, status: u16, rule: Option<usize>) {
        let mut traffic = lock(&self.simulator.traffic);
        *traffic.by_status.entry(status).or_default() += 1;
        if rule.is_some() {
            traffic.count("misbehaved");
        }
        if let Some(record) = traffic.record(self.number) {
            record.status = Some(status);
            record.rule = rule;
        }
    }

    fn finish(&mut self, complete: bool) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let mut traffic = lock(&self.simulator.traffic);
        let finished_ms = traffic.elapsed_ms();
        if let Some(record) = traffic.record(self.number) {
            record.finished_ms = Some(finished_ms);
            record.complete = Some(complete);
        }
        traffic.all.now = traffic.all.now.saturating_sub(1);
        if let Some(gauge) = self.account.as_ref().and_then(|account| traffic.accounts.get_mut(account)) {
            gauge.now = gauge.now.saturating_sub(1);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.finish(false);
    }
}

/// The body of an answer. Its request ends when the last byte is handed over, which is before the client can have it:
/// one that waits for an answer before it asks again never has two requests under way.
pub struct Tracked {
    pub body: Body,
    pub ticket: Ticket,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(frame) = &polled {
            match frame {
                Some(Err(_)) => self.ticket.finish(false),
                Some(Ok(_)) if !self.body.is_end_stream() => {}
                Some(Ok(_)) | None => self.ticket.finish(true),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
