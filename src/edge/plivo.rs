//! Plivo's message status callbacks: a form.

use super::event::{Event, Parsed, error, field, form, refuse};
use serde_json::Value;

/// Reads a callback. Inbound messages give nothing.
///
/// It gives no time: Plivo says of its times neither here nor in its documentation in which time zone they are.
pub fn parse(body: &str) -> Parsed {
    let fields = form(body);
    let get = |name: &str| field(&fields, name);
    let Some(sid) = get("MessageUUID") else { return refuse("it has no MessageUUID") };
    let Some(status) = get("Status") else { return Ok(Vec::new()) };
    let (code, words) = (get("ErrorCode").map(str::to_owned), get("ErrorMessage").map(str::to_owned));
    let (error_code, error_message) = error("plivo", status, code, words);
    let (sid, status) = (sid.to_owned(), status.to_owned());
    Ok(vec![Event { sid, status, error_code, error_message, at: None, payload: Value::Object(fields) }])
}
