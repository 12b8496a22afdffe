//! `attach` and `detach`: putting the engine on tables and taking it away.

mod catalog;
mod keys;
mod roles;
pub mod triggers;

use crate::datum::{jsonb_text, text_datum};
use crate::encoding::warn;
use crate::errors::{Code, Fault, Result};
use crate::function::Args;
use crate::key::quote;
use crate::pair::mapping::{Mapping, OnRegression};
use crate::pair::{cache, resolve};
use crate::spi::Spi;
use crate::trigger::{Call, Made};
use crate::waiting::{self, Held};
use pgrx::pg_sys::{self, Datum};

crate::sql_function!(msgstatus_attach, pg_finfo_msgstatus_attach, attach);
crate::sql_function!(msgstatus_detach, pg_finfo_msgstatus_detach, detach);
crate::sql_function!(msgstatus_policy_trigger, pg_finfo_msgstatus_policy_trigger, policy_trigger);

/// What `attach` was called with, less the tables.
pub struct Request {
    message_key: String,
    log_key: String,
    status: String,
    log_status: String,
    columns: serde_json::Map<String, serde_json::Value>,
}

/// Finer than a statement: for rows that go straight into a partition, and for logical replication.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Statement,
    Row,
}

fn attach(args: &Args) -> Result<Option<Datum>> {
    let need = |i: usize, name: &str| {
        args.string(i).ok_or_else(|| {
            Fault::new(
                Code::InvalidArgument,
                format!("argument {name} of attach is NULL"),
                "Leave the argument out to get its default.",
            )
        })
    };
    let one_of = |i: usize, name: &str, allowed: &[&str]| -> Result<String> {
        let value = need(i, name)?;
        if allowed.contains(&value.as_str()) {
            return Ok(value);
        }
        Err(Fault::new(
            Code::InvalidArgument,
            format!("{name} can't be \"{value}\""),
            format!("It is one of: {}.", allowed.join(", ")),
        ))
    };
    let (Some(messages), Some(log)) = (args.oid(0), args.oid(1)) else {
        return Err(Fault::new(
            Code::InvalidArgument,
            "attach needs a messages table and a delivery log, not NULL",
            "For example: SELECT msgstatus.attach('messages', 'delivery_log').",
        ));
    };
    // SAFETY: the argument is declared as jsonb.
    let columns = args.get(6).map_or_else(|| Ok(b"{}".to_vec()), |columns| unsafe { jsonb_text(columns) })?;
    let request = Request {
        message_key: need(2, "message_key")?,
        log_key: need(3, "log_key")?,
        status: need(4, "status")?,
        log_status: need(5, "log_status")?,
        columns: roles::parse(&columns)?,
    };
    let provider = one_of(7, "provider", &crate::status::words::PROVIDERS.map(|p| p.0))?;
    let policy = need(8, "policy")?;
    let on_regression = one_of(9, "on_regression", &["absorb", "error"])?;
    let level = one_of(10, "level", &["statement", "row"])?;
    let poll = need(11, "poll")?;
    let notify = one_of(12, "notify", &["none", "final", "failure", "all"])?;
    if notify != "none" {
        return Err(Fault::new(
            Code::NotSupported,
            format!("notify => '{notify}' is not in this version"),
            "Attach with notify => 'none', which is the default.",
        ));
    }

    let (messages, log) = catalog::pair_of_tables(messages, log)?;
    resolve::ranks(&policy)?;
    catalog::lock_tracked()?;
    catalog::not_yet_tracked(&messages)?;
    catalog::schedule_exists(&poll)?;
    let roles::Assigned { m, l, p, copy } = roles::assign(&request, &messages, &log)?;
    keys::check(&messages, &m.key, &log, &l.key)?;
    // Left from a restore of the schema without the data.
    triggers::drop(&messages, &log)?;

    let mapping = Mapping {
        pair: catalog::next_pair(&log)?,
        messages: resolve::relation_name(messages.oid),
        log: resolve::relation_name(log.oid),
        m,
        l,
        p,
        provider,
        policy,
        on_regression: if on_regression == "error" { OnRegression::Error } else { OnRegression::Absorb },
        copy,
    };
    let level = if level == "row" { Level::Row } else { Level::Statement };
    triggers::create(&mapping, &messages, level)?;
    catalog::remember(&mapping, &messages, &log, level, &poll, args.get(6))?;
    if poll != "off" && !mapping.p.keeps_checks() && mapping.p.next_check_at.is_none() {
        warn(&format!(
            "table {} has no column for check_count, last_checked_at or next_check_at: every round will ask Twilio about \
             all of its messages that are old enough",
            mapping.messages
        ));
    }
    if let Some(sid) = mapping.p.sid.as_deref()
        && !resolve::finds_sid(&mapping, &messages)?
    {
        warn(&format!(
            "table {} has no index that leads to a message by its SID: each callback of twilio_callback and \
             whatsapp_callback will read all of it, until there is one: CREATE INDEX ON {} ({})",
            mapping.messages,
            mapping.messages,
            quote(sid)
        ));
    }
    // What came while the table was detached, or was attached by another key.
    if let Some(pair) = cache::still(messages.oid)? {
        waiting::settle(&pair, None, Held::Awaited)?;
    }
    Ok(None)
}

