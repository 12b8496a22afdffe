//! SMPP delivery receipts: the text of a deliver_sm, in the form of SMPP 3.4, appendix B.

use super::event::{Event, Parsed, error, refuse};
use serde_json::{Map, Value};

/// The fields of a receipt, in the order in which they stand, before a colon.
/// Some write an underscore for the blank.
const FIELDS: [&str; 10] =
    ["id", "sub", "dlvrd", "submit date", "done date", "submit_date", "done_date", "stat", "err", "text"];

/// Reads a receipt. Its dates are in the time zone of whoever wrote it, which nobody tells: it gives no time.
pub fn parse(text: &str) -> Parsed {
    let text = text.trim();
    let mut fields: Map<String, Value> = Map::new();
    let (mut rest, mut field) = (text, None::<&str>);
    let mut value_from = text.len();
    while let Some((at, name)) = next_field(rest) {
        let begins = text.len() - rest.len() + at;
        if let Some(field) = field {
            keep(&mut fields, field, text.get(value_from..begins).unwrap_or_default());
        }
        value_from = begins + name.len() + 1;
        field = Some(name);
        rest = text.get(value_from..).unwrap_or_default();
        // The text of the message is the last, whatever is in it.
        if name == "text" {
            break;
        }
    }
    if let Some(field) = field {
        keep(&mut fields, field, text.get(value_from..).unwrap_or_default());
    }
    let get = |name: &str| fields.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
    let (Some(sid), Some(status)) = (get("id"), get("stat")) else {
        return refuse("it has no id: and stat:, as every receipt");
    };
    // Neither has blanks in it. What has is somebody's text, in which these names occur.
    if [sid, status].iter().any(|value| value.contains(char::is_whitespace)) {
        return refuse("what stands after id: or stat: is no single word");
    }
    // What a vendor adds behind the code is not part of it.
    let code = get("err").and_then(|err| err.split_whitespace().next()).map(str::to_owned);
    let (error_code, _) = error("smpp", status, code, None);
    let (sid, status) = (sid.to_owned(), status.to_owned());
    Ok(vec![Event { sid, status, error_code, error_message: None, at: None, payload: Value::Object(fields) }])
}

fn keep(fields: &mut Map<String, Value>, name: &str, value: &str) {
    fields.entry(name).or_insert_with(|| Value::String(value.trim().to_owned()));
}

/// Where the next field begins, at the start of a word, and which it is.
fn next_field(text: &str) -> Option<(usize, &'static str)> {
    let mut from = 0;
    while let Some(colon) = text.get(from..)?.find(':').map(|at| from + at) {
        let before = text.get(from..colon).unwrap_or_default();
        for name in FIELDS {
            let Some(begins) = before.len().checked_sub(name.len()) else { continue };
            if before.get(begins..).is_some_and(|word| word.eq_ignore_ascii_case(name))
                && (begins == 0 || before.as_bytes()[begins - 1].is_ascii_whitespace())
            {
                return Some((from + begins, name));
            }
        }
        from = colon + 1;
    }
    None
}
