//! Whose signatures a credentials file vouches for, remembered while the file stays as it is: every callback asks.

use super::file::Secrets;
use super::vault::Vault;
use secrecy::ExposeSecret;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// A file that was changed so short a time ago may be changed again without looking it.
const AT_REST: Duration = Duration::from_secs(2);

/// The secrets of a file that something may be signed with.
pub struct Signers {
    vault: Vault,
    accounts: BTreeMap<String, Vec<Range<usize>>>,
    apps: Vec<Range<usize>>,
}

impl Signers {
    fn of(secrets: &Secrets) -> Option<Signers> {
        let accounts = &secrets.accounts;
        let own = |sid: &str| accounts.tokens(sid).iter();
        let texts: Vec<&str> =
            accounts.names().flat_map(own).chain(&secrets.app_secrets).map(ExposeSecret::expose_secret).collect();
        let (vault, places) = Vault::of(&texts)?;
        let mut places = places.into_iter();
        let by_name = |sid: &str| (sid.to_owned(), places.by_ref().take(own(sid).count()).collect());
        Some(Signers { accounts: accounts.names().map(by_name).collect(), apps: places.collect(), vault })
    }

    pub fn has_accounts(&self) -> bool {
        !self.accounts.is_empty()
    }

    /// Is there something about this account? The only one that there is speaks for all.
    pub fn knows(&self, sid: &str) -> bool {
        self.speaking_for(sid).is_some()
    }

    fn speaking_for(&self, sid: &str) -> Option<&Vec<Range<usize>>> {
        let only = || if self.accounts.len() == 1 { self.accounts.values().next() } else { None };
        self.accounts.get(sid).or_else(only)
    }

    /// Is something signed with one of the tokens of this account? Nothing if there are none.
    pub fn account(&self, sid: &str, is_signed: impl Fn(&str) -> bool) -> Option<bool> {
        self.any(self.speaking_for(sid)?, is_signed)
    }

    /// Is it with the secret of one of the apps?
    pub fn app(&self, is_signed: impl Fn(&str) -> bool) -> Option<bool> {
        self.any(&self.apps, is_signed)
    }

    fn any(&self, places: &[Range<usize>], is_signed: impl Fn(&str) -> bool) -> Option<bool> {
        (!places.is_empty()).then(|| places.iter().any(|place| is_signed(self.vault.text(place))))
    }
}

/// What tells one state of a file from another.
#[derive(PartialEq, Eq)]
struct State {
    path: PathBuf,
    numbers: [u64; 4],
    times: [i64; 4],
}

impl State {
    fn of(path: &Path, about: &Metadata) -> State {
        State {
            path: path.to_owned(),
            numbers: [about.dev(), about.ino(), about.size(), u64::from(about.mode()) << 32 | u64::from(about.uid())],
            times: [about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()],
        }
    }

    /// Is its last change long enough ago for the next one to show?
    fn is_at_rest(&self) -> bool {
        let changed = self.times[0].max(self.times[2]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(changed).is_ok_and(|changed| Duration::from_secs(changed) + AT_REST < now)
    }
}

thread_local! {
    static KEPT: RefCell<Option<(State, Rc<Signers>)>> = const { RefCell::new(None) };
}

/// The signers of a file as it is now; what is wrong with it is said as [`Secrets::read`] says it.
pub fn of_file(path: &Path) -> Result<Rc<Signers>, String> {
    let state = std::fs::metadata(path).ok().map(|about| State::of(path, &about));
    let kept = KEPT.with_borrow(|kept| match kept {
        Some((known, signers)) if Some(known) == state.as_ref() => Some(Rc::clone(signers)),
        _ => None,
    });
    if let Some(signers) = kept {
        return Ok(signers);
    }
    KEPT.set(None);
    let secrets = Secrets::read(path)?;
    let signers = Rc::new(Signers::of(&secrets).ok_or("can't be kept: there is no memory")?);
    if let Some(state) = state.filter(State::is_at_rest) {
        KEPT.set(Some((state, Rc::clone(&signers))));
    }
    Ok(signers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twilio::account::{Accounts, Login};
    use secrecy::SecretString;

    fn signers() -> Signers {
        let mut accounts = Accounts::default();
        let tokens = |all: &[&str]| all.iter().map(|t| SecretString::from(*t)).collect::<Vec<_>>();
        for (sid, all) in [("AC1", &["a"][..]), ("AC2", &[]), ("AC3", &["b", "c"])] {
            accounts.add(sid.to_owned(), Login::new(sid.to_owned(), SecretString::from("x")), tokens(all));
        }
        Signers::of(&Secrets { accounts, app_secrets: tokens(&["d", "e"]) })
            .unwrap_or_else(|| unreachable!("no memory"))
    }

    #[test]
    fn each_account_has_its_own_tokens() {
        let signers = signers();
        let with = |secret: &'static str| move |text: &str| text == secret;
        assert_eq!(signers.account("AC1", with("a")), Some(true));
        assert_eq!(signers.account("AC1", with("b")), Some(false));
        assert_eq!(signers.account("AC2", with("x")), None, "a key's secret signs nothing");
        assert_eq!(signers.account("AC3", with("b")), Some(true));
        assert_eq!(signers.account("AC3", with("c")), Some(true));
        assert_eq!(signers.account("AC3", with("d")), Some(false));
        assert_eq!(signers.account("AC4", with("a")), None);
        assert_eq!(signers.app(with("d")), Some(true));
        assert_eq!(signers.app(with("e")), Some(true));
        assert_eq!(signers.app(with("a")), Some(false));
    }

    #[test]
    fn a_file_that_changed_just_now_is_read_again() {
        let state = |seconds_ago: i64| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
            State { path: PathBuf::new(), numbers: [0; 4], times: [0, 0, now - seconds_ago, 0] }
        };
        assert!(!state(0).is_at_rest());
        assert!(!state(1).is_at_rest());
        assert!(!state(-100).is_at_rest(), "the clock of the file may be ahead");
        assert!(state(10).is_at_rest());
    }
}
