//! From the names of a mapping to relations, columns and ranks of this database.

use super::kind::{Kind, status_column};
use super::log_rules::needs_message;
use super::mapping::Mapping;
use super::sql::{Shape, Types};
use super::{Side, Table};
use crate::datum::text_datum;
use crate::encoding::to_server;
use crate::errors::{Code, Fault, Result};
use crate::fold::{Hold, Ranks, Stored};
use crate::key::{KeyType, c_string, collate_clause};
use crate::spi::{Plan, Spi};
use crate::status::Milestone;
use crate::status::oids::{StatusOids, extension_schema};
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::CString;

/// What a mapping's columns turned out to be.
pub struct Columns {
    pub key: KeyType,
    pub shape: Shape,
    pub stored: Stored,
}

/// The two tables of a pair, and its mapping as `tracked` has it, where it has.
pub fn tables(mapping: Mapping, fired: Option<(Side, Oid)>) -> Result<(Mapping, bool, Table, Table)> {
    if let Some((messages, log, known)) = tracked(mapping.pair)? {
        let meant = fired.is_none_or(|(side, oid)| descends(oid, if side == Side::Log { log } else { messages }));
        if meant {
            let tables = (existing(messages, &known.messages)?, existing(log, &known.log)?);
            return Ok((known, true, tables.0, tables.1));
        }
    }
    // Not tracked here (a shard, a replica): the names count, and nobody vouches for the pair. Then a table may only
    // reach another that its owner could reach anyway.
    let by_side = |side, name: &str| match fired {
        Some((s, oid)) if s == side => existing(oid, name),
        _ => named(name),
    };
    let messages = by_side(Side::Messages, &mapping.messages)?;
    let log = by_side(Side::Log, &mapping.log)?;
    let (asks, owns) = match fired {
        Some((Side::Messages, _)) => (&messages, &log),
        _ => (&log, &messages),
    };
    // SAFETY: a catalog look-up for two roles that own relations.
    if !unsafe { pg_sys::has_privs_of_role(asks.owner, owns.owner) } {
        return Err(Fault::new(
            Code::NotAllowed,
            format!("the owner of {} may not use {}", relation_name(asks.oid), relation_name(owns.oid)),
            "Attach the two tables with msgstatus.attach, or let one role own both.",
        ));
    }
    Ok((mapping, false, messages, log))
}

fn tracked(pair: i32) -> Result<Option<(Oid, Oid, Mapping)>> {
    let spi = Spi::connect()?;
    let sql = "SELECT t.messages::pg_catalog.oid, t.log::pg_catalog.oid, t.mapping::pg_catalog.text \
               FROM msgstatus.tracked t WHERE t.pair OPERATOR(pg_catalog.=) $1";
    let plan = Plan::prepare(sql, &[pg_sys::INT4OID], false)?;
    let rows = spi.run(&plan, &[Some(Datum::from(pair))])?;
    let oid = |col| rows.get(0, col).map(|d| Oid::from(d.value() as u32));
    let (Some(messages), Some(log), Some(text)) = (oid(0), oid(1), rows.text(0, 2)) else {
        return Ok(None);
    };
    let mapping = Mapping::read(&text)?;
    Ok(Some((messages, log, mapping)))
}

/// Is `oid` the relation `root`, or a partition of it?
fn descends(oid: Oid, root: Oid) -> bool {
    if oid == root {
        return true;
    }
    // SAFETY: gives a list of OIDs, empty for a relation that is no partition.
    unsafe {
        pg_sys::get_rel_relispartition(oid)
            && pg_sys::ffi::pg_guard_ffi_boundary(|| pg_sys::list_member_oid(get_partition_ancestors(oid), root))
    }
}

// Exported by PostgreSQL (catalog/partition.h), not among pgrx's bindings.
unsafe extern "C-unwind" {
    fn get_partition_ancestors(relid: Oid) -> *mut pg_sys::List;
}

/// A table by its qualified name.
pub fn named(name: &str) -> Result<Table> {
    let spi = Spi::connect()?;
    let plan = Plan::prepare("SELECT pg_catalog.to_regclass($1)::pg_catalog.oid", &[pg_sys::TEXTOID], false)?;
    let rows = spi.run(&plan, &[Some(text_datum(&to_server(name)))])?;
    match rows.get(0, 0) {
        Some(oid) => existing(Oid::from(oid.value() as u32), name),
        None => Err(missing(name)),
    }
}

