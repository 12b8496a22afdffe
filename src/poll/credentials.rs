//! Where the credentials come from: a file, else the settings, else the environment of the server.

use crate::errors::{Code, Fault, Result};
use crate::gucs;
use crate::twilio::account::{Accounts, is_account};
use crate::twilio::client::base_url;
use secrecy::SecretString;
use std::path::Path;

const HINT: &str = "Set msgstatus.credentials_file, or msgstatus.twilio_account_sid and msgstatus.twilio_auth_token, in \
                    postgresql.conf and reload; or TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN in the environment of the server.";

/// The accounts that there are credentials for, once it is clear where to send them.
pub fn ready() -> Result<Accounts> {
    let url = gucs::twilio_base_url();
    base_url(&url).map_err(|why| {
        Fault::new(
            Code::InvalidArgument,
            format!("msgstatus.twilio_base_url is \"{url}\": {why}"),
            "The default is https://api.twilio.com; a region's is https://api.{edge}.{region}.twilio.com.",
        )
    })?;
    accounts()
}

fn accounts() -> Result<Accounts> {
    if let Some(file) = gucs::credentials_file() {
        let accounts = Accounts::read(Path::new(&file)).map_err(|why| {
            Fault::new(
                Code::BadCredentials,
                why,
                "The file has one table per Account SID, and nobody but the server's user may have access to it: chmod 0600.",
            )
        })?;
        if accounts.is_empty() {
            return Err(Fault::new(Code::BadCredentials, format!("credentials file {file} has no account"), HINT));
        }
        return Ok(accounts);
    }
    let variable = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    let sid = gucs::twilio_account_sid().or_else(|| variable("TWILIO_ACCOUNT_SID"));
    let token = gucs::auth_token().or_else(|| variable("TWILIO_AUTH_TOKEN").map(SecretString::from));
    match (sid, token) {
        (Some(sid), Some(_)) if !is_account(&sid) => Err(Fault::new(
            Code::BadCredentials,
            format!("\"{sid}\" is no Account SID"),
            "An Account SID is AC and 32 hexadecimal digits, as Twilio's console shows it.",
        )),
        (Some(sid), Some(token)) => Ok(Accounts::one(sid, token)),
        (Some(_), None) => Err(Fault::new(Code::NotReady, "there is no auth token for Twilio", HINT)),
        _ => Err(Fault::new(Code::NotReady, "there are no credentials for Twilio", HINT)),
    }
}

/// The error for an account without credentials.
pub fn missing(account: &str) -> Fault {
    let what =
        if account.is_empty() { "an account that the message does not name".to_owned() } else { account.to_owned() };
    Fault::new(Code::NotReady, format!("there are no credentials for {what}"), HINT)
}
