//! Which column plays which role: the `columns` argument, the default names, and the types that fit.

use super::Request;
use crate::errors::{Code, Fault, Result};
use crate::pair::kind::{Kind, status_column};
use crate::pair::mapping::{LogColumns, MessageColumns, PollColumns};
use crate::pair::{Table, resolve};
use pgrx::pg_sys::{self, Oid};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Roles of messages that a column may play, beside key and status, and whether a column of the role's own name plays
/// it without being named.
const MESSAGE_ROLES: &[(&str, Kind)] = &[
    ("status_at", Kind::Time),
    ("sent_at", Kind::Time),
    ("delivered_at", Kind::Time),
    ("read_at", Kind::Time),
    ("failed_at", Kind::Time),
    ("canceled_at", Kind::Time),
    ("error_code", Kind::Text),
    ("error_message", Kind::Text),
    ("statuses_seen", Kind::Integer),
    ("status_map", Kind::Jsonb),
    ("final", Kind::Boolean),
];

/// Roles of messages that asking the provider goes by.
const POLL_ROLES: &[(&str, Kind)] = &[
    ("sid", Kind::Text),
    ("provider", Kind::Text),
    ("direction", Kind::Any),
    ("created_at", Kind::Time),
    ("scheduled_for", Kind::Time),
    ("last_checked_at", Kind::Time),
    ("check_count", Kind::Integer),
    ("next_check_at", Kind::Time),
    ("account_sid", Kind::Text),
    ("batch", Kind::Any),
    ("price", Kind::Amount),
    ("price_unit", Kind::Text),
    ("num_segments", Kind::Integer),
];

/// Roles that the engine does not use; named so that a mapping for later use is not refused.
const OTHER_MESSAGE_ROLES: &[&str] = &["message_id", "tenant", "from_address", "to_address", "body"];

const LOG_ROLES: &[(&str, Kind)] = &[
    ("log.delivery_id", Kind::Integer),
    ("log.provider", Kind::Any),
    ("log.event_at", Kind::Time),
    ("log.created_at", Kind::Time),
    ("log.error_code", Kind::Any),
    ("log.error_message", Kind::Any),
    ("log.source", Kind::Any),
    ("log.payload", Kind::Any),
];

/// The `columns` argument: an object of roles and column names. A role with null is played by no column.
pub fn parse(text: &[u8]) -> Result<Map<String, Value>> {
    let wrong = |what: String| {
        let names: Vec<&str> = MESSAGE_ROLES.iter().chain(POLL_ROLES).chain(LOG_ROLES).map(|r| r.0).collect();
        Fault::new(
            Code::InvalidArgument,
            format!("columns: {what}"),
            format!(
                "columns maps roles to column names, as in {{\"sent_at\": \"sent_on\"}}. Roles: {}, copy.",
                names.join(", ")
            ),
        )
    };
    let Ok(Value::Object(map)) = serde_json::from_str(&crate::encoding::from_server(text)) else {
        return Err(wrong("not a JSON object".into()));
    };
    for (role, value) in &map {
        let known = MESSAGE_ROLES.iter().chain(POLL_ROLES).chain(LOG_ROLES).any(|r| r.0 == role)
            || OTHER_MESSAGE_ROLES.contains(&role.as_str())
            || ["status", "log.sid", "log.status", "copy"].contains(&role.as_str());
        let shaped = match value {
            Value::Array(all) => role == "copy" && all.iter().all(Value::is_string),
            Value::Object(all) => role == "copy" && all.values().all(Value::is_string),
            Value::String(_) | Value::Null => role != "copy",
            _ => false,
        };
        if !known {
            return Err(wrong(format!("there is no role \"{role}\"")));
        }
        if !shaped {
            return Err(wrong(format!("role \"{role}\" can't be {value}")));
        }
    }
    Ok(map)
}

/// Which column plays which role, and which are copied.
pub struct Assigned {
    pub m: MessageColumns,
    pub l: LogColumns,
    pub p: PollColumns,
    pub copy: BTreeMap<String, String>,
}

