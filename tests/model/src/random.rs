//! Random cases: a schema and work on it, of one of several kinds. A kind leaves out what would hide what it is for.

use crate::schema::{Collation, Index, KeyType, Log, Messages, Parts, Policy, Schema, TimeType};
use crate::words::PROVIDERS;
use crate::work::{How, Op};
use crate::worker::Worker;
use fastrand::Rng;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Everything at once, in one session.
    Mixed,
    /// Indexes that can't serve, and plans made anew: no answer may depend on a plan.
    Plans,
    /// Errors of callbacks alone, where the row does not remember that it failed.
    Errors,
    /// Direct writes of failures, errors and milestones beside callbacks.
    Direct,
    /// Columns that are coarser than others.
    Precision,
    /// Times at the ends of what there is.
    Times,
    /// Keys of which the two tables have different collations.
    Collations,
    /// Attach without indexes, doing what its hints say.
    Hints,
    /// Several sessions at once, and DDL beside.
    Sessions,
    /// Callbacks while DDL beside makes plans anew.
    Beside,
    /// Several sessions at once, and messages that move from partition to partition.
    Moves,
    /// Two sessions with many callbacks in opposite orders.
    Opposite,
    /// Thousands of callbacks of one message.
    Long,
}

pub const KINDS: [(Kind, &str, u8); 13] = [
    (Kind::Mixed, "mixed", 49),
    (Kind::Plans, "plans", 10),
    (Kind::Errors, "errors", 5),
    (Kind::Direct, "direct", 8),
    (Kind::Precision, "precision", 6),
    (Kind::Times, "times", 6),
    (Kind::Collations, "collations", 3),
    (Kind::Hints, "hints", 3),
    (Kind::Sessions, "sessions", 6),
    (Kind::Beside, "beside", 1),
    (Kind::Moves, "moves", 1),
    (Kind::Opposite, "opposite", 1),
    (Kind::Long, "long", 1),
];

/// How a case is run, beside what it does.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Compare after every statement, not only outside of transactions.
    pub each: bool,
    /// Every statement in a transaction block.
    pub blocks: bool,
    pub no_index_scan: bool,
    /// A session time zone other than UTC.
    pub zone: bool,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub kind: Kind,
    pub seed: u64,
    pub schema: Schema,
    pub setting: Setting,
    pub work: Vec<Op>,
}

pub fn kind(rng: &mut Rng) -> Kind {
    let mut n = rng.u8(..100);
    for (kind, _, share) in KINDS {
        if n < share {
            return kind;
        }
        n -= share;
    }
    Kind::Mixed
}

pub fn chance(rng: &mut Rng, percent: u8) -> bool {
    rng.u8(..100) < percent
}

pub fn one<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())].clone()
}

const FINE: TimeType = TimeType { zone: true, digits: None };
const COARSE: TimeType = TimeType { zone: false, digits: Some(0) };

fn time_type(rng: &mut Rng) -> TimeType {
    let other = [
        TimeType { zone: true, digits: Some(0) },
        TimeType { zone: true, digits: Some(3) },
        TimeType { zone: false, digits: None },
        COARSE,
    ];
    if chance(rng, 50) { FINE } else { one(rng, &other) }
}

fn policy(rng: &mut Rng, n: usize) -> Policy {
    let mut policy = Policy::built_in(rng.usize(..3));
    if chance(rng, 15) {
        policy = Policy::built_in(0);
        policy.name = format!("own{n}");
        if chance(rng, 50) {
            policy.ranks[4] = 85;
        }
        for _ in 0..rng.usize(1..5) {
            policy.ranks[rng.usize(..14)] = rng.i16(-30..100);
        }
        // At least one rank differs, or there is no row that makes the policy.
        policy.ranks[11] = 95;
    }
    policy
}

