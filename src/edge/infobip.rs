//! Infobip's delivery reports.

use super::event::{Event, Parsed, error, is_error, object, refuse, text};
use super::time;
use crate::status::words::Provider;
use serde_json::Value;

/// The word for what a seen report tells. The report itself has none, but for a time.
const SEEN: &str = "SEEN";

/// Reads reports: an event for each result, of deliveries and of messages that were seen. Inbound messages give nothing.
pub fn parse(body: &Value) -> Parsed {
    let fields = object(body, "Infobip")?;
    let Some(Value::Array(results)) = fields.get("results") else { return refuse("it has no array of results") };
    let mut events = Vec::new();
    for said in results {
        let has_status = said.get("status").is_some_and(Value::is_object);
        let seen_at = said.get("seenAt").filter(|_| !has_status);
        if !has_status && seen_at.is_none() {
            continue;
        }
        let Some(sid) = text(said.get("messageId")) else {
            return refuse("one of its results has a status and no messageId");
        };
        events.extend(if seen_at.is_some() { Some(seen(sid, said, seen_at)) } else { event(sid, said) });
    }
    Ok(events)
}

fn seen(sid: String, said: &Value, at: Option<&Value>) -> Event {
    Event { sid, status: SEEN.to_owned(), at: time::read(at), payload: said.clone(), ..Event::default() }
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
