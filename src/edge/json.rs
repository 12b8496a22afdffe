//! JSON that somebody else wrote.

use serde_json::Value;

/// By this name, and a `$`, serde_json hands numbers over as they were written. As a name in somebody's object, it would make a
/// number of that, or an error of the whole.
const NUMBER: &str = "serde_json::private::Number";

/// Reads a body, or what one holds.
pub fn read(body: &[u8]) -> serde_json::Result<Value> {
    match std::str::from_utf8(body) {
        Ok(text) if text.contains(NUMBER) => parse(text.replace(NUMBER, "serde_json::Number").as_bytes()),
        _ => parse(body),
    }
}

fn parse(body: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(body).or_else(|why| {
        // A text that was cut may end with half of a character. That is somebody's name, and no reason to lose a status.
        std::str::from_utf8(body).map_or(Err(why), |body| serde_json::from_str(&whole_characters(body)))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_no_number() {
        for (dollar, value) in [("$", "x"), ("$", "5"), (r"\u0024", "5")] {
            let body = format!(r#"{{"a": {{"{dollar}{NUMBER}": "{value}"}}, "b": 1.50}}"#);
            let text = read(body.as_bytes()).map(|read| read.to_string()).unwrap_or_default();
            assert_eq!(text, format!(r#"{{"a":{{"$serde_json::Number":"{value}"}},"b":1.50}}"#));
        }
    }

    #[test]
    fn half_a_character_costs_nothing_else() {
        let body = |name: &str| format!(r#"{{"name":"{name}","status":"sent"}}"#);
        for name in
            ["Zo\u{eb}", r"\ud83d", r"a\ude95b", r"\ud83d\ud83d\ude95", r"\\ud83d\ud83d", r"\ud83dx", r"\uDBFF\n"]
        {
            let read = read(body(name).as_bytes()).ok();
            assert_eq!(read.as_ref().and_then(|read| read.get("status")?.as_str()), Some("sent"), "{name}");
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