fn missing(name: &str) -> Fault {
    Fault::new(
        Code::UndefinedTable,
        format!("table {name} does not exist"),
        "It was attached to msgstatus and is gone. Drop the msgstatus_... triggers of its counterpart, or create it again and attach it.",
    )
}

/// Looks a relation up; `name` is for the error.
pub fn existing(oid: Oid, name: &str) -> Result<Table> {
    // SAFETY: a syscache tuple is read before it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, Datum::from(oid));
        if tuple.is_null() {
            return Err(missing(name));
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>();
        let table = Table {
            oid,
            owner: (*form).relowner,
            forced_rls: (*form).relforcerowsecurity,
            partitioned: (*form).relkind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE,
        };
        pg_sys::ReleaseSysCache(tuple);
        Ok(table)
    }
}

/// May the current role do this with the relation? Not if it is gone.
pub fn may(oid: Oid, mode: u32) -> bool {
    // SAFETY: ACL look-ups for an existing relation.
    unsafe {
        pg_sys::get_rel_relkind(oid) != 0
            && pg_sys::pg_class_aclcheck(oid, pg_sys::GetUserId(), mode as pg_sys::AclMode)
                == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// May it do this with the relation, or at least with this column of it?
pub fn may_column(oid: Oid, column: &str, mode: u32) -> bool {
    let of_column = |(number, ..): (i16, Oid, i32, Oid)| {
        // SAFETY: as above, for an existing column.
        let acl = unsafe { pg_sys::pg_attribute_aclcheck(oid, number, pg_sys::GetUserId(), mode as pg_sys::AclMode) };
        acl == pg_sys::AclResult::ACLCHECK_OK
    };
    may(oid, mode) || attribute(oid, column).is_some_and(of_column)
}

/// Do no policies hide rows of a table from the caller? They can't be asked about rows that are not in it.
pub fn sees_all(table: Oid) -> bool {
    // SAFETY: looks an existing relation up, for the current role.
    let policies = unsafe { pg_sys::check_enable_rls(table, pg_sys::InvalidOid, true) };
    policies != pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
}

/// A relation's name, qualified and quoted.
pub fn relation_name(oid: Oid) -> String {
    // SAFETY: gives null for what does not exist, which reads as an empty name.
    unsafe {
        let schema = c_string(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(oid)));
        let name = c_string(pg_sys::get_rel_name(oid));
        pgrx::spi::quote_qualified_identifier(&schema, &name)
    }
}

/// A column's number, type, modifier and collation, if the relation has it.
pub fn attribute(relation: Oid, column: &str) -> Option<(i16, Oid, i32, Oid)> {
    let name = CString::new(to_server(column)).ok()?;
    let (mut oid, mut modifier, mut collation) = (pg_sys::InvalidOid, -1, pg_sys::InvalidOid);
    // SAFETY: catalog look-ups; the second only for a column that the first found.
    unsafe {
        let number = pg_sys::get_attnum(relation, name.as_ptr());
        if number <= 0 {
            return None;
        }
        pg_sys::get_atttypetypmodcoll(relation, number, &mut oid, &mut modifier, &mut collation);
        Some((number, oid, modifier, collation))
    }
}

/// What the messages table can hold of a folded row. A status map holds every milestone that has no column.
fn stored(mapping: &Mapping, messages: &Table) -> Stored {
    let m = &mapping.m;
    let modifier = |column: Option<&str>| {
        column.and_then(|c| attribute(messages.oid, c)).map(|(_, oid, modifier, _)| (oid, modifier))
    };
    let time = |column: Option<&str>, without: Hold| match modifier(column) {
        None => without,
        // A timestamp's modifier is its number of decimals.
        Some((_, decimals @ 0..=5)) => Hold::Steps(10_i64.pow(6 - decimals as u32)),
        Some(_) => Hold::Steps(1),
    };
    // A varchar's modifier is its length and that of a varlena header.
    let length = |column: Option<&str>| match modifier(column) {
        Some((pg_sys::VARCHAROID, n)) if n > 4 => usize::try_from(n - 4).ok(),
        _ => None,
    };
    let without = if m.status_map.is_some() { Hold::Iso } else { Hold::Not };
    Stored {
        status_at: time(m.status_at.as_deref(), Hold::Not),
        seen: m.statuses_seen.is_some(),
        mapped: m.status_map.is_some(),
        is_final: m.final_.is_some(),
        milestones: Milestone::ALL.map(|at| time(m.milestone(at), without)),
        code_length: length(m.error_code.as_deref()),
        message_length: length(m.error_message.as_deref()),
    }
}

/// Is a column NOT NULL, or its domain?
pub fn is_required(table: &Table, column: &str) -> bool {
    let Some((number, oid, ..)) = attribute(table.oid, column) else { return false };
    let (attributes, types) = (pg_sys::SysCacheIdentifier::ATTNUM as i32, pg_sys::SysCacheIdentifier::TYPEOID as i32);
    // SAFETY: syscache tuples are read, if they are there, before they are released.
    unsafe {
        let tuple = pg_sys::SearchSysCache2(attributes, Datum::from(table.oid), Datum::from(number));
        let own = !tuple.is_null() && {
            let required = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_attribute>()).attnotnull;
            pg_sys::ReleaseSysCache(tuple);
            required
        };
        let tuple = pg_sys::SearchSysCache1(types, Datum::from(oid));
        let of_domain = !tuple.is_null() && {
            let required = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_type>()).typnotnull;
            pg_sys::ReleaseSysCache(tuple);
            required
        };
        own || of_domain
    }
}

