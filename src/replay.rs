//! The trigger on messages that folds in callbacks which came before their message.

use crate::commit;
use crate::encoding::from_server;
use crate::errors::Result;
use crate::function::Args;
use crate::key::Key;
use crate::pair::{Pair, Side, Table};
use crate::trigger::{Attribute, Call, Made, Tuple};
use pgrx::pg_sys::Datum;

crate::sql_function!(msgstatus_replay_trigger, pg_finfo_msgstatus_replay_trigger, replay_trigger);

/// By what callbacks find a message: its key, and its SID where they wait beside the log for it.
struct Columns<'a> {
    pair: &'a Pair,
    key: Attribute,
    sid: Option<Attribute>,
}

impl Columns<'_> {
    fn last(&self) -> i16 {
        self.sid.map_or(self.key.number, |sid| sid.number.max(self.key.number))
    }

    fn key(&self, row: &Tuple) -> Option<Key> {
        // SAFETY: the value is of the key column, which has the pair's key type.
        row.get(self.key.number).map(|d| unsafe { self.pair.key.key(d) })
    }

    fn sid(&self, row: &Tuple) -> Option<String> {
        let sid = self.sid?;
        row.get(sid.number).map(|d| sid.with_text(d, from_server))
    }
}

/// Fires after messages were inserted, and after a message got another key or SID.
fn replay_trigger(args: &Args) -> Result<Option<Datum>> {
    let call = Call::of(args, Made::AfterInsertOrKey)?;
    let pair = call.pair(Side::Messages)?;
    let table = Table { oid: call.relation(), ..pair.messages };
    let columns = Columns {
        pair: &pair,
        key: Attribute::required(&table, "message_key", &pair.mapping.m.key)?,
        // A message must not fail for a column that only callbacks by SID go by.
        sid: pair.plans.shape.found_by.as_deref().and_then(|sid| Attribute::of(&table, sid)),
    };
    let before = (!call.is_insert()).then(|| call.old_row(columns.last()));
    let (old_key, old_sid) =
        (before.as_ref().and_then(|r| columns.key(r)), before.as_ref().and_then(|r| columns.sid(r)));
    let (mut keys, mut sids) = (Vec::new(), Vec::new());
    call.each_new(columns.last(), |row| {
        keys.extend(columns.key(row).filter(|key| old_key.as_ref() != Some(key)));
        sids.extend(columns.sid(row).filter(|sid| old_sid.as_ref() != Some(sid)));
        Ok(())
    })?;
    commit::messages_appear(&pair, keys)?;
    commit::sids_appear(&pair, sids)?;
    Ok(Some(Datum::from(0usize)))
}
