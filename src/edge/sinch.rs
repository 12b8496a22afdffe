//! Sinch's SMS delivery reports: of one recipient, or of a batch.

use super::event::{Event, Parsed, object, refuse, repeatable, text};
use super::time;
use serde_json::{Value, json};

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
    let event = |said: &Value, at, payload| {
        Some(Event {
            sid: sid.clone(),
            status: text(said.get("status"))?,
            error_code: text(said.get("code")).filter(|code| !FINE.contains(&code.as_str())),
            error_message: None,
            at,
            payload,
        })
    };
    let statuses = match fields.get("statuses") {
        Some(Value::Array(statuses)) => statuses,
        Some(_) => return refuse("its statuses are no array"),
        None => return Ok(event(body, time::read(fields.get("at")), body.clone()).into_iter().collect()),
    };
    // A full report names the recipients of a status, a summary counts them.
    repeatable(statuses.iter().map(|said| recipients(said).len().max(1)).sum(), &[Some(&sid)])?;
    let mut events: Vec<Event> = Vec::new();
    for said in statuses {
        let (status, code) = (text(said.get("status")), text(said.get("code")));
        repeatable(recipients(said).len(), &[status.as_deref(), code.as_deref()])?;
        events.extend(payloads(said).into_iter().filter_map(|payload| event(said, None, payload)));
    }
    // All that was said is with the first.
    if let Some(first) = events.first_mut() {
        first.payload = body.clone();
    }
    Ok(events)
}

fn recipients(said: &Value) -> &[Value] {
    said.get("recipients").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What is said of each recipient of a status, or of all of them if they are not named.
fn payloads(said: &Value) -> Vec<Value> {
    // What is no text, nobody knows the size of.
    let scalar = |name: &str| said.get(name).filter(|value| !value.is_array() && !value.is_object());
    let of = |recipient: &Value| json!({"status": scalar("status"), "code": scalar("code"), "recipients": [recipient]});
    match recipients(said) {
        [] => vec![said.clone()],
        recipients => recipients.iter().map(of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_once_is_not_stored_for_each() {
        let large = Value::from("x".repeat(20_000));
        for (name, value) in
            [("code", json!([large])), ("status", json!({"a": large})), ("code", json!({"a": [large]}))]
        {
            let mut said = json!({"status": "Delivered", "code": 0, "recipients": vec!["12025550143"; 500]});
            said[name] = value;
            let events = parse(&json!({"batch_id": "b", "statuses": [said]}));
            let size = |events: &[Event]| events.iter().map(|event| event.payload.to_string().len()).sum::<usize>();
            assert!(events.as_deref().is_ok_and(|events| size(events) < 100_000), "{name}");
        }
    }
}
