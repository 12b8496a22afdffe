//! Where the credentials come from: a file, else the settings, else the environment of the server.
//!
//! | module | what it is |
//! |---|---|
//! | [`file`] | the file: who may read it, what is in it |
//! | [`signers`] | those of its secrets that callbacks are signed with, remembered |
//! | [`vault`] | memory for them |

mod file;
mod signers;
mod vault;

use crate::errors::{Code, Fault, Result};
use crate::gucs::{self, Secret};
use crate::twilio::account::{Accounts, is_account};
use crate::twilio::client::base_url;
use file::Secrets;
use pgrx::pg_sys::{self, Oid};
use secrecy::{ExposeSecret, SecretString};
use signers::Signers;
use std::path::Path;
use std::rc::Rc;

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

/// The accounts that there are credentials for. A file that has none leaves it to the settings.
fn accounts() -> Result<Accounts> {
    if let Some(file) = gucs::credentials_file() {
        let accounts = Secrets::read(Path::new(&file)).map_err(|why| bad_file(&file, &why))?.accounts;
        if !accounts.is_empty() {
            return Ok(accounts);
        }
    }
    let (sid, token) = one_account()?;
    Ok(Accounts::one(sid, token))
}

/// The account of the settings or the environment, and its token.
fn one_account() -> Result<(String, SecretString)> {
    let sid = gucs::twilio_account_sid().or_else(|| variable("TWILIO_ACCOUNT_SID"));
    let token = gucs::secret(Secret::TwilioAuthToken).or_else(|| variable("TWILIO_AUTH_TOKEN").map(SecretString::from));
    match (sid, token) {
        (Some(sid), Some(_)) if !is_account(&sid) => Err(Fault::new(
            Code::BadCredentials,
            format!("\"{sid}\" is no Account SID"),
            "An Account SID is AC and 32 hexadecimal digits, as Twilio's console shows it.",
        )),
        (Some(sid), Some(token)) => Ok((sid, token)),
        (Some(_), None) => Err(Fault::new(Code::NotReady, "there is no auth token for Twilio", HINT)),
        _ => Err(Fault::new(Code::NotReady, "there are no credentials for Twilio", HINT)),
    }
}

/// Is something signed with the auth token of this account? The only account that there is speaks for all. Accounts are those
/// of the file if it has some, else that of the settings, else that of the environment.
pub fn is_signed_by_account(account: &str, is_signed: impl Fn(&str) -> bool) -> Result<bool> {
    let signers = gucs::credentials_file().map(|file| signers(&file)).transpose()?;
    let Some(signers) = signers.filter(|signers| signers.has_accounts()) else {
        let (_, token) = one_account().map_err(|fault| Fault { code: Code::NotReady, ..fault })?;
        return Ok(is_signed(token.expose_secret()));
    };
    signers.account(account, is_signed).ok_or_else(|| {
        // That an account of the file has no token is for us to mend. Any other may be named by anybody.
        let code = if signers.knows(account) { Code::NotReady } else { Code::BadCredentials };
        let account = if account.is_empty() { "an account that the body does not name" } else { account };
        Fault::new(
            code,
            format!("there is no auth token of {account}"),
            "Signatures are made with the auth token of the account, not with an API key: put auth_token into its table of \
             msgstatus.credentials_file.",
        )
    })
}

/// Is it signed with the secret of a Meta app whose webhooks come here? Secrets are those of the file if it has some, else
/// that of the settings, else that of the environment.
pub fn is_signed_by_app(is_signed: impl Fn(&str) -> bool) -> Result<bool> {
    if let Some(file) = gucs::credentials_file()
        && let Some(signed) = signers(&file)?.app(&is_signed)
    {
        return Ok(signed);
    }
    let variable = || variable("WHATSAPP_APP_SECRET").map(SecretString::from);
    match gucs::secret(Secret::WhatsappAppSecret).or_else(variable) {
        Some(secret) => Ok(is_signed(secret.expose_secret())),
        None => Err(Fault::new(
            Code::NotReady,
            "there is no app secret for WhatsApp",
            "Set msgstatus.whatsapp_app_secret in postgresql.conf and reload, or app_secret in the table [whatsapp] of \
             msgstatus.credentials_file, or WHATSAPP_APP_SECRET in the environment of the server.",
        )),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.trim().is_empty())
}

/// What is wrong with the file. Where it is, is said to those who may see the setting.
fn bad_file(path: &str, why: &str) -> Fault {
    // SAFETY: catalog look-ups for the current role, in a transaction.
    let may_know =
        unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), Oid::from(pg_sys::ROLE_PG_READ_ALL_SETTINGS)) };
    let file =
        if may_know { format!("credentials file {path}") } else { "the file of msgstatus.credentials_file".into() };
    Fault::new(
        Code::BadCredentials,
        format!("{file} {why}"),
        "The file has one table per Account SID, and nobody but the server's user may have access to it: chmod 0600.",
    )
}

/// Whose signatures a file vouches for. Its being unusable says nothing of whoever sent a request: for a web handler that is
/// an error of the server's.
fn signers(file: &str) -> Result<Rc<Signers>> {
    signers::of_file(Path::new(file)).map_err(|why| Fault { code: Code::NotReady, ..bad_file(file, &why) })
}

/// The error for an account without credentials.
pub fn missing(account: &str) -> Fault {
    let what =
        if account.is_empty() { "an account that the message does not name".to_owned() } else { account.to_owned() };
    Fault::new(Code::NotReady, format!("there are no credentials for {what}"), HINT)
}
