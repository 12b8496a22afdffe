//! The credentials file: TOML, a table an account, for nobody but the server.

use crate::twilio::account::{Accounts, Login, is_account};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Larger than any file of credentials.
const LARGEST: u64 = 1 << 20;

/// The table that is no account of Twilio's.
const WHATSAPP: &str = "whatsapp";

/// What a file holds.
#[derive(Debug, Default)]
pub struct Secrets {
    pub accounts: Accounts,
    /// Of the Meta apps whose webhooks come here.
    pub app_secrets: Vec<SecretString>,
}

/// One table of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    auth_token: Option<Several>,
    api_key: Option<String>,
    api_secret: Option<SecretString>,
    app_secret: Option<Several>,
}

/// A secret, or the one in force and others that are accepted beside it while it is being replaced.
#[derive(Deserialize)]
#[serde(untagged)]
enum Several {
    One(SecretString),
    More(Vec<SecretString>),
}

impl Several {
    /// All that say something: with an empty one anybody could sign.
    fn all(self) -> Vec<SecretString> {
        let mut secrets = match self {
            Several::One(secret) => vec![secret],
            Several::More(secrets) => secrets,
        };
        secrets.retain(|secret| !secret.expose_secret().trim().is_empty());
        secrets
    }
}

impl Secrets {
    /// Reads a file. What is wrong with it is said as what the file does or is, and without a word of what is in it.
    pub fn read(path: &Path) -> Result<Secrets, String> {
        let mut file = std::fs::File::open(path).map_err(|e| format!("can't be opened: {e}"))?;
        let about = file.metadata().map_err(|e| format!("can't be looked at: {e}"))?;
        // SAFETY: the call has no preconditions.
        let me = unsafe { libc::geteuid() };
        private(about.uid(), about.permissions().mode(), about.is_file(), me)
            .map_err(|why| format!("is refused: {why}"))?;
        // Room for all of it, as a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(about.len().min(LARGEST) as usize + 1));
        let read = file.by_ref().take(LARGEST).read_to_string(&mut text);
        read.map_err(|e| format!("can't be read: {}", e.kind()))?;
        Secrets::parse(&text).map_err(|why| format!("is of no use: {why}"))
    }

    fn parse(text: &str) -> Result<Secrets, String> {
        // The parser's own message quotes the line, which may hold a secret.
        let entries: BTreeMap<String, Entry> = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|s| text.get(..s.start).unwrap_or_default().matches('\n').count() + 1);
            let place = line.map_or("it".to_owned(), |n| format!("line {n}"));
            format!(
                "{place} is not of the form [AC...] with auth_token, or api_key and api_secret; or [whatsapp] with app_secret"
            )
        })?;
        // It may be about to be written. The settings are not to speak for it meanwhile.
        if entries.is_empty() {
            return Err("it holds nothing".to_owned());
        }
        let mut secrets = Secrets::default();
        for (name, entry) in entries {
            if name == WHATSAPP {
                secrets.app_secrets = entry.app_secrets()?;
            } else if is_account(&name) {
                let (login, tokens) = entry.account(&name)?;
                secrets.accounts.add(name, login, tokens);
            } else {
                return Err("a table is named neither by an Account SID, AC..., nor whatsapp".to_owned());
            }
        }
        Ok(secrets)
    }
}

impl Entry {
    /// With what an account is asked, and the tokens that it signs with. An API key, if there is one, is for asking, as
    /// Twilio recommends; signatures are made with the token.
    fn account(self, sid: &str) -> Result<(Login, Vec<SecretString>), String> {
        let needs = || format!("account {sid} needs auth_token, or api_key and api_secret, or all three");
        let tokens = self.auth_token.map(Several::all).unwrap_or_default();
        let login = match (self.api_key, self.api_secret, tokens.first(), self.app_secret) {
            (Some(key), Some(secret), _, None) => Login::new(key, secret),
            (None, None, Some(token), None) => Login::new(sid.to_owned(), token.clone()),
            _ => return Err(needs()),
        };
        Ok((login, tokens))
    }

    fn app_secrets(self) -> Result<Vec<SecretString>, String> {
        match (self.app_secret.map(Several::all), self.auth_token, self.api_key, self.api_secret) {
            (Some(secrets), None, None, None) if !secrets.is_empty() => Ok(secrets),
            _ => Err("table whatsapp needs app_secret and nothing else".to_owned()),
        }
    }
}

