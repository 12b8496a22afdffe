//! Infobip's delivery reports.

use super::event::{Event, Parsed, error, is_error, object, refuse, text};
use super::time;
use crate::status::words::Provider;
use serde_json::Value;

/// Reads reports: an event for each result. Inbound messages and seen reports, which have no status, give nothing.
pub fn parse(body: &Value) -> Parsed {
    let fields = object(body, "Infobip")?;
    let Some(Value::Array(results)) = fields.get("results") else { return refuse("it has no array of results") };
    let mut events = Vec::new();
    for said in results.iter().filter(|said| said.get("status").is_some_and(Value::is_object)) {
        let Some(sid) = text(said.get("messageId")) else {
            return refuse("one of its results has a status and no messageId");
        };
        events.extend(event(sid, said));
    }
    Ok(events)
}

fn event(sid: String, said: &Value) -> Option<Event> {
    let of = |what: &str, name: &str| said.get(what).and_then(|what| text(what.get(name)));
    let (group, name) = (of("status", "groupName"), of("status", "name"));
    let known = |word: &String| Provider::named(b"infobip").parse(word.as_bytes()).is_some();
    // A name says more than its group where it is one of those that we know; of the others the group says enough.
    let status = name.clone().filter(known).or_else(|| group.clone().filter(known)).or(name).or(group)?;
    let code = of("error", "id").filter(|code| is_error(code));
    let words = match &code {
        Some(_) => of("error", "description").or_else(|| of("error", "name")),
        None => of("status", "description"),
    };
    let (error_code, error_message) = error("infobip", &status, code, words);
    Some(Event { sid, status, error_code, error_message, at: time::read(said.get("doneAt")), payload: said.clone() })
}
