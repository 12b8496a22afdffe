//! The triggers of a pair.

use super::{Level, ddl};
use crate::errors::{Fault, Result};
use crate::key::quote;
use crate::pair::mapping::Mapping;
use crate::pair::sql::columns_of_engine;
use crate::pair::{Table, resolve};
use crate::spi::Spi;
use crate::status::oids::extension_schema;
use pgrx::pg_sys::{self, Datum, Oid};

/// The triggers on messages, by name. Guards sort behind other BEFORE triggers, and so see what those did.
const GUARD_INSERT: &str = "zzz_msgstatus_guard_insert";
pub const GUARD_STATUS: &str = "zzz_msgstatus_guard_status";
pub const GUARD_UPDATE: &str = "zzz_msgstatus_guard_update";
const REPLAY_INSERT: &str = "msgstatus_replay_insert";
pub const REPLAY_KEY: &str = "msgstatus_replay_key";

fn on_log(pair: i32) -> String {
    format!("msgstatus_fold_{pair}")
}

/// The argument that the triggers carry.
pub fn argument(mapping: &Mapping) -> Result<String> {
    serde_json::to_string(mapping).map_err(|e| Fault::internal(format!("a mapping can't be written: {e}")))
}

/// The statements that make the triggers of a pair.
fn statements(mapping: &Mapping, messages: &str, log: &str, level: Level, partitioned: bool) -> Result<Vec<String>> {
    let argument = pgrx::spi::quote_literal(argument(mapping)?);
    let m = &mapping.m;
    let moved = |column: &str| format!("OLD.{0} IS DISTINCT FROM NEW.{0}", quote(column));
    // A WHEN clause is parsed anew for every statement, so there is but one, on the status: it also catches a status
    // that somebody's BEFORE trigger sets. The other columns are guarded where the statement names them.
    let others: Vec<String> = columns_of_engine(mapping).iter().filter(|c| **c != m.status).map(|c| quote(c)).collect();
    let row = "FOR EACH ROW".to_owned();
    let many = "REFERENCING NEW TABLE AS msgstatus_new FOR EACH STATEMENT".to_owned();
    let of_log = if level == Level::Row { &row } else { &many };
    // A row that moves to another partition with its new key is an INSERT there, which no statement trigger sees.
    let of_messages = if level == Level::Row || partitioned { &row } else { &many };
    let mut all = vec![
        format!(
            "CREATE TRIGGER {} AFTER INSERT ON {log} {of_log} EXECUTE FUNCTION msgstatus.log_trigger({argument})",
            on_log(mapping.pair)
        ),
        format!(
            "CREATE TRIGGER {REPLAY_INSERT} AFTER INSERT ON {messages} {of_messages} \
             EXECUTE FUNCTION msgstatus.replay_trigger({argument})"
        ),
        format!(
            "CREATE TRIGGER {REPLAY_KEY} AFTER UPDATE ON {messages} FOR EACH ROW \
             WHEN ({}) EXECUTE FUNCTION msgstatus.replay_trigger({argument})",
            [Some(&m.key), mapping.p.sid.as_ref()]
                .into_iter()
                .flatten()
                .map(|c| moved(c))
                .collect::<Vec<_>>()
                .join(" OR ")
        ),
        format!(
            "CREATE TRIGGER {GUARD_INSERT} BEFORE INSERT ON {messages} FOR EACH ROW \
             EXECUTE FUNCTION msgstatus.guard_trigger({argument})"
        ),
        format!(
            "CREATE TRIGGER {GUARD_STATUS} BEFORE UPDATE ON {messages} FOR EACH ROW \
             WHEN ({}) EXECUTE FUNCTION msgstatus.guard_trigger({argument})",
            moved(&m.status)
        ),
    ];
    if !others.is_empty() {
        all.push(format!(
            "CREATE TRIGGER {GUARD_UPDATE} BEFORE UPDATE OF {} ON {messages} FOR EACH ROW \
             EXECUTE FUNCTION msgstatus.guard_trigger({argument})",
            others.join(", ")
        ));
    }
    if level == Level::Row {
        // Changes applied by logical replication fire only triggers that are enabled always.
        let always = |table: &str, name: &str| format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}");
        all.push(always(log, &on_log(mapping.pair)));
        all.push(always(messages, REPLAY_INSERT));
        all.push(always(messages, REPLAY_KEY));
    }
    let mut named = vec![
        (log, on_log(mapping.pair), "folds new rows into their messages"),
        (messages, REPLAY_INSERT.to_owned(), "folds in callbacks that came before their message"),
        (messages, REPLAY_KEY.to_owned(), "folds in callbacks that came before the message had its key or SID"),
        (messages, GUARD_INSERT.to_owned(), "folds what is inserted directly"),
        (messages, GUARD_STATUS.to_owned(), "folds direct updates of the status, so that no writer moves it back"),
    ];
    if !others.is_empty() {
        named.push((messages, GUARD_UPDATE.to_owned(), "folds direct updates of milestones and errors"));
    }
    for (table, name, what) in named {
        all.push(format!("COMMENT ON TRIGGER {name} ON {table} IS 'msgstatus: {what}'"));
    }
    Ok(all)
}

pub fn create(mapping: &Mapping, messages: &Table, level: Level) -> Result<()> {
    let spi = Spi::connect()?;
    for text in statements(mapping, &mapping.messages, &mapping.log, level, messages.partitioned)? {
        ddl(&spi, &text)?;
    }
    Ok(())
}

/// Drops the triggers of a pair. By what they are, not only by name: after a restore of the schema without the data,
/// triggers are there that `tracked` does not know of. Gives whether there were any.
pub fn drop(messages: &Table, log: &Table) -> Result<bool> {
    let spi = Spi::connect()?;
    let sql = "
        SELECT g.tgname::pg_catalog.text, g.tgrelid::pg_catalog.oid, g.tgargs
          FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) g.tgfoid
         WHERE p.pronamespace OPERATOR(pg_catalog.=) $3 AND g.tgparentid OPERATOR(pg_catalog.=) 0::pg_catalog.oid
           AND g.tgrelid OPERATOR(pg_catalog.=) CASE p.proname WHEN 'log_trigger' THEN $2 ELSE $1 END";
    let args = [Some(Datum::from(messages.oid)), Some(Datum::from(log.oid)), Some(Datum::from(extension_schema()))];
    let rows = spi.once(sql, &[pg_sys::OIDOID; 3], &args)?;
    let name = resolve::relation_name(messages.oid);
    let mut dropped = false;
    for i in 0..rows.len() {
        let (Some(trigger), Some(table)) = (rows.string(i, 0), rows.get(i, 1)) else { continue };
        let table = Oid::from(table.value() as u32);
        // A log may feed several messages tables: only the trigger for this one goes, or for one that is no more.
        if table == log.oid {
            let argument = rows.text(i, 2).unwrap_or_default();
            let other = Mapping::read(argument.strip_suffix(b"\0").unwrap_or(&argument)).map(|m| m.messages);
            if other.is_ok_and(|other| other != name && resolve::named(&other).is_ok()) {
                continue;
            }
        }
        ddl(&spi, &format!("DROP TRIGGER {} ON {}", quote(&trigger), resolve::relation_name(table)))?;
        dropped = true;
    }
    Ok(dropped)
}

/// Drops the trigger on the log of a pair that is tracked, whatever its messages table was called once.
pub fn drop_on_log(pair: i32, log: &Table) -> Result<()> {
    let spi = Spi::connect()?;
    ddl(&spi, &format!("DROP TRIGGER IF EXISTS {} ON {}", on_log(pair), resolve::relation_name(log.oid)))
}