fn detach(args: &Args) -> Result<Option<Datum>> {
    let (Some(messages), Some(log)) = (args.oid(0), args.oid(1)) else { return Ok(None) };
    let (messages, log) = catalog::pair_of_tables(messages, log)?;
    catalog::lock_tracked()?;
    let pair = catalog::forget(&messages, &log)?;
    // Without a row in tracked there may still be triggers, from a restore of the schema without the data.
    let gone = match pair {
        Some(pair) => {
            triggers::drop_on_log(pair, &log)?;
            triggers::drop(&messages, &log)?;
            true
        }
        None => catalog::not_yet_tracked(&messages).is_ok() && triggers::drop(&messages, &log)?,
    };
    if gone {
        return Ok(None);
    }
    Err(Fault::new(
        Code::NotReady,
        format!(
            "table {} is not tracked by log {}",
            resolve::relation_name(messages.oid),
            resolve::relation_name(log.oid)
        ),
        "SELECT messages, log FROM msgstatus.tracked lists what is.",
    ))
}

/// Refuses changes of the built-in policies and the removal of one in use, and announces all others to every session.
fn policy_trigger(args: &Args) -> Result<Option<Datum>> {
    let call = Call::of(args, Made::PolicyChange)?;
    if call.is_truncate() {
        return Err(Fault::new(
            Code::NotAllowed,
            "msgstatus.policy can't be truncated: the built-in policies are in it",
            "Remove a policy of your own with DELETE.",
        ));
    }
    if call.relation() != cache::policy_table() {
        return Err(Fault::new(
            Code::NotReady,
            "this trigger function belongs to msgstatus.policy",
            "Drop the trigger: no other table needs it.",
        ));
    }
    let name = |tuple: pg_sys::HeapTuple| {
        let mut null = false;
        // SAFETY: the tuple is null or a row of msgstatus.policy, whose first column is text and not null.
        unsafe {
            (!tuple.is_null()).then(|| {
                let value = pg_sys::SPI_getbinval(tuple, call.descriptor(), 1, &mut null);
                String::from_utf8_lossy(&crate::datum::text_bytes(value)).into_owned()
            })
        }
    };
    let (old, new) = (name(call.old_tuple()), name(call.new_tuple()));
    for policy in [&old, &new].into_iter().flatten() {
        if ["first_final", "delivery_wins", "failure_wins"].contains(&policy.as_str()) {
            return Err(Fault::new(
                Code::NotAllowed,
                format!("policy \"{policy}\" is built in and can't be changed"),
                "Add a policy of your own with INSERT and attach with it.",
            ));
        }
    }
    if let Some(policy) = old.filter(|_| !call.is_insert())
        && new.as_ref() != Some(&policy)
        && catalog::in_use(&policy)?
    {
        return Err(Fault::new(
            Code::NotReady,
            format!("policy \"{policy}\" is in use"),
            "SELECT messages FROM msgstatus.tracked WHERE policy = ... lists the tables: detach them first. To change a rank, use UPDATE.",
        ));
    }
    // SAFETY: sends an invalidation for an existing relation with this transaction's commit.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(cache::policy_table()) };
    Ok(Some(Datum::from(0usize)))
}

/// Runs DDL with the rights of the caller.
fn ddl(spi: &Spi, text: &str) -> Result<()> {
    spi.once(text, &[], &[]).map(drop)
}

fn text(value: &str) -> Option<Datum> {
    Some(text_datum(&crate::encoding::to_server(value)))
}
