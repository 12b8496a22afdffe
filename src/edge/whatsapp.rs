//! Meta's WhatsApp Cloud API: status webhooks (Meta, "messages webhook, status"), also within a Pub/Sub push message.

use super::event::{Event, Parsed, Refusal, items, object, refuse, text};
use super::{json, time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

/// Reads the raw body of a webhook, and what is in it.
pub fn read(body: &[u8]) -> Parsed {
    match json::read(body) {
        Ok(body) => parse(&body),
        Err(why) => refuse(format!("it is no JSON: {why}")),
    }
}

/// Reads a webhook: all statuses of all changes of all entries. Inbound messages, other fields (calls, say) and errors of an
/// account give nothing.
pub fn parse(body: &Value) -> Parsed {
    let fields = object(body, "WhatsApp")?;
    if text(fields.get("object")).is_some_and(|object| object != "whatsapp_business_account") {
        return refuse("its object is not whatsapp_business_account");
    }
    if let Some(entries) = fields.get("entry") {
        let Value::Array(entries) = entries else { return refuse("its entry is no array") };
        let changes = entries.iter().flat_map(|entry| items(entry.get("changes")));
        let values = changes.filter(|change| is_usual(change, "field", "messages")).filter_map(|c| c.get("value"));
        let statuses = values.flat_map(|value| items(value.get("statuses")));
        return Ok(statuses.filter_map(status).collect());
    }
    match fields.get("message").and_then(|message| message.get("data")) {
        Some(Value::String(data)) => parse(&unwrapped(data)?),
        Some(_) => refuse("its message.data is no text"),
        None => refuse("it has neither entry nor message.data"),
    }
}

/// What a Pub/Sub message carries, in base64.
fn unwrapped(data: &str) -> Result<Value, Refusal> {
    // Some tools break its lines.
    let data: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let Ok(bytes) = BASE64.decode(data) else { return refuse("its message.data is not base64") };
    match json::read(&bytes) {
        Ok(inner) if inner.get("entry").is_some() => Ok(inner),
        Ok(_) => refuse("its message.data has no entry"),
        Err(_) => refuse("its message.data holds no JSON"),
    }
}

/// Is a field what it is in webhooks about messages, or left out?
fn is_usual(value: &Value, name: &str, usual: &str) -> bool {
    text(value.get(name)).is_none_or(|said| said.eq_ignore_ascii_case(usual))
}

/// Of a payment for a message, and of a call, there are statuses too, some with the same words (`failed`): they say their type.
fn status(said: &Value) -> Option<Event> {
    if !is_usual(said, "type", "message") {
        return None;
    }
    let error = items(said.get("errors")).first();
    Some(Event {
        sid: text(said.get("id"))?,
        status: text(said.get("status"))?,
        error_code: error.and_then(|error| text(error.get("code"))),
        error_message: error.map(error_message),
        at: time::read(said.get("timestamp")),
        payload: said.clone(),
    })
}

/// `Error {code}: {title} - {message} ({details})`, of which what is missing is left out.
fn error_message(error: &Value) -> String {
    let part = |name: &str| text(error.get(name));
    let mut all = part("code").map_or("Error".to_owned(), |code| format!("Error {code}"));
    let said: Vec<String> = [part("title"), part("message")].into_iter().flatten().collect();
    if !said.is_empty() {
        all.push_str(&format!(": {}", said.join(" - ")));
    }
    if let Some(details) = error.get("error_data").and_then(|data| text(data.get("details"))) {
        all.push_str(&format!(" ({details})"));
    }
    all
}
