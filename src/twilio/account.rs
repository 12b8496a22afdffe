//! Credentials: which account may be asked with what.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Larger than any file of credentials.
const LARGEST_FILE: u64 = 1 << 20;

/// Name and password of HTTP Basic. Its Debug form shows neither.
#[derive(Clone)]
pub struct Login {
    name: String,
    password: SecretString,
}

impl Login {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn password(&self) -> &str {
        self.password.expose_secret()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

/// The accounts that there are credentials for.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    logins: BTreeMap<String, Login>,
}

/// One table of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    auth_token: Option<SecretString>,
    api_key: Option<String>,
    api_secret: Option<SecretString>,
}

impl Accounts {
    /// One account with its token.
    pub fn one(sid: String, token: SecretString) -> Accounts {
        Accounts { logins: BTreeMap::from([(sid.clone(), Login { name: sid, password: token })]) }
    }

    /// Reads a credentials file. What is wrong with it is said without a word of what is in it.
    pub fn read(path: &Path) -> Result<Accounts, String> {
        let shown = path.display();
        let mut file =
            std::fs::File::open(path).map_err(|e| format!("credentials file {shown} can't be opened: {e}"))?;
        let about = file.metadata().map_err(|e| format!("credentials file {shown} can't be looked at: {e}"))?;
        // SAFETY: the call has no preconditions.
        let me = unsafe { libc::geteuid() };
        private(about.uid(), about.permissions().mode(), about.is_file(), me)
            .map_err(|why| format!("credentials file {shown} is refused: {why}"))?;
        let mut text = String::new();
        let read = file.by_ref().take(LARGEST_FILE).read_to_string(&mut text);
        read.map_err(|e| format!("credentials file {shown} can't be read: {}", e.kind()))?;
        let parsed = Accounts::parse(&text).map_err(|why| format!("credentials file {shown}: {why}"));
        drop(SecretString::from(text));
        parsed
    }

    fn parse(text: &str) -> Result<Accounts, String> {
        // The parser's own message quotes the line, which may hold a secret.
        let entries: BTreeMap<String, Entry> = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|s| text.get(..s.start).unwrap_or_default().matches('\n').count() + 1);
            let place = line.map_or("it".to_owned(), |n| format!("line {n}"));
            format!("{place} is not of the form [AC...] with auth_token, or api_key and api_secret")
        })?;
        let mut logins = BTreeMap::new();
        for (sid, entry) in entries {
            if !is_account(&sid) {
                return Err("a table is not named by an Account SID, AC...".to_owned());
            }
            let login = match entry {
                Entry { auth_token: Some(token), api_key: None, api_secret: None } => {
                    Login { name: sid.clone(), password: token }
                }
                Entry { auth_token: None, api_key: Some(name), api_secret: Some(secret) } => {
                    Login { name, password: secret }
                }
                _ => return Err(format!("account {sid} needs auth_token, or api_key and api_secret")),
            };
            logins.insert(sid, login);
        }
        Ok(Accounts { logins })
    }

    pub fn is_empty(&self) -> bool {
        self.logins.is_empty()
    }

    /// The account of messages that do not say whose they are, and that speaks for accounts that have no entry: the only
    /// one that there is. A main account's token reads its subaccounts too (Twilio, "Subaccounts").
    pub fn only(&self) -> Option<&str> {
        match self.logins.len() {
            1 => self.logins.keys().next().map(String::as_str),
            _ => None,
        }
    }

    /// The accounts by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.logins.keys().map(String::as_str)
    }

    /// With what an account is asked.
    pub fn login(&self, account: &str) -> Option<&Login> {
        self.logins.get(account).or_else(|| self.logins.get(self.only()?))
    }
}

/// AC and letters and digits; Twilio's own have 32 hexadecimal digits.
pub fn is_account(sid: &str) -> bool {
    sid.strip_prefix("AC").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
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

    #[test]
    fn a_file_names_accounts_and_their_secrets() {
        let text = format!("[{A}]\nauth_token = 'tttt'\n[{B}]\napi_key = 'SK1'\napi_secret = 'ssss'\n");
        let accounts = Accounts::parse(&text).unwrap_or_default();
        let login = |sid| accounts.login(sid).map(|l| (l.name().to_owned(), l.password().to_owned()));
        assert_eq!(login(A), Some((A.to_owned(), "tttt".to_owned())));
        assert_eq!(login(B), Some(("SK1".to_owned(), "ssss".to_owned())));
        assert!(
            accounts.login("AC00000000000000000000000000000003").is_none(),
            "of two accounts none speaks for others"
        );
        assert!(accounts.only().is_none());
        assert!(!format!("{accounts:?}").contains("ssss"));
    }

    #[test]
    fn the_only_account_speaks_for_subaccounts() {
        let accounts = Accounts::one(A.to_owned(), SecretString::from("tttt"));
        assert_eq!(accounts.login(B).map(Login::name), Some(A));
        assert_eq!(accounts.only(), Some(A));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_secrets() {
        for text in [
            format!("[{A}]\nauth_token = 'hush\n"),
            format!("[{A}]\nauth_token = 'hush'\ntoken = 'hush'\n"),
            format!("[{A}]\nauth_token = 'hush'\napi_key = 'hush'\n"),
            format!("[{A}]\n"),
            "[hush]\nauth_token = 'hush'\n".to_owned(),
            "auth_token = 'hush'\n".to_owned(),
        ] {
            let why = Accounts::parse(&text).err().unwrap_or_default();
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