/// A column that plays a role, or the error that names it.
pub fn required(table: &Table, role: &str, column: &str) -> Result<(i16, Oid, i32, Oid)> {
    attribute(table.oid, column).ok_or_else(|| {
        Fault::new(
            Code::UndefinedColumn,
            format!("column \"{column}\" of table {} does not exist", relation_name(table.oid)),
            format!(
                "It plays the role \"{role}\" for msgstatus. If it was renamed or dropped, run msgstatus.detach and \
                 msgstatus.attach again with its new name in columns."
            ),
        )
    })
}

/// Checks that every column of the mapping exists, and gathers what the SQL needs of them.
pub fn columns(mapping: &Mapping, messages: &Table, log: &Table) -> Result<Columns> {
    // The types are checked here and not only by attach: anybody may write a mapping into a trigger of their own.
    let declared = |table: &Table, role: &str, column: Option<&str>, kind: Kind| -> Result<Option<String>> {
        let Some(column) = column else { return Ok(None) };
        let (_, oid, modifier, _) = required(table, role, column)?;
        if !kind.fits(oid) {
            return Err(kind.refusal(table, role, column, oid));
        }
        let flags = (pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN | pg_sys::FORMAT_TYPE_FORCE_QUALIFY) as u16;
        // SAFETY: gives a palloc'd C string for any type.
        Ok(Some(unsafe { c_string(pg_sys::format_type_extended(oid, modifier, flags)) }))
    };
    let m = &mapping.m;
    let l = &mapping.l;
    let p = &mapping.p;
    let (_, key_oid, _, collation) = required(messages, "message_key", &m.key)?;
    let key = KeyType::of(key_oid, collation)?;
    let (_, log_key_oid, _, log_collation) = required(log, "log_key", &l.key)?;
    if KeyType::of(log_key_oid, log_collation)?.oid() != key.oid() {
        return Err(Kind::Any.refusal(log, "log_key", &l.key, log_key_oid));
    }
    for (table, role, column) in [(messages, "message_key", &m.key), (log, "log_key", &l.key)] {
        declared(table, role, Some(column), Kind::Any)?;
    }
    status_column(messages, &m.status)?;
    let (_, log_status, _, _) = required(log, "log.status", &l.status)?;
    declared(log, "log.status", Some(&l.status), Kind::Word)?;
    let mut types = Types {
        status_at: declared(messages, "status_at", m.status_at.as_deref(), Kind::Time)?,
        error_code: declared(messages, "error_code", m.error_code.as_deref(), Kind::Text)?,
        error_message: declared(messages, "error_message", m.error_message.as_deref(), Kind::Text)?,
        event_at: declared(log, "log.event_at", l.event_at.as_deref(), Kind::Time)?,
        created_at: declared(log, "log.created_at", l.created_at.as_deref(), Kind::Time)?,
        ..Types::default()
    };
    for at in Milestone::ALL {
        types.milestones[at as usize] = declared(messages, at.column(), m.milestone(at), Kind::Time)?;
    }
    declared(messages, "statuses_seen", m.statuses_seen.as_deref(), Kind::Integer)?;
    declared(messages, "status_map", m.status_map.as_deref(), Kind::Jsonb)?;
    declared(messages, "final", m.final_.as_deref(), Kind::Boolean)?;
    declared(log, "log.delivery_id", l.delivery_id.as_deref(), Kind::Integer)?;
    types.log_provider = declared(log, "log.provider", l.provider.as_deref(), Kind::Any)?;
    types.log_error_code = declared(log, "log.error_code", l.error_code.as_deref(), Kind::Any)?;
    types.log_error_message = declared(log, "log.error_message", l.error_message.as_deref(), Kind::Any)?;
    types.log_source = declared(log, "log.source", l.source.as_deref(), Kind::Any)?;
    types.log_payload = declared(log, "log.payload", l.payload.as_deref(), Kind::Any)?;
    declared(messages, "check_count", p.check_count.as_deref(), Kind::Integer)?;
    types.last_checked_at = declared(messages, "last_checked_at", p.last_checked_at.as_deref(), Kind::Time)?;
    // A callback needs none of these, so it does not fail where one is gone: see `due_columns`.
    let there = |column: &Option<String>| column.as_deref().filter(|c| attribute(messages.oid, c).is_some()).is_some();
    for (role, column, slot) in [
        ("created_at", &p.created_at, &mut types.poll_created_at),
        ("scheduled_for", &p.scheduled_for, &mut types.scheduled_for),
        ("next_check_at", &p.next_check_at, &mut types.next_check_at),
    ] {
        if there(column) {
            *slot = declared(messages, role, column.as_deref(), Kind::Time)?;
        }
    }
    for (role, column, kind, slot) in [
        ("price", &p.price, Kind::Amount, &mut types.price),
        ("price_unit", &p.price_unit, Kind::Text, &mut types.price_unit),
    ] {
        if there(column) {
            *slot = declared(messages, role, column.as_deref(), kind)?;
        }
    }
    types.error_code_required = m.error_code.as_deref().is_some_and(|c| is_required(messages, c));
    types.error_message_required = m.error_message.as_deref().is_some_and(|c| is_required(messages, c));
    // The provider's id is a text.
    let sid_is_key = p.sid.is_none() && key.is_text();
    let found_by =
        if sid_is_key && needs_message(mapping, messages, log)? { Some(m.key.clone()) } else { p.sid.clone() };
    let shape = Shape {
        messages: relation_name(messages.oid),
        log: relation_name(log.oid),
        key_type: key.sql_type(),
        equals: key.sql_equals(),
        greater: key.sql_greater(),
        collate: key.sql_collate().to_owned(),
        partitioned: messages.partitioned,
        key_collation: collate_clause(collation),
        labels: log_status == StatusOids::get()?.enum_type,
        final_column: final_column(mapping, messages),
        found_by,
        types,
    };
    Ok(Columns { key, shape, stored: stored(mapping, messages) })
}

