//! Accounts, their subaccounts and keys, and who may read what.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::HashMap;

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub sid: String,
    pub auth_token: String,
    /// The account that this is a subaccount of.
    #[serde(default)]
    pub parent: Option<String>,
    #[serde(default)]
    pub api_keys: Vec<ApiKey>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    pub sid: String,
    pub secret: String,
}

#[derive(Default)]
pub struct Accounts(HashMap<String, Account>);

impl FromIterator<Account> for Accounts {
    fn from_iter<I: IntoIterator<Item = Account>>(accounts: I) -> Accounts {
        Accounts(accounts.into_iter().map(|account| (account.sid.clone(), account)).collect())
    }
}

impl Accounts {
    /// Whether these credentials may read the account. A token reads its own account and the accounts below, never one
    /// above; an API key belongs to one account and reads that alone.
    pub fn permit(&self, credentials: &Credentials, account: &str) -> bool {
        if let Some(own) = self.0.get(&credentials.user) {
            return own.auth_token == credentials.secret && self.is_or_is_below(account, &own.sid);
        }
        self.0.get(account).is_some_and(|account| {
            account.api_keys.iter().any(|key| key.sid == credentials.user && key.secret == credentials.secret)
        })
    }

    fn is_or_is_below(&self, account: &str, ancestor: &str) -> bool {
        let mut at = self.0.get(account);
        // No chain of parents is longer than there are accounts: one that goes in a circle ends here.
        for _ in 0..self.0.len() {
            match at {
                Some(account) if account.sid == ancestor => return true,
                Some(account) => at = account.parent.as_ref().and_then(|parent| self.0.get(parent)),
                None => return false,
            }
        }
        false
    }
}

/// What came with HTTP Basic. Not printed: it holds a secret.
pub struct Credentials {
    pub user: String,
    secret: String,
}

impl Credentials {
    /// Reads the value of the header Authorization.
    pub fn read(header: &str) -> Option<Credentials> {
        let (scheme, encoded) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, secret) = decoded.split_once(':')?;
        Some(Credentials { user: user.to_owned(), secret: secret.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(user: &str, secret: &str) -> Credentials {
        Credentials { user: user.to_owned(), secret: secret.to_owned() }
    }

    #[test]
    fn a_token_reads_downwards_and_a_key_its_own_account() {
        let account = |sid: &str, parent: Option<&str>| Account {
            sid: sid.to_owned(),
            auth_token: format!("token of {sid}"),
            parent: parent.map(str::to_owned),
            api_keys: vec![ApiKey { sid: format!("SK {sid}"), secret: "secret".to_owned() }],
        };
        let accounts: Accounts =
            [account("AC1", None), account("AC2", Some("AC1")), account("AC3", None)].into_iter().collect();
        let top = credentials("AC1", "token of AC1");
        let sub = credentials("AC2", "token of AC2");
        assert!(accounts.permit(&top, "AC1") && accounts.permit(&top, "AC2"));
        assert!(accounts.permit(&sub, "AC2"));
        assert!(!accounts.permit(&sub, "AC1") && !accounts.permit(&top, "AC3") && !accounts.permit(&top, "AC4"));
        assert!(!accounts.permit(&credentials("AC1", "token of AC2"), "AC2"));
        assert!(accounts.permit(&credentials("SK AC1", "secret"), "AC1"));
        assert!(!accounts.permit(&credentials("SK AC1", "secret"), "AC2"));
        assert!(!accounts.permit(&credentials("SK AC1", "other"), "AC1"));
    }

    #[test]
    fn basic_is_read() {
        let read = Credentials::read("Basic QUMxOmE6Yg==").map(|c| (c.user, c.secret));
        assert_eq!(read, Some(("AC1".to_owned(), "a:b".to_owned())));
        assert!(Credentials::read("Bearer QUMxOmE6Yg==").is_none());
        assert!(Credentials::read("Basic !").is_none());
    }
}