fn messages_table(rng: &mut Rng, kind: Kind, n: usize) -> Messages {
    let there = if chance(rng, 30) { 100 } else { 60 };
    let column = if chance(rng, 60) { FINE } else { time_type(rng) };
    let maybe = |rng: &mut Rng| chance(rng, there).then_some(column);
    let mut m = Messages {
        name: format!("m{n}"),
        status_at: maybe(rng),
        milestones: [maybe(rng), maybe(rng), maybe(rng), maybe(rng), maybe(rng)],
        map: chance(rng, 25),
        error_code: chance(rng, 70).then_some(None),
        error_message: chance(rng, 40).then_some(None),
        seen: chance(rng, there).then(|| rng.bool()),
        is_final: chance(rng, 40),
        checks: chance(rng, 40),
        checked: chance(rng, 30),
        parts: Parts::Whole,
        index: Index::Usual,
        policy: policy(rng, n),
    };
    for width in [&mut m.error_code, &mut m.error_message] {
        if width.is_some() && chance(rng, 30) {
            *width = Some(Some(rng.usize(3..8)));
        }
    }
    if chance(rng, 25) {
        m.parts = one(rng, &[Parts::Hash, Parts::Final, Parts::Created]);
    }
    if chance(rng, 20) {
        m.status_at = m.status_at.map(|_| time_type(rng));
    }
    if chance(rng, 10) {
        m.milestones = m.milestones.map(|c| c.map(|_| time_type(rng)));
    }
    match kind {
        Kind::Plans => {
            (m.error_code, m.error_message, m.map) = (None, None, false);
            m.index = one(
                rng,
                &[Index::Usual, Index::Dropped, Index::Partial, Index::OtherCollation, Index::Invalid, Index::JustMade],
            );
            m.parts = one(rng, &[Parts::Whole, Parts::Hash, Parts::Created]);
        }
        Kind::Errors => {
            (m.milestones[3], m.seen, m.map, m.error_code) = (None, None, false, Some(None));
        }
        Kind::Direct => {
            // The row remembers all that it can, so that what fails is the direct write.
            (m.status_at, m.error_code, m.error_message, m.seen) = (Some(FINE), Some(None), None, Some(false));
            m.milestones = [Some(FINE); 5];
        }
        Kind::Precision => {
            (m.status_at, m.error_code, m.map) = (Some(FINE).filter(|_| rng.bool()), Some(None), false);
            m.milestones =
                m.milestones.map(|c| c.map(|_| one(rng, &[COARSE, TimeType { zone: true, digits: Some(0) }])));
            m.milestones[3] = Some(COARSE);
        }
        Kind::Times => (m.error_code, m.error_message) = (None, None),
        Kind::Collations | Kind::Hints => (m.error_code, m.error_message, m.map) = (None, None, false),
        // The rows without their log are to be known, and nothing may depend on when a transaction began.
        Kind::Moves => m.parts = Parts::Final,
        Kind::Beside => m.parts = if chance(rng, 70) { Parts::Created } else { Parts::Whole },
        Kind::Long => {
            (m.status_at, m.error_code, m.parts, m.seen, m.milestones[3]) =
                (None, Some(None), Parts::Whole, None, None);
        }
        _ => {}
    }
    if kind == Kind::Hints {
        m.index = Index::AsHinted;
        m.parts = one(rng, &[Parts::Whole, Parts::Created, Parts::Levels]);
    }
    m.is_final |= m.parts == Parts::Final;
    m
}

