//! Writing through a tracked pair by function: `apply_status`, `rebuild`, `rebuild_in_parts`, `settle`.

use crate::apply::{self, Whose};
use crate::datum::text_datum;
use crate::encoding::warn;
use crate::errors::{Code, Fault, Result};
use crate::fold::Time;
use crate::function::Args;
use crate::inspect::{key_argument, key_from_text};
use crate::key::Key;
use crate::log_trigger;
use crate::pair::sql;
use crate::pair::{Pair, cache, resolve};
use crate::replicated;
use crate::session::Rights;
use crate::spi::Spi;
use crate::status::oids::verdict_datum;
use crate::subtransaction::apart;
use crate::waiting::{self, Held};
use pgrx::pg_sys::{self, Datum};
use std::rc::Rc;

crate::sql_function!(msgstatus_apply_status, pg_finfo_msgstatus_apply_status, apply_status);
crate::sql_function!(msgstatus_rebuild, pg_finfo_msgstatus_rebuild, rebuild);
crate::sql_function!(msgstatus_rebuild_part, pg_finfo_msgstatus_rebuild_part, rebuild_part);
crate::sql_function!(msgstatus_settle, pg_finfo_msgstatus_settle, settle);

/// Keys that are looked at together.
const CHUNK: usize = 10_000;

/// How many messages `rebuild` looks at between two notices.
const NOTICE_EVERY: u64 = 100_000;

fn apply_status(args: &Args) -> Result<Option<Datum>> {
    let pair = cache::of_messages(args.oid(8))?;
    let key = key_from_text(&pair, &key_argument(args)?)?;
    if args.get(1).is_none() {
        return Err(Fault::new(
            Code::InvalidArgument,
            "the status is NULL",
            "Pass the provider's word, as in apply_status('SM...', 'delivered').",
        ));
    }
    let verdict = log_trigger::verdict_on(pair.messages.oid, || {
        let spi = Spi::connect()?;
        let mut types = vec![pair.key.oid()];
        let mut values = vec![Some(pair.key.datum(&key))];
        for (i, oid) in [
            (1, pg_sys::TEXTOID),
            (2, pg_sys::TIMESTAMPTZOID),
            (3, pg_sys::TEXTOID),
            (4, pg_sys::TEXTOID),
            (5, pg_sys::JSONBOID),
            (6, pg_sys::TEXTOID),
            (7, pg_sys::TEXTOID),
        ] {
            types.push(oid);
            values.push(args.get(i));
        }
        // Whose word it is, if the caller does not say.
        values[6] = values[6].or_else(|| Some(text_datum(&crate::encoding::to_server(&pair.mapping.provider))));
        let given = std::array::from_fn(|i| values[i].is_some());
        spi.once(&sql::insert_event(&pair.mapping, &pair.plans.shape, given), &types, &values).map(drop)
    })?;
    match verdict {
        Some(verdict) => verdict_datum(verdict).map(Some),
        None => Err(Fault::new(
            Code::NotReady,
            format!("the log row was not judged: the trigger of {} did not fire", pair.mapping.log),
            "Enable the trigger msgstatus_fold_... on the log, or attach the tables again.",
        )),
    }
}

/// Where a look back by an interval begins. One that begins before the first time that PostgreSQL has looks at everything.
pub fn since(interval: Option<Datum>) -> Option<Time> {
    let interval = interval?;
    // SAFETY: the argument is declared as interval; the function subtracts it from a time, and fails only for what is out
    // of range, which is looked at first. (Sums of its parts are near enough: a thousand years are left on each side.)
    unsafe {
        let now = pg_sys::GetCurrentTransactionStartTimestamp();
        let parts = &*interval.cast_mut_ptr::<pg_sys::Interval>();
        let days = i128::from(parts.month) * 30 + i128::from(parts.day);
        let length = days * 86_400_000_000 + i128::from(parts.time);
        if length > FURTHEST_BACK {
            return Some(Time::MIN);
        }
        if length < -FURTHEST_AHEAD {
            return Some(Time::MAX);
        }
        pgrx::direct_function_call::<i64>(pg_sys::timestamptz_mi_interval, &[Some(Datum::from(now)), Some(interval)])
    }
}

/// Microseconds of 5,700 and of 290,000 years.
const FURTHEST_BACK: i128 = 5_700 * 365 * 86_400_000_000;
const FURTHEST_AHEAD: i128 = 290_000 * 365 * 86_400_000_000;

