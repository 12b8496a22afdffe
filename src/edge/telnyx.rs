//! Telnyx's messaging webhooks.

use super::event::{Event, Parsed, error, is_failure, items, object, refuse, repeatable, text};
use super::time;
use serde_json::{Value, json};

/// Reads a webhook: an event for each recipient. Received messages, and events of other products, give nothing.
///
/// The status is the recipient's: the event `message.sent` comes with `queued`.
pub fn parse(body: &Value) -> Parsed {
    let fields = object(body, "Telnyx")?;
    let Some(data) = fields.get("data") else { return refuse("it has no data") };
    let Some(kind) = text(data.get("event_type")) else { return refuse("its data has no event_type") };
    if !matches!(kind.as_str(), "message.sent" | "message.finalized" | "message.read") {
        return Ok(Vec::new());
    }
    let said = data.get("payload");
    let Some(sid) = said.and_then(|said| text(said.get("id"))) else { return refuse("its payload has no id") };
    let recipients = items(said.and_then(|said| said.get("to")));
    let first = items(said.and_then(|said| said.get("errors"))).first();
    let of_first = |name: &str| first.and_then(|error| text(error.get(name)));
    let (code, words) = (of_first("code"), of_first("detail").or_else(|| of_first("title")));
    repeatable(recipients.len(), &[Some(&sid), code.as_deref(), words.as_deref()])?;
    let at = time::read(data.get("occurred_at")).or_else(|| time::read(said.and_then(|said| said.get("completed_at"))));
    let event = |(i, to): (usize, &Value)| {
        let status = text(to.get("status"))?;
        // Errors are the message's: of several recipients, they are about those who did not get it.
        let (code, words) = match recipients.len() == 1 || is_failure("telnyx", &status) {
            true => (code.clone(), words.clone()),
            false => (None, None),
        };
        let (error_code, error_message) = error("telnyx", &status, code, words);
        // The whole of it is with the first recipient.
        let payload = if i == 0 { body.clone() } else { json!({"data": {"payload": {"to": [to]}}}) };
        Some(Event { sid: sid.clone(), status, error_code, error_message, at, payload })
    };
    Ok(recipients.iter().enumerate().filter_map(event).collect())
}