/// The column that says whether a message is final: the engine's own, or one of that name that PostgreSQL generates. One that
/// may be NULL says it not of every message.
fn final_column(mapping: &Mapping, messages: &Table) -> Option<String> {
    if let Some(column) = &mapping.m.final_ {
        return is_required(messages, column).then(|| column.clone());
    }
    let (number, oid, ..) = attribute(messages.oid, "final")?;
    // SAFETY: catalog look-up of an existing column.
    let generated = unsafe { pg_sys::get_attgenerated(messages.oid, number) != 0 };
    (generated && Kind::Boolean.fits(oid)).then(|| "final".to_owned())
}

/// Can messages be found by the provider's id without reading the whole table?
pub fn finds_sid(mapping: &Mapping, messages: &Table) -> Result<bool> {
    let Some(sid) = mapping.p.sid.as_deref() else { return Ok(true) };
    let Some((number, ..)) = attribute(messages.oid, sid) else { return Ok(false) };
    let spi = Spi::connect()?;
    let sql = "SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indisvalid \
               AND i.indkey[0] OPERATOR(pg_catalog.=) $2 AND (i.indpred IS NULL OR pg_catalog.pg_get_expr(i.indpred, i.indrelid) \
               OPERATOR(pg_catalog.~) '^[(][^()]+ IS NOT NULL[)]$') LIMIT 1";
    let args = [Some(Datum::from(messages.oid)), Some(Datum::from(number))];
    Ok(!spi.once(sql, &[pg_sys::OIDOID, pg_sys::INT2OID], &args)?.is_empty())
}