/// Calls `work` with the keys of the log (with rows since then), in key order, a chunk at a time.
///
/// A log without a time of arrival is looked at whole.
pub fn each_chunk(
    pair: &Pair,
    rights: Rights,
    since: Option<Time>,
    mut work: impl FnMut(&mut Vec<Key>) -> Result<()>,
) -> Result<()> {
    let spi = Spi::connect()?;
    let since = since.filter(|_| pair.mapping.l.created_at.is_some());
    let statement = if since.is_some() { &pair.plans.select_keys_since } else { &pair.plans.select_keys };
    let args: Vec<Option<Datum>> = since.into_iter().map(|t| Some(Datum::from(t))).collect();
    let owner = rights.on(&pair.log);
    let mut cursor = spi.cursor(statement.plan()?, &args)?;
    drop(owner);
    loop {
        let rows = cursor.fetch(CHUNK)?;
        // SAFETY: the column is the log's key, which has the pair's key type.
        let mut keys: Vec<Key> =
            (0..rows.len()).filter_map(|i| rows.get(i, 0)).map(|d| unsafe { pair.key.key(d) }).collect();
        drop(rows);
        if keys.is_empty() {
            return Ok(());
        }
        crate::datum::in_scratch(|| work(&mut keys))?;
    }
}

fn owns(pair: &Pair) -> bool {
    // SAFETY: look-ups for the current role and the owner of an existing relation.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), pair.messages.owner) }
}

fn must_own(pair: &Pair) -> Result<()> {
    if owns(pair) {
        return Ok(());
    }
    Err(Fault::new(
        Code::NotAllowed,
        format!("must be owner of table {}", pair.messages_name()),
        "Let the owner of the messages table call rebuild, or a superuser.",
    ))
}

/// `rebuild_part(messages, after, part)`: rewrites what is to be rewritten of the next `part` messages in the order of
/// their keys. Gives the last of these keys, how many there were and how many were rewritten; nothing behind the end.
fn rebuild_part(args: &Args) -> Result<Option<Datum>> {
    let mut set = args.set()?;
    let pair = cache::of_messages(args.oid(0))?;
    must_own(&pair)?;
    let given = args.get(2).map(|d| d.value() as i32);
    let Some(part) = given.filter(|&n| n > 0) else {
        return Err(Fault::new(
            Code::InvalidArgument,
            format!("a part can't have {} messages", given.map_or("NULL".to_owned(), |n| n.to_string())),
            "rebuild_in_parts takes 10000 if the argument is left out.",
        ));
    };
    let after = args.text(1).map(|text| key_from_text(&pair, &text)).transpose()?;
    let mut keys: Vec<Key> = {
        let _owner = Rights::Owner.on(&pair.messages);
        let spi = Spi::connect()?;
        let rows = spi.once(
            &sql::select_next_keys(&pair.mapping, &pair.plans.shape, after.is_some()),
            &[pair.key.oid(), pg_sys::INT4OID],
            &[after.as_deref().map(|key| pair.key.datum(key)), Some(Datum::from(part))],
        )?;
        // SAFETY: the column is the message key, which has the pair's key type.
        (0..rows.len()).filter_map(|i| rows.get(i, 0)).map(|d| unsafe { pair.key.key(d) }).collect()
    };
    if let Some(last) = keys.last().map(|key| pair.key.text(key)) {
        let looked = keys.len();
        let written = apply::refold(&pair, &mut keys, Whose::Anybodys)?.written;
        set.put(&[Some(text_datum(&last)), Some(Datum::from(looked as i64)), Some(Datum::from(written as i64))])?;
    }
    Ok(None)
}

fn rebuild(args: &Args) -> Result<Option<Datum>> {
    let pair = cache::of_messages(args.oid(1))?;
    must_own(&pair)?;
    let (mut looked, mut written) = (0u64, 0);
    let mut told = 0;
    each_chunk(&pair, Rights::Owner, since(args.get(0)), |keys| {
        looked += keys.len() as u64;
        written += apply::refold(&pair, keys, Whose::Anybodys)?.written;
        if looked - told >= NOTICE_EVERY {
            told = looked;
            pgrx::notice!("rebuild of {}: {looked} messages looked at, {written} rewritten", pair.messages_name());
        }
        Ok(())
    })?;
    Ok(Some(Datum::from(written as i64)))
}

fn settle(args: &Args) -> Result<Option<Datum>> {
    let mut written = 0;
    let since = since(args.get(0));
    for messages in cache::all()? {
        if !resolve::may(messages, pg_sys::ACL_UPDATE) {
            continue;
        }
        // A pair that lost a column, or whose owner's triggers fail, must not keep the others from being settled.
        let settled = apart(|| {
            let pair: Rc<Pair> = cache::of_messages(Some(messages))?;
            let mut here = replicated::settle(&pair)?;
            each_chunk(&pair, Rights::Owner, since, |keys| {
                here += apply::refold(&pair, keys, Whose::Anybodys)?.written;
                Ok(())
            })?;
            // Behind the others, of which this transaction holds the rows: it takes what it does not have to wait for.
            here += waiting::settle(&pair, since, Held::Left)?;
            Ok(here)
        });
        match settled {
            Ok(here) => written += here,
            Err(why) => {
                let name = resolve::relation_name(messages);
                warn(&format!("msgstatus.settle left out table {name}: {}", why.message));
            }
        }
    }
    Ok(Some(Datum::from(written as i64)))
}
