//! What `attach` asks the catalog, and what it writes into `msgstatus.tracked`.

use super::{Level, text};
use crate::errors::{Code, Fault, Result};
use crate::pair::mapping::{Mapping, OnRegression};
use crate::pair::{Table, resolve};
use crate::session::as_extension;
use crate::spi::Spi;
use pgrx::pg_sys::{self, Datum};

/// Two different tables that the caller owns.
pub fn pair_of_tables(messages: pg_sys::Oid, log: pg_sys::Oid) -> Result<(Table, Table)> {
    if messages == log {
        return Err(Fault::new(
            Code::InvalidArgument,
            format!("{} can't be both the messages table and its log", resolve::relation_name(messages)),
            "Give two tables: the one that holds messages, and the one that callbacks are inserted into.",
        ));
    }
    Ok((owned_table(messages)?, owned_table(log)?))
}

fn owned_table(oid: pg_sys::Oid) -> Result<Table> {
    let table = resolve::existing(oid, &format!("with OID {}", oid.to_u32()))?;
    let name = resolve::relation_name(oid);
    // SAFETY: syscache look-up; a relation without a kind does not exist.
    let kind = unsafe { pg_sys::get_rel_relkind(oid) } as u8;
    if kind != pg_sys::RELKIND_RELATION && kind != pg_sys::RELKIND_PARTITIONED_TABLE {
        return Err(Fault::new(
            Code::WrongKind,
            format!("{name} is not a table"),
            "msgstatus works on ordinary and partitioned tables: name the table behind the view.",
        ));
    }
    // SAFETY: catalog look-up of an existing relation.
    if unsafe { pg_sys::get_rel_persistence(oid) } as u8 == pg_sys::RELPERSISTENCE_TEMP {
        return Err(Fault::new(
            Code::WrongKind,
            format!("{name} is a temporary table"),
            "It is gone when the session ends: track a permanent table.",
        ));
    }
    // SAFETY: look-ups for the current role and an existing owner.
    let owns = unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), table.owner) };
    if !owns {
        return Err(Fault::new(
            Code::NotAllowed,
            format!("must be owner of table {name}"),
            "Let the owner of both tables call this, or a superuser.",
        ));
    }
    Ok(table)
}

/// Held to the end of the transaction: one attach or detach at a time.
pub fn lock_tracked() -> Result<()> {
    as_extension(|spi| super::ddl(spi, "LOCK TABLE msgstatus.tracked IN SHARE ROW EXCLUSIVE MODE"))
}

pub fn not_yet_tracked(messages: &Table) -> Result<()> {
    let spi = Spi::connect()?;
    let rows = spi.once(
        "SELECT t.log::pg_catalog.regclass::pg_catalog.text FROM msgstatus.tracked t \
         WHERE t.messages OPERATOR(pg_catalog.=) $1",
        &[pg_sys::OIDOID],
        &[Some(Datum::from(messages.oid))],
    )?;
    match rows.string(0, 0) {
        None => Ok(()),
        Some(log) => Err(Fault::new(
            Code::Duplicate,
            format!("table {} is already tracked, by log {log}", resolve::relation_name(messages.oid)),
            format!(
                "SELECT msgstatus.detach('{}', '{log}') first, to attach it differently.",
                resolve::relation_name(messages.oid)
            ),
        )),
    }
}

/// A number for a new pair. Triggers may be left on the log from pairs that `tracked` does not know of.
pub fn next_pair(log: &Table) -> Result<i32> {
    let spi = Spi::connect()?;
    let sql = "
        SELECT coalesce(pg_catalog.max(used.pair), 0) OPERATOR(pg_catalog.+) 1
          FROM (SELECT t.pair FROM msgstatus.tracked t
                UNION ALL
                SELECT pg_catalog.substring(g.tgname::pg_catalog.text, '^msgstatus_fold_([0-9]{1,8})$')::integer
                  FROM pg_catalog.pg_trigger g WHERE g.tgrelid OPERATOR(pg_catalog.=) $1) AS used";
    let rows = spi.once(sql, &[pg_sys::OIDOID], &[Some(Datum::from(log.oid))])?;
    rows.get(0, 0).map(|d| d.value() as i32).ok_or_else(|| Fault::internal("no next pair"))
}

/// Writes the pair into `tracked`.
pub fn remember(
    mapping: &Mapping,
    messages: &Table,
    log: &Table,
    level: Level,
    poll: &str,
    columns: Option<Datum>,
) -> Result<()> {
    let json = super::triggers::argument(mapping)?;
    as_extension(|spi| {
        let on_regression = if mapping.on_regression == OnRegression::Error { "error" } else { "absorb" };
        let level = if level == Level::Row { "row" } else { "statement" };
        spi.once(
            "INSERT INTO msgstatus.tracked
                 (pair, messages, log, policy, on_regression, level, poll, notify, columns, mapping)
             VALUES ($1, $2, $3, $4, $5, $6, $9, 'none', coalesce($7, '{}'), $8::pg_catalog.jsonb)",
            &[
                pg_sys::INT4OID,
                pg_sys::REGCLASSOID,
                pg_sys::REGCLASSOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::JSONBOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
            ],
            &[
                Some(Datum::from(mapping.pair)),
                Some(Datum::from(messages.oid)),
                Some(Datum::from(log.oid)),
                text(&mapping.policy),
                text(on_regression),
                text(level),
                columns,
                text(&json),
                text(poll),
            ],
        )
        .map(drop)
    })
}

/// Takes the pair out of `tracked` and gives its number, if it was there.
pub fn forget(messages: &Table, log: &Table) -> Result<Option<i32>> {
    as_extension(|spi| {
        let rows = spi.once(
            "DELETE FROM msgstatus.tracked t WHERE t.messages OPERATOR(pg_catalog.=) $1 \
             AND t.log OPERATOR(pg_catalog.=) $2 RETURNING t.pair",
            &[pg_sys::OIDOID, pg_sys::OIDOID],
            &[Some(Datum::from(messages.oid)), Some(Datum::from(log.oid))],
        )?;
        Ok(rows.get(0, 0).map(|d| d.value() as i32))
    })
}

/// Checks that there is a schedule of this name, or that it is `off`.
pub fn schedule_exists(schedule: &str) -> Result<()> {
    let spi = Spi::connect()?;
    let sql = "SELECT 1 FROM msgstatus.poll_schedule s WHERE s.schedule OPERATOR(pg_catalog.=) $1 LIMIT 1";
    if schedule == "off" || !spi.once(sql, &[pg_sys::TEXTOID], &[text(schedule)])?.is_empty() {
        return Ok(());
    }
    Err(Fault::new(
        Code::InvalidArgument,
        format!("poll schedule \"{schedule}\" does not exist"),
        "Choose off or one of SELECT DISTINCT schedule FROM msgstatus.poll_schedule, or add your own rows to that table.",
    ))
}

/// Is a policy in use by a tracked table?
pub fn in_use(policy: &str) -> Result<bool> {
    let spi = Spi::connect()?;
    let sql = "SELECT 1 FROM msgstatus.tracked t WHERE t.policy OPERATOR(pg_catalog.=) $1 LIMIT 1";
    Ok(!spi.once(sql, &[pg_sys::TEXTOID], &[text(policy)])?.is_empty())
}
