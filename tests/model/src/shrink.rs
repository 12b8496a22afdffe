//! Makes a failing case smaller: operations first, then rows of operations, then the schema.

use crate::random::Case;
use crate::schema::{Collation, Index, KeyType, Parts, Policy, Schema, TimeType};
use crate::work::{Callback, How, Op};
use std::time::Instant;

/// Tries smaller cases as long as there is time; `fails` says whether one fails in the same way.
pub fn shrink(case: Case, until: Instant, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut small = case;
    let mut fails = |case: &Case| Instant::now() < until && fails(case);
    loop {
        let before = size(&small);
        small = fewer_operations(small, &mut fails);
        small = fewer_rows(small, &mut fails);
        small = simpler_schema(small, &mut fails);
        if size(&small) == before || Instant::now() >= until {
            return small;
        }
    }
}

fn size(case: &Case) -> String {
    format!("{case:?}")
}

fn fewer_operations(mut case: Case, fails: &mut impl FnMut(&Case) -> bool) -> Case {
    let mut part = case.work.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < case.work.len() {
            let mut smaller = case.clone();
            smaller.work.drain(at..(at + part).min(smaller.work.len()));
            if fails(&smaller) {
                case = smaller;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    case
}

fn simple(callback: &Callback) -> Vec<Callback> {
    let c = callback.clone();
    [
        Callback { code: None, message: None, ..c.clone() },
        Callback { message: None, ..c.clone() },
        Callback { poll: false, ..c.clone() },
        Callback { provider: None, ..c.clone() },
        Callback { created_at: c.event_at.or(c.created_at), ..c.clone() },
    ]
    .into_iter()
    .filter(|s| format!("{s:?}") != format!("{c:?}"))
    .collect()
}

/// The ways in which an operation can be a little less.
fn lesser(op: &Op) -> Vec<Op> {
    match op {
        Op::Callbacks(rows, how) => {
            let mut all: Vec<Op> = without_one(rows).into_iter().map(|rows| Op::Callbacks(rows, *how)).collect();
            if *how != How::Values {
                all.push(Op::Callbacks(rows.clone(), How::Values));
            }
            for (i, row) in rows.iter().enumerate() {
                all.extend(simple(row).into_iter().map(|c| {
                    let mut rows = rows.clone();
                    rows[i] = c;
                    Op::Callbacks(rows, *how)
                }));
            }
            all
        }
        Op::Unseen(rows, replica) => without_one(rows).into_iter().map(|rows| Op::Unseen(rows, *replica)).collect(),
        Op::Apply(table, callback) => simple(callback).into_iter().map(|c| Op::Apply(*table, c)).collect(),
        Op::Messages(table, rows, how) => {
            let mut all: Vec<Op> = without_one(rows).into_iter().map(|rows| Op::Messages(*table, rows, *how)).collect();
            for (i, row) in rows.iter().enumerate() {
                for sets in without_one(&row.sets) {
                    let mut rows = rows.clone();
                    rows[i].sets = sets;
                    all.push(Op::Messages(*table, rows, *how));
                }
            }
            all
        }
        Op::Update(table, key, sets) => {
            without_one(sets).into_iter().map(|sets| Op::Update(*table, *key, sets)).collect()
        }
        Op::Rekey(table, id, sets) => without_one(sets).into_iter().map(|sets| Op::Rekey(*table, *id, sets)).collect(),
        Op::Crossed(table, callbacks, messages, first) => {
            let fewer = without_one(callbacks).into_iter().map(|c| Op::Crossed(*table, c, messages.clone(), *first));
            let less = without_one(messages).into_iter().map(|m| Op::Crossed(*table, callbacks.clone(), m, *first));
            fewer.chain(less).collect()
        }
        _ => vec![],
    }
}

fn without_one<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
    (0..of.len())
        .map(|i| {
            let mut less = of.to_vec();
            less.remove(i);
            less
        })
        .collect()
}

fn fewer_rows(mut case: Case, fails: &mut impl FnMut(&Case) -> bool) -> Case {
    let mut at = 0;
    while at < case.work.len() {
        let found = lesser(&case.work[at]).into_iter().find_map(|op| {
            let mut smaller = case.clone();
            smaller.work[at] = op;
            fails(&smaller).then_some(smaller)
        });
        match found {
            Some(smaller) => case = smaller,
            None => at += 1,
        }
    }
    case
}

type Change = fn(&mut Schema);

const PLAIN: TimeType = TimeType { zone: true, digits: None };

/// One thing less in the schema, each.
const SIMPLER: [Change; 35] = [
    |s| s.messages.truncate(1),
    |s| (s.key, s.collation, s.log_collation) = (KeyType::Text, Collation::Default, Collation::Default),
    |s| s.row_level = false,
    |s| s.provider = "twilio".to_owned(),
    |s| s.log.parts = false,
    |s| s.log.typed = false,
    |s| s.log.provider = false,
    |s| s.log.error_message = false,
    |s| s.log.error_code = false,
    |s| s.log.source = false,
    |s| s.log.delivery_id = false,
    // One of the times stays, or what is printed depends on when it is run.
    |s| s.log.created_at = s.log.created_at.filter(|_| s.log.event_at.is_none()),
    |s| s.log.event_at = s.log.event_at.filter(|_| s.log.created_at.is_none()),
    |s| s.log.event_at = s.log.event_at.map(|_| PLAIN),
    |s| s.log.created_at = s.log.created_at.map(|_| PLAIN),
    |s| s.log.index = true,
    |s| s.messages[0].parts = Parts::Whole,
    |s| s.messages[0].index = Index::Usual,
    |s| s.messages[0].policy = Policy::built_in(0),
    |s| s.messages[0].is_final = s.messages[0].parts == Parts::Final,
    |s| s.messages[0].map = false,
    |s| s.messages[0].checks = false,
    |s| s.messages[0].checked = false,
    |s| s.messages[0].seen = None,
    |s| s.messages[0].error_message = None,
    |s| s.messages[0].error_code = None,
    |s| s.messages[0].error_code = s.messages[0].error_code.map(|_| None),
    |s| s.messages[0].milestones = [None; 5],
    |s| s.messages[0].milestones[0] = None,
    |s| s.messages[0].milestones[1] = None,
    |s| s.messages[0].milestones[2] = None,
    |s| s.messages[0].milestones[3] = None,
    |s| s.messages[0].milestones[4] = None,
    |s| s.messages[0].milestones = s.messages[0].milestones.map(|c| c.map(|_| PLAIN)),
    |s| s.messages[0].status_at = s.messages[0].status_at.map(|_| PLAIN),
];

fn simpler_schema(mut case: Case, fails: &mut impl FnMut(&Case) -> bool) -> Case {
    for change in SIMPLER {
        let mut smaller = case.clone();
        change(&mut smaller.schema);
        if size(&smaller) != size(&case) && fails(&smaller) {
            case = smaller;
        }
    }
    for (no_index_scan, zone, blocks) in [(false, false, false), (false, false, true), (true, false, true)] {
        let mut smaller = case.clone();
        smaller.setting.no_index_scan &= no_index_scan;
        smaller.setting.zone &= zone;
        smaller.setting.blocks &= blocks;
        if size(&smaller) != size(&case) && fails(&smaller) {
            case = smaller;
        }
    }
    case
}
