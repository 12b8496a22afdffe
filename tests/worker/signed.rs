//! Requests as providers sign them.

use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use postgres::Client;
use sha1::Sha1;
use sha2::Sha256;
use std::collections::BTreeSet;

/// SQLSTATE, and message and hint.
pub type Told = (String, String);

pub fn told(error: postgres::Error) -> Told {
    let error = error.as_db_error().expect("an error of the server");
    (error.code().code().to_owned(), format!("{} {}", error.message(), error.hint().unwrap_or_default()))
}

fn mac<M: Mac + KeyInit>(key: &str, text: &str) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key.as_bytes()).expect("a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A callback of Twilio's, signed with this token: the verdict.
pub fn twilio(client: &mut Client, url: &str, body: &str, token: &str) -> Result<Option<String>, Told> {
    let fields: BTreeSet<(&str, &str)> = body.split('&').filter_map(|field| field.split_once('=')).collect();
    let signed = fields.iter().fold(url.to_owned(), |all, (name, value)| all + name + value);
    let signature = base64::engine::general_purpose::STANDARD.encode(mac::<Hmac<Sha1>>(token, &signed));
    let row = client.query_one("SELECT msgstatus.twilio_callback($1, $2, $3)::text", &[&url, &body, &signature]);
    row.map(|row| row.get(0)).map_err(told)
}

/// A webhook of Meta's that says that a message was sent, signed with this secret: how many rows were stored.
pub fn whatsapp(client: &mut Client, id: &str, secret: &str) -> Result<i64, Told> {
    let body = format!(r#"{{"entry":[{{"changes":[{{"value":{{"statuses":[{{"id":"{id}","status":"sent"}}]}}}}]}}]}}"#);
    let hex: String = mac::<Hmac<Sha256>>(secret, &body).iter().map(|byte| format!("{byte:02x}")).collect();
    let row =
        client.query_one("SELECT msgstatus.whatsapp_callback($1, $2)", &[&body.as_bytes(), &format!("sha256={hex}")]);
    row.map(|row| row.get(0)).map_err(told)
}