/// PostgreSQL's own rule for a private key: the server user's and nobody else's, or root's and readable by a group.
fn private(owner: u32, mode: u32, is_file: bool, me: u32) -> Result<(), String> {
    if !is_file {
        return Err("it is not a file".to_owned());
    }
    let (mode, allowed) = (mode & 0o777, if owner == 0 && me != 0 { 0o740 } else { 0o700 });
    if owner != me && owner != 0 {
        return Err("it belongs to neither the server's user nor root".to_owned());
    }
    if mode & !allowed != 0 {
        return Err(format!("its permissions are {mode:04o}, others can read it; chmod 0600 makes it private"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AC00000000000000000000000000000001";
    const B: &str = "AC00000000000000000000000000000002";
    const C: &str = "AC00000000000000000000000000000003";

    fn shown(secrets: &[SecretString]) -> Vec<&str> {
        secrets.iter().map(ExposeSecret::expose_secret).collect()
    }

    #[test]
    fn a_file_names_accounts_and_their_secrets() {
        let text = format!(
            "[{A}]\nauth_token = 'tttt'\n[{B}]\napi_key = 'SK1'\napi_secret = 'ssss'\n\
             [{C}]\nauth_token = ['new', 'old']\napi_key = 'SK2'\napi_secret = 'uuuu'\n[whatsapp]\napp_secret = 'mmmm'\n"
        );
        let secrets = Secrets::parse(&text).unwrap_or_default();
        let accounts = &secrets.accounts;
        let login = |sid| accounts.login(sid).map(|l| (l.name().to_owned(), l.password().to_owned()));
        assert_eq!(login(A), Some((A.to_owned(), "tttt".to_owned())));
        assert_eq!(login(B), Some(("SK1".to_owned(), "ssss".to_owned())));
        assert_eq!(login(C), Some(("SK2".to_owned(), "uuuu".to_owned())), "a key is for asking");
        assert_eq!(shown(accounts.tokens(A)), ["tttt"]);
        assert!(accounts.tokens(B).is_empty(), "a key signs nothing");
        assert_eq!(shown(accounts.tokens(C)), ["new", "old"]);
        assert_eq!(shown(&secrets.app_secrets), ["mmmm"]);
        assert!(accounts.login("AC00000000000000000000000000000004").is_none(), "of several none speaks for others");
        assert!(accounts.only().is_none());
        assert!(!format!("{secrets:?}").contains("ssss"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_secrets() {
        for text in [
            format!("[{A}]\nauth_token = 'hush\n"),
            format!("[{A}]\nauth_token = 'hush'\ntoken = 'hush'\n"),
            format!("[{A}]\nauth_token = 'hush'\napi_key = 'hush'\n"),
            format!("[{A}]\nauth_token = []\n"),
            format!("[{A}]\nauth_token = ''\n"),
            format!("[{A}]\nauth_token = 1\n"),
            format!("[{A}]\nauth_token = 'hush'\napp_secret = 'hush'\n"),
            format!("[{A}]\napp_secret = 'hush'\n"),
            format!("[{A}]\n"),
            "[hush]\nauth_token = 'hush'\n".to_owned(),
            "auth_token = 'hush'\n".to_owned(),
            "[whatsapp]\nauth_token = 'hush'\n".to_owned(),
            "[whatsapp]\napp_secret = []\n".to_owned(),
            "[whatsapp]\napp_secret = ' '\n".to_owned(),
            "# nothing but a comment\n".to_owned(),
            String::new(),
        ] {
            let why = Secrets::parse(&text).err().unwrap_or_default();
            assert!(!why.is_empty(), "{text}");
            assert!(!why.contains("hush"), "{why}");
        }
    }

    #[test]
    fn a_file_is_private_as_a_private_key_is() {
        assert!(private(26, 0o100600, true, 26).is_ok());
        assert!(private(0, 0o100640, true, 26).is_ok());
        assert!(private(26, 0o100640, true, 26).is_err());
        assert!(private(26, 0o100604, true, 26).is_err());
        assert!(private(0, 0o100644, true, 26).is_err());
        assert!(private(1000, 0o100600, true, 26).is_err());
        assert!(private(26, 0o040700, false, 26).is_err());
    }
}
