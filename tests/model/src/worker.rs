//! Random work: who writes what, in which order.

use crate::random::{Kind, chance, one};
use crate::schema::Schema;
use crate::time::{AFTER_ALL, BEFORE_ALL, BEFORE_CHRIST, LAST, Time};
use crate::words::{self, PROVIDERS, Status};
use crate::work::{Callback, Ddl, How, Key, NewMessage, Op, Set};
use fastrand::Rng;

/// What the generator of work keeps in mind.
pub struct Worker<'a> {
    pub rng: &'a mut Rng,
    pub kind: Kind,
    pub keys: u8,
    pub provider: String,
    next_id: i32,
    /// How many savepoints are open; None outside of a transaction.
    depth: Option<usize>,
}

impl<'a> Worker<'a> {
    pub fn new(rng: &'a mut Rng, kind: Kind, schema: &Schema) -> Worker<'a> {
        let keys = rng.u8(2..9);
        Worker { rng, kind, keys, provider: schema.provider.clone(), next_id: 0, depth: None }
    }

    pub fn key(&mut self) -> Key {
        Key { n: self.rng.u8(1..=self.keys), other: chance(self.rng, 20) }
    }

    /// Few distinct times with sub-second parts, so that there are ties and roundings.
    pub fn time(&mut self) -> Time {
        if self.kind == Kind::Times && chance(self.rng, 40) || self.kind == Kind::Mixed && chance(self.rng, 1) {
            return one(self.rng, &[BEFORE_ALL, AFTER_ALL, BEFORE_CHRIST, LAST]);
        }
        let part = one(self.rng, &[0, 0, 3, 6, 8]);
        Time::tenths(self.rng.i64(0..8) * if self.rng.bool() { 10 } else { 100 } + part)
    }

    fn code(&mut self) -> Option<String> {
        let code = one(self.rng, &["30003", "30007", "30008", "21610", "63016", ""]);
        chance(self.rng, 50).then(|| code.to_owned())
    }

    fn message(&mut self) -> Option<String> {
        let message = one(self.rng, &["unreachable", "unreachab", "blocked", "gone", ""]);
        chance(self.rng, 30).then(|| message.to_owned())
    }

    pub fn callback(&mut self) -> Callback {
        let provider = if chance(self.rng, 70) { self.provider.clone() } else { one(self.rng, &PROVIDERS).to_owned() };
        let event_at = chance(self.rng, 90).then(|| self.time());
        // One of the two there always is, where the log has both: else an event's time is that of its transaction, and
        // we had to look before each one is over.
        let created_at = (event_at.is_none() || chance(self.rng, 97)).then(|| match event_at {
            Some(t) if t.is_finite() && t != LAST && chance(self.rng, 70) => Time(t.0 + self.rng.i64(0..50) * 100_000),
            _ => self.time(),
        });
        let mut c = Callback {
            key: Some(self.key()).filter(|_| chance(self.rng, 98)),
            word: Some(words::random(self.rng, &provider)).filter(|_| chance(self.rng, 98)),
            provider: Some(provider).filter(|_| chance(self.rng, 85)),
            event_at,
            created_at,
            code: self.code(),
            message: self.message(),
            poll: chance(self.rng, 15),
        };
        match self.kind {
            Kind::Errors => {
                c.word =
                    Some(one(self.rng, &["delivered", "failed", "undelivered", "failed", "sent", "read"]).to_owned());
                let failing = c.word.as_deref().is_some_and(|w| w == "failed" || w == "undelivered");
                c.provider = Some("twilio".to_owned());
                c.code = failing.then(|| one(self.rng, &["30003", "30007", "30008"]).to_owned());
                c.message = None;
                c.event_at = Some(self.time());
            }
            Kind::Direct => {
                c.word = Some(words::outbound(self.rng).label().to_owned());
                c.provider = Some("twilio".to_owned());
                if c.word.as_deref().is_some_and(|w| w == "failed" || w == "undelivered") {
                    c.code = Some(one(self.rng, &["30003", "30008"]).to_owned());
                }
            }
            Kind::Sessions | Kind::Moves => c.event_at = c.event_at.or(c.created_at).or(Some(Time::tenths(7))),
            Kind::Precision => {
                c.word = Some(one(self.rng, &["failed", "undelivered", "sent"]).to_owned());
                c.provider = Some("twilio".to_owned());
                let failing = c.word.as_deref() != Some("sent");
                c.code = failing.then(|| one(self.rng, &["30003", "30008"]).to_owned());
                c.message = None;
                c.event_at = Some(Time::tenths(10 + one(self.rng, &[0, 3, 6, 8])));
            }
            _ => {}
        }
        c
    }

    pub fn callbacks(&mut self, most: usize) -> Vec<Callback> {
        let n = if self.rng.bool() { 1 } else { self.rng.usize(1..=most) };
        (0..n).map(|_| self.callback()).collect()
    }

    pub fn set(&mut self) -> Set {
        let time = Some(self.time()).filter(|_| chance(self.rng, 85));
        match self.rng.u8(..12) {
            0..4 => Set::Status(words::outbound(self.rng)),
            4 => Set::StatusAt(time),
            5 | 6 => Set::Milestone(self.rng.usize(..5), time),
            7 => Set::Map(self.rng.usize(..5), self.ordinary()),
            8 | 9 => {
                Set::Code(self.code().filter(|c| !c.is_empty()).or(one(self.rng, &[None, Some("own".to_owned())])))
            }
            10 => Set::Message(self.message().filter(|m| !m.is_empty())),
            _ => Set::Seen(self.rng.i64(0..1 << 14)),
        }
    }

    fn ordinary(&mut self) -> Time {
        Time::tenths(self.rng.i64(0..8) * 10 + one(self.rng, &[0, 6]))
    }

    fn sets(&mut self) -> Vec<Set> {
        let mut sets: Vec<Set> = Vec::new();
        for _ in 0..one(self.rng, &[1, 1, 1, 2, 3]) {
            let set = self.set();
            // A column is set once.
            if sets.iter().all(|s| std::mem::discriminant(s) != std::mem::discriminant(&set)) {
                sets.push(set);
            }
        }
        if chance(self.rng, 30) {
            sets.push(Set::Note(format!("note {}", self.rng.u8(..9))));
        }
        sets
    }

    pub fn new_message(&mut self) -> NewMessage {
        self.next_id += 1;
        let key = Some(self.key()).filter(|_| chance(self.rng, 90));
        // Mostly as applications insert: a status without milestones, and nothing else.
        let plain = chance(self.rng, 75);
        let status = if plain { Status(one(self.rng, &[0, 2, 4])) } else { words::outbound(self.rng) };
        NewMessage {
            id: self.next_id,
            key,
            status: Some(status).filter(|_| chance(self.rng, 90)),
            status_at: Some(self.ordinary()).filter(|_| chance(self.rng, 60)),
            created_at: self.ordinary(),
            sets: if plain || matches!(self.kind, Kind::Errors | Kind::Precision) { vec![] } else { self.sets() },
        }
    }

    pub fn new_messages(&mut self, most: usize) -> Vec<NewMessage> {
        let n = if self.rng.bool() { 1 } else { self.rng.usize(1..=most) };
        (0..n).map(|_| self.new_message()).collect()
    }

    fn direct(&mut self, table: usize) -> Op {
        match self.rng.u8(..10) {
            0 => Op::Rekey(table, self.rng.i32(0..=self.next_id), {
                let mut sets = if self.rng.bool() { vec![] } else { self.sets() };
                sets.push(Set::Key(Some(self.key()).filter(|_| chance(self.rng, 85))));
                sets
            }),
            1 => Op::Upsert(table, self.new_message(), self.sets()),
            _ => Op::Update(table, self.key(), self.sets()),
        }
    }

    pub fn op(&mut self, tables: usize) -> Op {
        let table = self.rng.usize(..tables);
        let how = one(self.rng, &[How::Single, How::Single, How::Values, How::Select, How::Copy, How::Partition]);
        let rare = chance(self.rng, 8);
        match self.rng.u8(..100) {
            // A callback's verdict shows whose row the engine was asked about.
            0..66 if self.kind == Kind::Plans && chance(self.rng, 30) => Op::Apply(table, self.callback()),
            0..30 if rare => Op::Callbacks(self.callbacks(6), one(self.rng, &[How::Caught, How::Failing])),
            0..30 => Op::Callbacks(self.callbacks(8), how),
            30..38 => Op::Apply(table, self.callback()),
            38..53 => Op::Messages(table, self.new_messages(4), how),
            53..66 if !matches!(self.kind, Kind::Errors | Kind::Plans | Kind::Precision) => self.direct(table),
            66..68 => Op::Delete(table, self.key()),
            68..69 => Op::Forget(self.key()),
            69..81 => self.transaction(),
            81..84 => Op::Unseen(self.callbacks(5), self.rng.bool()),
            84 if rare => Op::Hurried((0..60).map(|_| self.callback()).collect()),
            84..87 => Op::Repeat(self.rng.usize(..50)),
            87..93 => Op::Crossed(table, self.callbacks(4), self.new_messages(3), self.rng.bool()),
            93..96 => Op::Check,
            96.. if self.kind == Kind::Plans || rare => Op::Ddl(
                table,
                one(self.rng, &[Ddl::AddColumn, Ddl::Analyze, Ddl::Vacuum, Ddl::VacuumFull, Ddl::Reindex]),
            ),
            _ => Op::Callbacks(self.callbacks(8), how),
        }
    }

    fn transaction(&mut self) -> Op {
        match (self.depth, self.rng.u8(..10)) {
            (None, _) => {
                self.depth = Some(0);
                Op::Begin
            }
            (Some(0), 0..=2) | (Some(1), 0..=1) => {
                self.depth = self.depth.map(|d| d + 1);
                Op::Savepoint
            }
            (Some(n), 3..=5) if n > 0 => {
                self.depth = Some(n - usize::from(self.rng.bool()));
                Op::RollbackTo
            }
            (Some(n), 6) if n > 0 => {
                self.depth = Some(n - 1);
                Op::Release
            }
            (_, 9) => {
                self.depth = None;
                Op::Rollback
            }
            (_, 8) => {
                self.depth = None;
                Op::Prepared(self.rng.bool())
            }
            _ => {
                self.depth = None;
                Op::Commit
            }
        }
    }
}