/// Finds the columns of both tables.
pub fn assign(request: &Request, messages: &Table, log: &Table) -> Result<Assigned> {
    let columns = &request.columns;
    let named = |role: &str| columns.get(role).and_then(Value::as_str).map(str::to_owned);
    let key = named("sid").filter(|_| request.message_key == "sid").unwrap_or_else(|| request.message_key.clone());
    let status = named("status").filter(|_| request.status == "status").unwrap_or_else(|| request.status.clone());
    let log_key = named("log.sid").filter(|_| request.log_key == "sid").unwrap_or_else(|| request.log_key.clone());
    let log_status =
        named("log.status").filter(|_| request.log_status == "status").unwrap_or_else(|| request.log_status.clone());

    status_column(messages, &status)?;
    let (_, oid, _, _) = resolve::required(log, "log.status", &log_status)?;
    if !Kind::Word.fits(oid) || is_generated(log, &log_status) {
        return Err(Kind::Word.refusal(log, "log.status", &log_status, oid));
    }
    for role in OTHER_MESSAGE_ROLES {
        if let Some(column) = named(role) {
            resolve::required(messages, role, &column)?;
        }
    }
    let find = |roles: &[(&'static str, Kind)], table: &Table, role: &str| -> Result<Option<String>> {
        let kind = roles.iter().find(|r| r.0 == role).map_or(Kind::Any, |r| r.1);
        column_of(columns, table, role, kind)
    };
    let of_messages = |role| find(MESSAGE_ROLES, messages, role);
    let of_log = |role| find(LOG_ROLES, log, role);
    let of_poll = |role| find(POLL_ROLES, messages, role);
    let p = PollColumns {
        sid: of_poll("sid")?.filter(|sid| *sid != key),
        provider: of_poll("provider")?,
        direction: of_poll("direction")?,
        created_at: of_poll("created_at")?,
        scheduled_for: of_poll("scheduled_for")?,
        last_checked_at: of_poll("last_checked_at")?,
        check_count: of_poll("check_count")?,
        next_check_at: of_poll("next_check_at")?,
        account_sid: of_poll("account_sid")?,
        batch: of_poll("batch")?,
        price: of_poll("price")?,
        price_unit: of_poll("price_unit")?,
        num_segments: of_poll("num_segments")?,
    };
    let m = MessageColumns {
        key,
        status,
        status_at: of_messages("status_at")?,
        sent_at: of_messages("sent_at")?,
        delivered_at: of_messages("delivered_at")?,
        read_at: of_messages("read_at")?,
        failed_at: of_messages("failed_at")?,
        canceled_at: of_messages("canceled_at")?,
        error_code: of_messages("error_code")?,
        error_message: of_messages("error_message")?,
        statuses_seen: of_messages("statuses_seen")?,
        status_map: of_messages("status_map")?,
        final_: of_messages("final")?,
    };
    let l = LogColumns {
        key: log_key,
        status: log_status,
        delivery_id: of_log("log.delivery_id")?,
        provider: of_log("log.provider")?,
        event_at: of_log("log.event_at")?,
        created_at: of_log("log.created_at")?,
        error_code: of_log("log.error_code")?,
        error_message: of_log("log.error_message")?,
        source: of_log("log.source")?,
        payload: of_log("log.payload")?,
    };
    // A list where the names are the same in both tables, else an object: the log's column, the messages' column.
    let name = |v: &Value| v.as_str().map(str::to_owned);
    let copy: BTreeMap<String, String> = match columns.get("copy") {
        Some(Value::Array(all)) => all.iter().filter_map(name).map(|c| (c.clone(), c)).collect(),
        Some(Value::Object(all)) => all.iter().filter_map(|(to, from)| Some((to.clone(), name(from)?))).collect(),
        _ => BTreeMap::new(),
    };
    for (to, from) in &copy {
        resolve::required(messages, "copy", from)?;
        resolve::required(log, "copy", to)?;
    }
    Ok(Assigned { m, l, p, copy })
}

/// The column that plays a role: the one named, which has to exist and fit, or the one of the role's own name, if it
/// exists and fits.
fn column_of(columns: &Map<String, Value>, table: &Table, role: &str, kind: Kind) -> Result<Option<String>> {
    // The engine writes its columns of messages, and apply_status those of the log.
    let usable = |column: &str, oid: Oid| kind.fits(oid) && !is_generated(table, column);
    match columns.get(role) {
        Some(Value::String(column)) => {
            let (_, oid, _, _) = resolve::required(table, role, column)?;
            if usable(column, oid) {
                return Ok(Some(column.clone()));
            }
            Err(kind.refusal(table, role, column, oid))
        }
        Some(_) => Ok(None),
        None => {
            let column = role.strip_prefix("log.").unwrap_or(role);
            let fits = resolve::attribute(table.oid, column).is_some_and(|(_, oid, _, _)| usable(column, oid));
            Ok(fits.then(|| column.to_owned()))
        }
    }
}

fn is_generated(table: &Table, column: &str) -> bool {
    let Some((number, _, _, _)) = resolve::attribute(table.oid, column) else { return false };
    // SAFETY: catalog look-up of an existing column.
    unsafe { pg_sys::get_attgenerated(table.oid, number) != 0 }
}
