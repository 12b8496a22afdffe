//! What a parser gives: the events of a body, or why it can't be the provider's.

use crate::status::Status;
use crate::status::words::Provider;
use crate::twilio::Time;
use serde_json::{Map, Value};

/// A row for the delivery log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub sid: String,
    /// The provider's own word.
    pub status: String,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// When it happened, where the provider says so and can be relied on.
    pub at: Option<Time>,
    /// What was said about this event, whole.
    pub payload: Value,
}

impl Event {
    /// The same without what PostgreSQL can't hold: one character in texts, and numbers that are longer than any numeric.
    pub fn storable(mut self) -> Event {
        let texts =
            [Some(&mut self.sid), Some(&mut self.status), self.error_code.as_mut(), self.error_message.as_mut()];
        texts.into_iter().flatten().for_each(without_nul);
        clean(&mut self.payload);
        self
    }
}

fn without_nul(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => without_nul(text),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => {
            if fields.keys().any(|name| name.contains('\0')) {
                let named = std::mem::take(fields).into_iter();
                *fields = named.map(|(name, value)| (name.replace('\0', "\u{fffd}"), value)).collect();
            }
            fields.values_mut().for_each(clean);
        }
        Value::Number(number) => {
            // A numeric has 131072 digits before the point and 16383 behind it; nobody's number has a thousand.
            let text = number.to_string();
            let exponent = text.rsplit_once(['e', 'E']).map_or(Ok(0), |(_, exponent)| exponent.parse::<i32>());
            if text.len() > LONGEST_NUMBER || !exponent.is_ok_and(|e| e.unsigned_abs() <= LONGEST_NUMBER as u32) {
                *value = Value::String(text);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// In digits.
const LONGEST_NUMBER: usize = 1000;

/// What went wrong, of what a provider says: its code, unless that says that nothing did, and its words where there is a
/// code or the status is a failure. A reason beside `delivered` is none.
pub fn error(
    provider: &str,
    status: &str,
    code: Option<String>,
    words: Option<String>,
) -> (Option<String>, Option<String>) {
    let code = code.filter(|code| is_error(code));
    let words = words.filter(|_| code.is_some() || is_failure(provider, status));
    (code, words)
}

/// A code of nothing but zeros says that there is no error.
pub fn is_error(code: &str) -> bool {
    code.bytes().any(|b| b != b'0')
}

/// Does this word of a provider's mean that the message did not arrive?
pub fn is_failure(provider: &str, status: &str) -> bool {
    Provider::named(provider.as_bytes()).parse(status.as_bytes()).is_some_and(Status::is_failure)
}

/// Why a body can't be its provider's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

pub type Parsed = Result<Vec<Event>, Refusal>;

pub fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}

/// The object that a body has to be.
pub fn object<'a>(value: &'a Value, whose: &str) -> Result<&'a Map<String, Value>, Refusal> {
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Array(_) => refuse(format!("{whose} sends an object, and this is an array")),
        _ => refuse(format!("{whose} sends an object, and this is none")),
    }
}

/// More recipients than any provider takes in one request (Sinch: 1,000 a batch; Telnyx: fewer).
const MOST_RECIPIENTS: usize = 1000;

/// Longer than any id, status or reason of a provider's, in bytes.
const LONGEST_SHARED: usize = 1000;

/// Refuses a body of which each of many recipients' rows would repeat much: a megabyte must not become a gigabyte.
pub fn repeatable(recipients: usize, shared: &[Option<&str>]) -> Result<(), Refusal> {
    if recipients > MOST_RECIPIENTS {
        return refuse(format!("it has {recipients} recipients, more than {MOST_RECIPIENTS}"));
    }
    if recipients > 1 && shared.iter().flatten().any(|text| text.len() > LONGEST_SHARED) {
        return refuse(format!("what it says of {recipients} recipients is longer than {LONGEST_SHARED} bytes"));
    }
    Ok(())
}

/// The fields of a form. One that is there several times has all of its values.
pub fn form(body: &str) -> Map<String, Value> {
    let mut fields: Map<String, Value> = Map::new();
    for (name, value) in url::form_urlencoded::parse(body.trim().as_bytes()) {
        let value = Value::String(value.into_owned());
        match fields.get_mut(&*name) {
            None => drop(fields.insert(name.into_owned(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    fields
}

/// What a field of a form says: the first of its values, without the blanks around it; an empty one says nothing.
pub fn field<'a>(form: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let value = match form.get(name)? {
        Value::Array(values) => values.first()?,
        value => value,
    };
    value.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// A text or a number, as text; blanks around it and empty texts do not count.
pub fn text(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The items of an array; a single object stands for an array of one.
pub fn items(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(items)) => items,
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_what_they_are() {
        let said = r#"{"far":1e400,"id":12345678901234567890123,"price":0.10,"small":1e-20}"#;
        let payload: Value = serde_json::from_str(said).unwrap_or_default();
        assert_eq!(text(payload.get("id")).as_deref(), Some("12345678901234567890123"));
        assert_eq!(text(payload.get("price")).as_deref(), Some("0.10"));
        let event = Event { payload, ..Event::default() }.storable();
        assert_eq!(event.payload.to_string().replace('+', ""), said);
    }

    #[test]
    fn numbers_that_are_none_of_postgresqls_become_texts() {
        for wide in ["1e200000", "-1E+99999999999999999999", "1e-200000"]
            .map(str::to_owned)
            .into_iter()
            .chain(["7".repeat(2000), format!("0.{}", "7".repeat(2000))])
        {
            let payload = serde_json::from_str(&format!("[{wide}]")).unwrap_or_default();
            let event = Event { payload, ..Event::default() }.storable();
            assert!(event.payload[0].is_string(), "{}", event.payload);
        }
    }
}
