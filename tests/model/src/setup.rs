//! Makes the tables of a case, attaches them, and spoils what is to be spoiled.

use crate::random::Case;
use crate::schema::{Index, Messages, Schema};
use crate::server::{Failure, Server, fail};

/// Makes the schema of a case. False if attach refuses it, and may.
pub fn set_up(server: &mut Server, case: &Case) -> Result<bool, Failure> {
    let schema = &case.schema;
    server.sql("SET client_min_messages = warning")?;
    server.sql(&format!("SET timezone = '{}'", if case.setting.zone { "America/New_York" } else { "UTC" }))?;
    for part in schema.create() {
        for sql in part.split(";\n") {
            server.sql(sql)?;
        }
    }
    for m in &schema.messages {
        if !attach(server, schema, m)? {
            return Ok(false);
        }
    }
    if schema.messages.iter().any(|m| m.index == Index::JustMade) {
        server.hold_back()?;
    }
    for part in schema.spoil() {
        for sql in part.split("; ") {
            server.sql(sql)?;
        }
    }
    if case.setting.no_index_scan {
        server.sql("SET enable_indexscan = off")?;
    }
    Ok(true)
}

/// Attach; where it says with which DDL it would, that has to be so.
fn attach(server: &mut Server, schema: &Schema, m: &Messages) -> Result<bool, Failure> {
    for _ in 0..4 {
        let Err(refused) = server.sql(&schema.attach(m)) else { return Ok(true) };
        let collations = schema.collation != schema.log_collation;
        if m.index != Index::AsHinted && !(collations && refused.sqlstate.is_some()) {
            return Err(refused);
        }
        let Some(at) = refused.hint.as_deref().and_then(|hint| hint.find("CREATE ")) else { return Ok(false) };
        let hint = refused.hint.unwrap_or_default();
        for sql in hint[at..].split(';').map(str::trim).filter(|sql| !sql.is_empty()) {
            if let Err(e) = server.sql(sql) {
                return fail("hint", format!("the hint's DDL can't run: {sql}: {}", e.text));
            }
        }
    }
    fail("hint", "attach is never content".to_owned())
}
