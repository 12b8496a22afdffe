//! Vonage: delivery receipts of its SMS API and message statuses of its Messages API.

use super::event::{Event, Parsed, error, object, refuse, text};
use super::time;
use serde_json::Value;

/// Reads a receipt. Inbound messages give nothing.
pub fn parse(body: &Value) -> Parsed {
    let fields = object(body, "Vonage")?;
    let of_messages_api = text(fields.get("message_uuid"));
    let Some(sid) = of_messages_api.clone().or_else(|| text(fields.get("messageId"))) else {
        return refuse("it has neither message_uuid nor messageId");
    };
    let Some(status) = text(fields.get("status")) else { return Ok(Vec::new()) };
    // scts is the carrier's time, in its own zone; message-timestamp is Vonage's, in UTC. A signed receipt has a timestamp
    // too, and a message status nothing else.
    let at = time::read(fields.get("message-timestamp")).or_else(|| time::read(fields.get("timestamp")));
    let (code, words) = match (of_messages_api, fields.get("error")) {
        (None, _) => (text(fields.get("err-code")), None),
        (_, Some(error)) => of_message(error.get("error").unwrap_or(error)),
        (_, None) => (None, None),
    };
    let (error_code, error_message) = error("vonage", &status, code, words);
    Ok(vec![Event { sid, status, error_code, error_message, at, payload: body.clone() }])
}

/// The error of a message status: its title is the code or says what it is; then the type does, the address of a page that
/// ends in the code. The first version of the API has a code and a reason.
fn of_message(error: &Value) -> (Option<String>, Option<String>) {
    let part = |name: &str| text(error.get(name));
    let number = |text: &String| text.bytes().all(|b| b.is_ascii_digit());
    let of_type = || part("type").and_then(|page| page.rsplit_once('#').map(|(_, code)| code.to_owned()));
    let code = part("title").filter(number).or_else(of_type).or_else(|| part("code"));
    let words = part("detail").or_else(|| part("reason")).or_else(|| part("title").filter(|title| !number(title)));
    (code, words)
}