/// Checks the columns that nothing but asking the provider reads.
pub fn due_columns(mapping: &Mapping, messages: &Table) -> Result<()> {
    let p = &mapping.p;
    for (role, column) in [
        ("sid", &p.sid),
        ("provider", &p.provider),
        ("direction", &p.direction),
        ("created_at", &p.created_at),
        ("scheduled_for", &p.scheduled_for),
        ("next_check_at", &p.next_check_at),
        ("account_sid", &p.account_sid),
        ("batch", &p.batch),
        ("price", &p.price),
        ("price_unit", &p.price_unit),
        ("num_segments", &p.num_segments),
    ] {
        if let Some(column) = column {
            required(messages, role, column)?;
        }
    }
    Ok(())
}

/// Does a BEFORE UPDATE trigger of somebody else see rows of these messages, and so what the engine writes?
pub fn has_meddlers(messages: &Table) -> Result<bool> {
    lock_before_partitions(messages);
    let spi = Spi::connect()?;
    let sql = "
        SELECT 1
          FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) g.tgfoid
         WHERE (g.tgrelid OPERATOR(pg_catalog.=) $1
                OR g.tgrelid OPERATOR(pg_catalog.=) ANY (SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree($1) t))
           AND p.pronamespace OPERATOR(pg_catalog.<>) $2
           AND (g.tgtype OPERATOR(pg_catalog.&) 19::pg_catalog.int2) OPERATOR(pg_catalog.=) 19
         LIMIT 1";
    let args = [Some(Datum::from(messages.oid)), Some(Datum::from(extension_schema()))];
    Ok(!spi.once(sql, &[pg_sys::OIDOID, pg_sys::OIDOID], &args)?.is_empty())
}

/// Locks a partitioned table as reading it does. `pg_partition_tree` locks its partitions, and an ALTER TABLE that has the
/// whole and waits for a part would deadlock with who has the part and waits for the whole.
fn lock_before_partitions(table: &Table) {
    if table.partitioned {
        // SAFETY: locks an existing relation until the end of the transaction; an error while waiting ends that as usual.
        unsafe { pg_sys::LockRelationOid(table.oid, pg_sys::AccessShareLock as i32) };
    }
}

/// Does a subscription bring rows of this table, or of its partitions?
pub fn is_subscribed(table: &Table) -> Result<bool> {
    lock_before_partitions(table);
    let spi = Spi::connect()?;
    let sql = "SELECT 1 FROM pg_catalog.pg_subscription_rel r \
               WHERE r.srrelid OPERATOR(pg_catalog.=) $1 \
                  OR r.srrelid OPERATOR(pg_catalog.=) ANY (SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree($1) t) \
               LIMIT 1";
    Ok(!spi.once(sql, &[pg_sys::OIDOID], &[Some(Datum::from(table.oid))])?.is_empty())
}

/// The ranks of a policy; a status that the policy does not list keeps its default rank.
pub fn ranks(policy: &str) -> Result<Ranks> {
    let oids = StatusOids::get()?;
    let spi = Spi::connect()?;
    let sql = "SELECT p.status, p.rank FROM msgstatus.policy p WHERE p.policy OPERATOR(pg_catalog.=) $1";
    let plan = Plan::prepare(sql, &[pg_sys::TEXTOID], false)?;
    let rows = spi.run(&plan, &[Some(text_datum(&to_server(policy)))])?;
    if rows.is_empty() {
        return Err(Fault::new(
            Code::InvalidArgument,
            format!("policy \"{policy}\" does not exist"),
            "Choose one of SELECT DISTINCT policy FROM msgstatus.policy, or add your own rows to that table.",
        ));
    }
    let mut ranks = Ranks::default();
    for i in 0..rows.len() {
        let status = rows.get(i, 0).and_then(|d| oids.status(d));
        if let (Some(status), Some(rank)) = (status, rows.get(i, 1)) {
            ranks.0[status.index()] = rank.value() as i16;
        }
    }
    Ok(ranks)
}
