//! Sinch's SMS delivery reports: of one recipient, or of a batch.

use super::event::{Event, Parsed, object, refuse, text};
use super::time;
use serde_json::Value;

/// Codes that are no error: delivered, queued, dispatched (Sinch, "Delivery report error codes").
const FINE: [&str; 3] = ["0", "400", "401"];

/// Reads a report: an event for each recipient. What it is about is a batch, whose id all its recipients share. Inbound
/// messages give nothing.
pub fn parse(body: &Value) -> Parsed {
    let fields = object(body, "Sinch")?;
    if text(fields.get("type")).is_some_and(|kind| kind.starts_with("mo_")) {
        return Ok(Vec::new());
    }
    let Some(sid) = text(fields.get("batch_id")) else { return refuse("it has no batch_id") };
    let event = |said: &Value, at| {
        Some(Event {
            sid: sid.clone(),
            status: text(said.get("status"))?,
            error_code: text(said.get("code")).filter(|code| !FINE.contains(&code.as_str())),
            error_message: None,
            at,
            payload: said.clone(),
        })
    };
    match fields.get("statuses") {
        Some(Value::Array(statuses)) => {
            // A full report names the recipients of a status, a summary counts them.
            let named =
                |said: &Value| said.get("recipients").and_then(Value::as_array).map_or(1, |all| all.len().max(1));
            let events = |said| std::iter::repeat_n(event(said, None), named(said)).flatten();
            Ok(statuses.iter().flat_map(events).collect())
        }
        Some(_) => refuse("its statuses are no array"),
        None => Ok(event(body, time::read(fields.get("at"))).into_iter().collect()),
    }
}