pub fn schema(rng: &mut Rng, kind: Kind, icu: bool) -> Schema {
    let mut key =
        one(rng, &[KeyType::Text, KeyType::Text, KeyType::Varchar, KeyType::Bigint, KeyType::Uuid, KeyType::Numeric]);
    let mut collation = Collation::Default;
    if chance(rng, 40) {
        collation = one(rng, &[Collation::C, Collation::Posix, if icu { Collation::NoCase } else { Collation::C }]);
    }
    let mut log_collation = collation;
    if kind == Kind::Collations {
        key = KeyType::Text;
        (collation, log_collation) = if icu && rng.bool() {
            (Collation::NoCase, Collation::Default)
        } else if icu {
            (Collation::Default, Collation::NoCase)
        } else {
            (Collation::C, Collation::Posix)
        };
    }
    let mut messages = vec![messages_table(rng, kind, 1)];
    if !matches!(kind, Kind::Hints | Kind::Collations | Kind::Beside | Kind::Moves | Kind::Long) && chance(rng, 15) {
        messages.push(messages_table(rng, kind, 2));
    }
    for m in &mut messages {
        // An index of another collation than the column's there is only for texts, and equal keys must stay equal.
        let partitioned_by_key = m.parts == Parts::Hash;
        if m.index == Index::OtherCollation && (partitioned_by_key || !key.is_text() || collation == Collation::NoCase)
        {
            m.index = Index::Dropped;
        }
    }
    let mut log = Log {
        event_at: chance(rng, 85).then(|| time_type(rng)),
        created_at: chance(rng, 80).then(|| time_type(rng)),
        provider: chance(rng, 60),
        error_code: chance(rng, 85),
        error_message: chance(rng, 60),
        delivery_id: rng.bool(),
        source: chance(rng, 60),
        parts: chance(rng, 20),
        index: kind != Kind::Plans || chance(rng, 80),
        typed: chance(rng, 10),
    };
    // The fixed shapes speak twilio's words.
    let fixed = matches!(kind, Kind::Beside | Kind::Opposite | Kind::Long);
    let provider = if fixed || chance(rng, 70) { "twilio" } else { one(rng, &PROVIDERS[..6]) };
    if matches!(kind, Kind::Errors | Kind::Direct | Kind::Precision) {
        log.error_code = true;
    }
    if matches!(kind, Kind::Errors | Kind::Direct | Kind::Precision | Kind::Times | Kind::Plans) {
        (log.event_at, log.created_at) = (Some(FINE), chance(rng, 50).then_some(FINE));
    }
    if matches!(kind, Kind::Sessions | Kind::Beside | Kind::Moves | Kind::Long | Kind::Opposite) {
        (log.event_at, log.created_at) = (log.event_at.or(Some(FINE)), log.created_at.or(Some(FINE)));
        log.error_code |= kind == Kind::Long;
    }
    log.typed &= provider == "twilio" && !log.provider;
    Schema { key, collation, log_collation, messages, log, row_level: chance(rng, 40), provider: provider.to_owned() }
}

/// The case of a seed. Without errors, no table has columns for them.
pub fn case(seed: u64, only: Option<Kind>, icu: bool, errors: bool) -> Case {
    let mut rng = Rng::with_seed(seed);
    let by_chance = kind(&mut rng);
    let kind = only.unwrap_or(by_chance);
    let mut schema = schema(&mut rng, kind, icu);
    for m in schema.messages.iter_mut().filter(|_| !errors) {
        (m.error_code, m.error_message) = (None, None);
    }
    let setting = Setting {
        each: chance(&mut rng, 65),
        blocks: chance(&mut rng, 40) || schema.may_lack_times(),
        no_index_scan: kind == Kind::Plans && chance(&mut rng, 20),
        zone: chance(&mut rng, 20),
    };
    let mut work = Vec::new();
    if !matches!(kind, Kind::Sessions | Kind::Beside | Kind::Moves | Kind::Opposite | Kind::Long) {
        let tables = schema.messages.len();
        let ops = rng.usize(5..=35);
        let mut worker = Worker::new(&mut rng, kind, &schema);
        // Messages first, more often than not.
        if chance(worker.rng, 60) {
            for table in 0..tables {
                work.push(Op::Messages(table, worker.new_messages(6), How::Values));
            }
        }
        for _ in 0..ops {
            work.push(worker.op(tables));
        }
    }
    Case { kind, seed, schema, setting, work }
}
