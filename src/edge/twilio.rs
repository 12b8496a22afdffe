//! Twilio's status callbacks: a form (Twilio, "Track the message status of outbound messages").

use super::event::{Event, Parsed, error, field, form, refuse};
use crate::twilio::account::is_account;
use serde_json::{Map, Value};

/// What every request of Twilio's to an application says.
const ACCOUNT: [&str; 2] = ["AccountSid", "ParentAccountSid"];

/// Longer than any Account SID.
const LONGEST_ACCOUNT: usize = 64;

/// Whose request it is, as its body says: with this account's token it has to be signed.
pub fn account(fields: &Map<String, Value>) -> Option<&str> {
    field(fields, ACCOUNT[0]).filter(|sid| is_account(sid) && sid.len() <= LONGEST_ACCOUNT)
}

/// Reads the raw body of a callback.
pub fn parse(body: &str) -> Parsed {
    read(form(body))
}

/// Reads its fields. Those that are not known are kept.
///
/// It gives no time: a callback has none, and RawDlrDoneDate is in nobody knows which time zone. Requests that are no status
/// of a message (an inbound one, a call's, an alert) give nothing.
pub fn read(fields: Map<String, Value>) -> Parsed {
    let get = |name: &str| field(&fields, name);
    let sid = get("MessageSid").or_else(|| get("SmsSid")).or_else(|| get("SmsMessageSid"));
    let Some(sid) = sid else {
        return match get("MessageStatus") {
            Some(_) => refuse("it has a MessageStatus and no MessageSid"),
            None if ACCOUNT.iter().any(|name| get(name).is_some()) => Ok(Vec::new()),
            None => refuse("it has neither MessageSid nor AccountSid, as every form of Twilio's"),
        };
    };
    // An inbound message has SmsStatus alone, which says so.
    let inbound = |status: &&str| ["received", "receiving"].iter().any(|word| status.eq_ignore_ascii_case(word));
    let Some(status) = get("MessageStatus").or_else(|| get("SmsStatus").filter(|status| !inbound(status))) else {
        return Ok(Vec::new());
    };
    let words = get("ErrorMessage").or_else(|| get("ChannelStatusMessage")).map(str::to_owned);
    let (error_code, error_message) = error("twilio", status, get("ErrorCode").map(str::to_owned), words);
    let (sid, status) = (sid.to_owned(), status.to_owned());
    Ok(vec![Event { sid, status, error_code, error_message, at: None, payload: Value::Object(fields) }])
}
