//! Telnyx's messaging webhooks.

use super::event::{Event, Parsed, error, is_failure, items, object, refuse, text};
use super::time;
use serde_json::Value;

/// Reads a webhook: an event for each recipient. Received messages, and events of other products, give nothing.
///
/// The status is the recipient's: the event `message.sent` comes with `queued`.
pub fn parse(body: &Value) -> Parsed {
    let fields = object(body, "Telnyx")?;
    let Some(data) = fields.get("data") else { return refuse("it has no data") };
    let Some(kind) = text(data.get("event_type")) else { return refuse("its data has no event_type") };
    if !matches!(kind.as_str(), "message.sent" | "message.finalized") {
        return Ok(Vec::new());
    }
    let said = data.get("payload");
    let Some(sid) = said.and_then(|said| text(said.get("id"))) else { return refuse("its payload has no id") };
    let recipients = items(said.and_then(|said| said.get("to")));
    let first = items(said.and_then(|said| said.get("errors"))).first();
    let at = time::read(data.get("occurred_at"));
    let event = |to: &Value| {
        let status = text(to.get("status"))?;
        // Errors are the message's: of several recipients, they are about those who did not get it.
        let first = first.filter(|_| recipients.len() == 1 || is_failure("telnyx", &status));
        let part = |name: &str| first.and_then(|error| text(error.get(name)));
        let words = part("detail").or_else(|| part("title"));
        let (error_code, error_message) = error("telnyx", &status, part("code"), words);
        Some(Event { sid: sid.clone(), status, error_code, error_message, at, payload: body.clone() })
    };
    Ok(recipients.iter().filter_map(event).collect())
}
