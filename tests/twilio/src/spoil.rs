//! What a rule does to the content of an answer.

use crate::clock::Moment;
use crate::endpoints::{Answer, Asked, Kind};
use crate::misbehave::{Action, Rule};
use crate::trouble::Trouble;
use crate::{Simulator, list, read};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

/// A status that Twilio does not have.
const NO_STATUS: &str = "teleported";

pub fn spoil(rule: &Rule, asked: &Asked, simulator: &Simulator, now: Moment, mut answer: Answer) -> Answer {
    let action = &rule.action;
    if answer.status == StatusCode::OK {
        if let Some(body) = first_page_again(action, asked, simulator, now) {
            answer.body = body;
        }
        edit(rule, asked, simulator, now, &mut answer.body);
    }
    say(action, &mut answer);
    if action.invalid_json {
        answer.body.truncate(answer.body.len() / 2);
    }
    if action.empty {
        answer.body.clear();
    }
    answer
}

/// Another status, other headers, another body. They were checked when the rule was set.
fn say(action: &Action, answer: &mut Answer) {
    if let Ok(Some(status)) = action.status() {
        let headers = std::mem::take(&mut answer.headers);
        *answer = match status.as_u16() {
            code @ 400.. => Answer::trouble(&Trouble::of_status(code)),
            200 => Answer::json(status, std::mem::take(&mut answer.body)),
            _ => Answer { status, headers: headers.clone(), body: Vec::new() },
        };
        for (name, value) in &headers {
            if !answer.headers.contains_key(name) {
                answer.headers.insert(name, value.clone());
            }
        }
    }
    if let Some(body) = &action.body {
        let (kind, body) = match body {
            Value::String(text) if text.trim_start().starts_with('<') => ("text/html; charset=utf-8", text.clone()),
            Value::String(text) => ("text/plain; charset=utf-8", text.clone()),
            other => ("application/json", other.to_string()),
        };
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        answer.body = body.into_bytes();
    }
    for (name, value) in action.headers().unwrap_or_default() {
        answer.headers.insert(name, value);
    }
}

/// The first page of a list, whatever page is asked for, with a page after it.
fn first_page_again(action: &Action, asked: &Asked, simulator: &Simulator, now: Moment) -> Option<Vec<u8>> {
    if !action.repeat_first_page || asked.kind != Kind::List {
        return None;
    }
    let account = asked.account.as_deref()?;
    let mut query = list::Query::read(asked.params()).ok()?;
    query.rewind();
    let body = list::page(&read(&simulator.messages), account, &query, now).ok()?;
    let mut page: Value = serde_json::from_slice(&body).ok()?;
    let last = page.pointer("/messages").and_then(Value::as_array).and_then(|messages| messages.last());
    let sid = last.and_then(|message| message.pointer("/sid")).and_then(Value::as_str);
    let next = query.next_uri(account, sid.unwrap_or("SM00000000000000000000000000000000"));
    page.as_object_mut()?.insert("next_page_uri".to_owned(), Value::String(next));
    Some(page.to_string().into_bytes())
}

/// Changes the resources in an answer, or that of the rule's message alone, and the page around them.
fn edit(rule: &Rule, asked: &Asked, simulator: &Simulator, now: Moment, body: &mut Vec<u8>) {
    let action = &rule.action;
    let untouched = action.unknown_status.word("").is_none()
        && action.wrong_sid.word("").is_none()
        && action.next_page_uri.is_none()
        && action.missing_fields.is_empty()
        && !action.null_status
        && !action.extra_fields;
    if untouched {
        return;
    }
    let Ok(Value::Object(mut root)) = serde_json::from_slice(body) else { return };
    if let Some(Value::Array(messages)) = root.get_mut("messages") {
        for message in messages.iter_mut().filter_map(Value::as_object_mut) {
            let named = rule.sid.as_ref().is_none_or(|sid| message.get("sid").and_then(Value::as_str) == Some(sid));
            if named {
                edit_message(action, asked, simulator, now, message);
            }
        }
        if let Some(uri) = &action.next_page_uri {
            root.insert("next_page_uri".to_owned(), json!(uri));
        }
        if action.extra_fields {
            root.extend(extra_fields());
        }
    } else {
        edit_message(action, asked, simulator, now, &mut root);
    }
    *body = Value::Object(root).to_string().into_bytes();
}

fn edit_message(action: &Action, asked: &Asked, simulator: &Simulator, now: Moment, message: &mut Map<String, Value>) {
    if let Some(wanted) = action.wrong_sid.word("") {
        let sid = message.get("sid").and_then(Value::as_str).unwrap_or_default().to_owned();
        let messages = read(&simulator.messages);
        let other = match wanted {
            "" => asked.account.as_deref().and_then(|account| messages.another(account, &sid)),
            wanted => messages.find(wanted),
        };
        match other.map(|other| json!(other.resource(now))) {
            Some(Value::Object(other)) => *message = other,
            // There is no such message: this one in its name.
            _ => {
                let name = if wanted.is_empty() { format!("SM{}", "0".repeat(32)) } else { wanted.to_owned() };
                let renamed = Value::Object(message.clone()).to_string().replace(&sid, &name);
                *message = serde_json::from_str(&renamed).unwrap_or_default();
            }
        }
    }
    if let Some(status) = action.unknown_status.word(NO_STATUS) {
        message.insert("status".to_owned(), json!(status));
    }
    if action.null_status {
        message.insert("status".to_owned(), Value::Null);
    }
    if action.extra_fields {
        message.extend(extra_fields());
    }
    for field in &action.missing_fields {
        message.remove(field);
    }
}

/// One of each type that JSON has.
fn extra_fields() -> Map<String, Value> {
    let fields = json!({
        "carrier": { "name": "Example Mobile", "codes": [1, 2.5, null] },
        "attempts": 3,
        "confidence": 0.25,
        "roaming": false,
        "labels": ["a", "b"],
        "remark": "not in the specification \u{1F4F1}",
        "reserved": null,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
