//! MessageBird's status reports, and webhooks of Bird's second API.

use super::event::{Event, Parsed, error, object, refuse, text};
use super::time;
use serde_json::Value;

/// Reads a report. Inbound messages and events that are no message's give nothing.
pub fn parse(body: &Value) -> Parsed {
    let fields = object(body, "MessageBird")?;
    // The second API wraps what happened, and says what it is.
    if let (Some(event), Some(said @ Value::Object(_))) = (text(fields.get("event")), fields.get("payload")) {
        let of_message = text(fields.get("service")).is_none_or(|service| service == "channels");
        return match event.rsplit_once('.') {
            Some((_, "outbound")) if of_message => Ok(of_second_api(said, body).into_iter().collect()),
            _ => Ok(Vec::new()),
        };
    }
    let (sid, status) = (text(fields.get("id")), text(fields.get("status")));
    let (Some(sid), Some(status)) = (sid, status) else {
        let inbound =
            ["originator", "body"].iter().all(|name| fields.contains_key(*name)) && !fields.contains_key("status");
        return if inbound { Ok(Vec::new()) } else { refuse("it has no id or no status") };
    };
    if fields.contains_key("channelId") {
        return Ok(of_second_api(body, body).into_iter().collect());
    }
    let (code, words) = (text(fields.get("statusErrorCode")), text(fields.get("statusReason")));
    let (error_code, error_message) = error("messagebird", &status, code, words);
    let at = time::read(fields.get("statusDatetime"));
    Ok(vec![Event { sid, status, error_code, error_message, at, payload: body.clone() }])
}

fn of_second_api(said: &Value, body: &Value) -> Option<Event> {
    if text(said.get("direction")).is_some_and(|direction| direction == "incoming") {
        return None;
    }
    let (sid, status) = (text(said.get("id"))?, text(said.get("status"))?);
    let code = said.get("failure").and_then(|failure| text(failure.get("code")));
    let (error_code, error_message) = error("messagebird", &status, code, text(said.get("reason")));
    Some(Event {
        sid,
        status,
        error_code,
        error_message,
        at: time::read(said.get("lastStatusAt")).or_else(|| time::read(said.get("updatedAt"))),
        payload: body.clone(),
    })
}
