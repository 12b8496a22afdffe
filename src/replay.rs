//! The trigger on messages that folds in callbacks which came before their message.

use crate::commit;
use crate::errors::Result;
use crate::function::Args;
use crate::pair::{Side, Table};
use crate::trigger::{Attribute, Call, Made};
use pgrx::pg_sys::Datum;

crate::sql_function!(msgstatus_replay_trigger, pg_finfo_msgstatus_replay_trigger, replay_trigger);

/// Fires after messages were inserted, and after a message got another key.
fn replay_trigger(args: &Args) -> Result<Option<Datum>> {
    let call = Call::of(args, Made::AfterInsertOrKey)?;
    let pair = call.pair(Side::Messages)?;
    let table = Table { oid: call.relation(), ..pair.messages };
    let key = Attribute::required(&table, "message_key", &pair.mapping.m.key)?;
    let mut keys = Vec::new();
    call.each_new(key.number, |row| {
        // SAFETY: the value is of the key column, which has the pair's key type.
        keys.extend(row.get(key.number).map(|d| unsafe { pair.key.key(d) }));
        Ok(())
    })?;
    commit::messages_appear(&pair, keys)?;
    Ok(Some(Datum::from(0usize)))
}
