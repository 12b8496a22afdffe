//! Accounts: which may be asked with what, and what each signs its callbacks with.

use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::fmt;

/// Name and password of HTTP Basic. Its Debug form shows neither.
#[derive(Clone)]
pub struct Login {
    name: String,
    password: SecretString,
}

impl Login {
    pub fn new(name: String, password: SecretString) -> Login {
        Login { name, password }
    }

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

/// What there is for one account.
#[derive(Clone, Debug)]
struct Account {
    login: Login,
    /// The auth token in force, and others that are accepted beside it; none where the account is asked with an API key.
    tokens: Vec<SecretString>,
}

/// The accounts that there are credentials for.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    accounts: BTreeMap<String, Account>,
}

impl Accounts {
    /// One account with its token.
    pub fn one(sid: String, token: SecretString) -> Accounts {
        let mut accounts = Accounts::default();
        accounts.add(sid.clone(), Login::new(sid, token.clone()), vec![token]);
        accounts
    }

    pub fn add(&mut self, sid: String, login: Login, tokens: Vec<SecretString>) {
        self.accounts.insert(sid, Account { login, tokens });
    }

    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The account of messages that do not say whose they are, and that speaks for accounts that have no entry: the only
    /// one that there is. A main account's token reads its subaccounts too (Twilio, "Subaccounts").
    pub fn only(&self) -> Option<&str> {
        match self.accounts.len() {
            1 => self.accounts.keys().next().map(String::as_str),
            _ => None,
        }
    }

    /// The accounts by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.accounts.keys().map(String::as_str)
    }

    fn of(&self, account: &str) -> Option<&Account> {
        self.accounts.get(account).or_else(|| self.accounts.get(self.only()?))
    }

    /// With what an account is asked.
    pub fn login(&self, account: &str) -> Option<&Login> {
        self.of(account).map(|account| &account.login)
    }

    /// With which tokens an account may have signed: the auth token, never an API key's secret (Twilio, "Webhooks security").
    pub fn tokens(&self, account: &str) -> &[SecretString] {
        self.of(account).map_or(&[], |account| &account.tokens)
    }
}

/// AC and letters and digits; Twilio's own have 32 hexadecimal digits.
pub fn is_account(sid: &str) -> bool {
    sid.strip_prefix("AC").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_account_speaks_for_subaccounts() {
        let (main, sub) = ("AC00000000000000000000000000000001", "AC00000000000000000000000000000002");
        let accounts = Accounts::one(main.to_owned(), SecretString::from("tttt"));
        assert_eq!(accounts.login(sub).map(Login::name), Some(main));
        assert_eq!(accounts.tokens(sub).len(), 1);
        assert_eq!(accounts.only(), Some(main));
    }
}
