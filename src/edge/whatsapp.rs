//! Meta's WhatsApp Cloud API: status webhooks (Meta, "messages webhook, status"), also within a Pub/Sub push message.

use super::event::{Event, Parsed, Refusal, items, object, refuse, text};
use super::time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

/// Reads the raw body of a webhook, and what is in it.
pub fn read(body: &[u8]) -> Parsed {
    let parsed = serde_json::from_slice::<Value>(body).or_else(|why| {
        // A text that was cut may end with half of a character. That is somebody's name, and no reason to lose a status.
        std::str::from_utf8(body).map_or(Err(why), |body| serde_json::from_str(&whole_characters(body)))
    });
    match parsed {
        Ok(body) => parse(&body),
        Err(why) => refuse(format!("it is no JSON: {why}")),
    }
}

/// JSON with escapes that are half of a character, without the other half, replaced.
fn whole_characters(json: &str) -> String {
    let unit =
        |at: usize| json.get(at..at + 6).and_then(|part| u16::from_str_radix(part.strip_prefix("\\u")?, 16).ok());
    let (mut whole, mut at) = (String::with_capacity(json.len()), 0);
    while let Some(found) = json[at..].find('\\').map(|found| at + found) {
        whole.push_str(&json[at..found]);
        let (escape, valid) = match (unit(found), unit(found + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (12, true),
            (Some(0xD800..=0xDFFF), _) => (6, false),
            // The backslash, and what it stands before: perhaps another one.
            _ => (1 + json[found + 1..].chars().next().map_or(0, char::len_utf8), true),
        };
        whole.push_str(if valid { &json[found..found + escape] } else { "\\ufffd" });
        at = found + escape;
    }
    whole + &json[at..]
}

/// Reads a webhook: all statuses of all changes of all entries. Inbound messages, other fields and errors of an account
/// give nothing.
pub fn parse(body: &Value) -> Parsed {
    let fields = object(body, "WhatsApp")?;
    if text(fields.get("object")).is_some_and(|object| object != "whatsapp_business_account") {
        return refuse("its object is not whatsapp_business_account");
    }
    if let Some(entries) = fields.get("entry") {
        let Value::Array(entries) = entries else { return refuse("its entry is no array") };
        let changes = entries.iter().flat_map(|entry| items(entry.get("changes")));
        let statuses = changes.filter_map(|change| change.get("value")).flat_map(|value| items(value.get("statuses")));
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
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(inner) if inner.get("entry").is_some() => Ok(inner),
        Ok(_) => refuse("its message.data has no entry"),
        Err(_) => refuse("its message.data holds no JSON"),
    }
}

fn status(said: &Value) -> Option<Event> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_character_costs_no_status() {
        let body = |name: &str| {
            format!(
                r#"{{"entry":[{{"changes":[{{"value":{{"contacts":[{{"name":"{name}"}}],"statuses":[{{"id":"1","status":"sent"}}]}}}}]}}]}}"#
            )
        };
        for name in
            ["Zo\u{eb}", r"\ud83d", r"a\ude95b", r"\ud83d\ud83d\ude95", r"\\ud83d\ud83d", r"\ud83dx", r"\uDBFF\n"]
        {
            let events = read(body(name).as_bytes());
            assert_eq!(events.map(|events| events.len()), Ok(1), "{name}");
        }
        assert_eq!(
            whole_characters(r#"["\ud83d\ude95", "\\ud83d", "\ud83d", "\"\udead"]"#),
            r#"["\ud83d\ude95", "\\ud83d", "\ufffd", "\"\ufffd"]"#
        );
        for wrong in [r"\", r"\u", r"\ud8", "\"", r"\x"] {
            assert!(read(body(wrong).as_bytes()).is_err(), "{wrong}");
        }
        assert!(read(b"").is_err() && read(b"\xff").is_err() && read(b"\\").is_err());
    }
}
