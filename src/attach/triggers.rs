//! The triggers of a pair.

use super::{Level, ddl};
use crate::errors::{Fault, Result};
use crate::key::quote;
use crate::pair::mapping::Mapping;
use crate::pair::sql::columns_of_engine;
use crate::pair::{Table, resolve};
use crate::spi::Spi;

/// The triggers on messages, by name. Guards sort behind other BEFORE triggers, and so see what those did.
const GUARD_INSERT: &str = "zzz_msgstatus_guard_insert";
const GUARD_UPDATE: &str = "zzz_msgstatus_guard_update";
const REPLAY_INSERT: &str = "msgstatus_replay_insert";
const REPLAY_KEY: &str = "msgstatus_replay_key";

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
    let key = quote(&m.key);
    let moved = |column: &str| format!("OLD.{0} IS DISTINCT FROM NEW.{0}", quote(column));
    let touched: Vec<String> = columns_of_engine(mapping).iter().map(|c| moved(c)).collect();
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
             WHEN ({} AND NEW.{key} IS NOT NULL) EXECUTE FUNCTION msgstatus.replay_trigger({argument})",
            moved(&m.key)
        ),
        format!(
            "CREATE TRIGGER {GUARD_INSERT} BEFORE INSERT ON {messages} FOR EACH ROW \
             EXECUTE FUNCTION msgstatus.guard_trigger({argument})"
        ),
        format!(
            "CREATE TRIGGER {GUARD_UPDATE} BEFORE UPDATE ON {messages} FOR EACH ROW \
             WHEN ({}) EXECUTE FUNCTION msgstatus.guard_trigger({argument})",
            touched.join(" OR ")
        ),
    ];
    if level == Level::Row {
        // Changes applied by logical replication fire only triggers that are enabled always.
        let always = |table: &str, name: &str| format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}");
        all.push(always(log, &on_log(mapping.pair)));
        all.push(always(messages, REPLAY_INSERT));
        all.push(always(messages, REPLAY_KEY));
    }
    for (table, name, what) in [
        (log, on_log(mapping.pair), "folds new rows into their messages"),
        (messages, REPLAY_INSERT.to_owned(), "folds in callbacks that came before their message"),
        (messages, REPLAY_KEY.to_owned(), "folds in callbacks that came before the message had its key"),
        (messages, GUARD_INSERT.to_owned(), "folds what is inserted directly"),
        (messages, GUARD_UPDATE.to_owned(), "folds direct updates, so that no writer moves a status back"),
    ] {
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

pub fn drop(pair: i32, messages: &Table, log: &Table) -> Result<()> {
    let spi = Spi::connect()?;
    let (messages, log) = (resolve::relation_name(messages.oid), resolve::relation_name(log.oid));
    ddl(&spi, &format!("DROP TRIGGER IF EXISTS {} ON {log}", on_log(pair)))?;
    for name in [REPLAY_INSERT, REPLAY_KEY, GUARD_INSERT, GUARD_UPDATE] {
        ddl(&spi, &format!("DROP TRIGGER IF EXISTS {name} ON {messages}"))?;
    }
    Ok(())
}
