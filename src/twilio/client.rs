//! One request, and what became of it.

use super::account::Login;
use super::message::{Message, Page};
use super::{Time, now, time};
use chrono::{DateTime, Utc};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// An answer larger than this is not Twilio's: a page holds 1000 messages of at most 1600 characters and some 1000 bytes
/// of fields.
const LARGEST_ANSWER: usize = 16 << 20;

/// Why a request brought no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 429: too many requests at once. Safe to repeat, after this time if Twilio named one.
    Throttled(Option<Duration>),
    /// 401 or 403: the credentials are wrong, or not allowed to do this.
    Refused(u16, String),
    /// 404 with error 20404: no such message: deleted, too old, or of another account or region.
    NotFound,
    /// 5xx: Twilio's trouble.
    Server(u16, Option<Duration>),
    /// Any other status.
    Unexpected(u16, String),
    /// No answer: not connected, cut off, or too late.
    Network(String),
    /// An answer that is none of Twilio's.
    Malformed(String),
    /// There was no request: the account is not asked any more in this round.
    NotAsked(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Throttled(_) => f.write_str("Twilio answered 429: too many requests at once"),
            Failure::Refused(status, why) => write!(f, "Twilio answered {status}: {why}"),
            Failure::NotFound => f.write_str("Twilio answered 404: it has no such message (any more)"),
            Failure::Server(status, _) => write!(f, "Twilio answered {status}"),
            Failure::Unexpected(status, why) => write!(f, "Twilio answered {status}: {why}"),
            Failure::Network(why) => write!(f, "no answer from Twilio: {why}"),
            Failure::Malformed(why) => write!(f, "Twilio's answer can't be read: {why}"),
            Failure::NotAsked(why) => write!(f, "not asked: {why}"),
        }
    }
}

impl Failure {
    /// Is the same request worth repeating in a moment?
    pub fn is_passing(&self) -> bool {
        matches!(self, Failure::Throttled(_) | Failure::Server(..) | Failure::Network(_))
    }

    /// How long Twilio asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Throttled(wait) | Failure::Server(_, wait) => *wait,
            _ => None,
        }
    }
}

/// What came back, and by how much Twilio's clock is ahead of ours, in microseconds, if it said what time it is there.
pub struct Answer<T> {
    pub value: T,
    pub clock: Option<Time>,
}

/// The body of an error: `{"code": 20404, "message": "...", ...}`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    code: Option<u64>,
    message: Option<String>,
}

/// Speaks HTTP with one Twilio.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

/// Checks a base URL: https, or http to this machine.
pub fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("it is not a URL: {e}"))?;
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if !(url.scheme() == "https" || url.scheme() == "http" && local) {
        return Err("it has to begin with https:// (http:// only to the machine itself)".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("it can hold nothing but a host, a port and a path".to_owned());
    }
    Ok(url)
}

impl Client {
    pub fn new(base: Url, timeout: Duration) -> Result<Client, String> {
        let mut builder = reqwest::Client::builder()
            .timeout(timeout)
            // A redirect would send the credentials where nobody meant them to go.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("msgstatus/", env!("CARGO_PKG_VERSION")))
            .pool_idle_timeout(Duration::from_secs(60));
        if base.scheme() == "http" {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|e| format!("no HTTP client: {e}"))?;
        Ok(Client { http, base })
    }

    /// One message by its SID.
    pub async fn fetch(&self, login: &Login, account: &str, sid: &str) -> Result<Answer<Message>, Failure> {
        let url = self.at(&["2010-04-01", "Accounts", account, "Messages", &format!("{sid}.json")])?;
        let answer = self.get::<Message>(login, url).await?;
        match answer.value.sid.as_deref() {
            Some(other) if !other.eq_ignore_ascii_case(sid) => {
                Err(Failure::Malformed(format!("it is about {}, not {sid}", brief(other, 64))))
            }
            Some(_) if answer.value.status.is_some() => Ok(answer),
            _ => Err(Failure::Malformed("it has no sid or no status".to_owned())),
        }
    }

    /// The messages that were sent from `oldest` to `latest`, by Twilio's clock, latest first: the first page.
    pub async fn list(
        &self,
        login: &Login,
        account: &str,
        oldest: Time,
        latest: Time,
        size: usize,
    ) -> Result<Answer<Page>, Failure> {
        let mut url = self.at(&["2010-04-01", "Accounts", account, "Messages.json"])?;
        let date = |at: Time| super::utc(at).format("%Y-%m-%dT%H:%M:%SZ").to_string();
        // The comparison is part of the parameter's name, and inclusive (Twilio's OpenAPI, listMessage). Times have
        // whole seconds there, so the latest is rounded up.
        url.query_pairs_mut()
            .append_pair("DateSent>", &date(oldest))
            .append_pair("DateSent<", &date(latest + 999_999))
            .append_pair("PageSize", &size.to_string());
        self.get(login, url).await
    }

    /// A following page. Its address comes from Twilio, and leads nowhere but to the list of the same account.
    pub async fn next(&self, login: &Login, account: &str, uri: &str) -> Result<Answer<Page>, Failure> {
        let list = self.at(&["2010-04-01", "Accounts", account, "Messages.json"])?;
        let next = self.base.join(uri).map_err(|e| Failure::Malformed(format!("next_page_uri: {e}")))?;
        let mut elsewhere = next.clone();
        elsewhere.set_query(None);
        // The path of the base URL, if it has one, is a gateway's of which Twilio knows nothing.
        let prefix = self.base.path().trim_end_matches('/');
        if next.path() != list.path() && next.path() == &list.path()[prefix.len()..] {
            elsewhere.set_path(list.path());
        }
        if elsewhere != list {
            return Err(Failure::Malformed("next_page_uri leads elsewhere".to_owned()));
        }
        let mut url = list;
        url.set_query(next.query());
        self.get(login, url).await
    }

    fn at(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(path),
            Err(()) => return Err(Failure::Network("the base URL has no path".to_owned())),
        };
        Ok(url)
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, login: &Login, url: Url) -> Result<Answer<T>, Failure> {
        let request = self.http.get(url).basic_auth(login.name(), Some(login.password()));
        let mut response = request.send().await.map_err(|e| network(&e))?;
        let (status, clock) = (response.status(), clock(response.headers()));
        let wait = retry_after(response.headers());
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|e| network(&e))? {
            if body.len() + part.len() > LARGEST_ANSWER {
                return Err(Failure::Malformed(format!("it has more than {} MB", LARGEST_ANSWER >> 20)));
            }
            body.extend_from_slice(&part);
        }
        if status == StatusCode::OK {
            let value = serde_json::from_slice(&body).map_err(|e| Failure::Malformed(shape(&e)))?;
            return Ok(Answer { value, clock });
        }
        Err(failure(status, wait, &body))
    }
}

/// What a status other than 200 means.
fn failure(status: StatusCode, wait: Option<Duration>, body: &[u8]) -> Failure {
    let said: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let why = || {
        let message = said.message.as_deref().unwrap_or("no reason given");
        let message = brief(message, 200);
        said.code.map_or(message.clone(), |code| format!("{code}, {message}"))
    };
    match status.as_u16() {
        429 => Failure::Throttled(wait),
        code @ (401 | 403) => Failure::Refused(code, why()),
        // Any server says 404. Only Twilio's own (error 20404) is about the message.
        404 if said.code == Some(NOT_FOUND) => Failure::NotFound,
        code @ 500..=599 => Failure::Server(code, wait),
        code @ 300..=399 => Failure::Unexpected(code, "a redirect, which is not followed".to_owned()),
        code => Failure::Unexpected(code, why()),
    }
}

/// Twilio's error 20404: the resource was not found.
const NOT_FOUND: u64 = 20404;

/// So many characters of a text from elsewhere, as one line.
fn brief(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// Where JSON went wrong, without what it held.
fn shape(e: &serde_json::Error) -> String {
    let what = match e.classify() {
        serde_json::error::Category::Data => "JSON of another shape",
        _ => "not JSON",
    };
    format!("{what} at line {}, column {}", e.line(), e.column())
}

/// A network error and what caused it, without the URL.
fn network(e: &reqwest::Error) -> Failure {
    if e.is_timeout() {
        return Failure::Network("it took longer than msgstatus.http_timeout".to_owned());
    }
    // The outer errors only say that there is an inner one.
    let mut cause: &dyn std::error::Error = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let what = if e.is_connect() { "can't connect" } else { "the connection broke" };
    Failure::Network(if std::ptr::addr_eq(cause, e) { what.to_owned() } else { format!("{what}: {cause}") })
}

/// A difference that a date without fractions and a request's way through the network explain, in microseconds.
const NO_DIFFERENCE: Time = 2_500_000;

fn clock(headers: &HeaderMap) -> Option<Time> {
    let date = headers.get(DATE)?.to_str().ok()?;
    // HTTP's dates are those of RFC 2822 with GMT for a zone.
    let there = DateTime::parse_from_rfc2822(date).ok()?;
    let ahead = time(there.with_timezone(&Utc)) - now();
    Some(if ahead.abs() <= NO_DIFFERENCE { 0 } else { ahead })
}

/// Retry-After: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    let here = clock(headers).unwrap_or(0);
    let micros = time(at.with_timezone(&Utc)) - (now() + here);
    Some(Duration::from_micros(micros.max(0).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        for good in [
            "https://api.twilio.com",
            "https://api.dublin.ie1.twilio.com/",
            "https://proxy.example:8443/twilio",
            "http://localhost:4010",
            "http://127.0.0.1:4010",
            "http://[::1]:4010",
        ] {
            assert!(base_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://api.twilio.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "ftp://localhost",
            "file:///etc/passwd",
            "https://user:pass@api.twilio.com",
            "https://api.twilio.com?x=1",
            "api.twilio.com",
            "",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn statuses_mean_what_twilio_says_they_mean() {
        let of = |code: u16, body: &str| failure(StatusCode::from_u16(code).unwrap_or_default(), None, body.as_bytes());
        assert_eq!(of(429, "{}"), Failure::Throttled(None));
        assert_eq!(
            of(401, r#"{"code":20003,"message":"Authenticate"}"#),
            Failure::Refused(401, "20003, Authenticate".into())
        );
        assert_eq!(of(404, r#"{"code":20404,"message":"The requested resource was not found"}"#), Failure::NotFound);
        assert!(matches!(of(404, "<html>"), Failure::Unexpected(404, _)), "a proxy's, or that of a wrong base URL");
        assert_eq!(of(503, "<html>"), Failure::Server(503, None));
        assert!(matches!(of(307, ""), Failure::Unexpected(307, _)));
        assert!(of(429, "").is_passing() && of(500, "").is_passing());
        assert!(!of(404, "").is_passing() && !of(401, "").is_passing() && !of(400, "").is_passing());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let with = |name: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, name.parse().unwrap_or(reqwest::header::HeaderValue::from_static("")));
            if let Some(date) = date.and_then(|d| d.parse().ok()) {
                headers.insert(DATE, date);
            }
            retry_after(&headers)
        };
        assert_eq!(with("7", None), Some(Duration::from_secs(7)));
        assert_eq!(with("soon", None), None);
        let there = with("Fri, 24 May 2019 17:18:38 GMT", Some("Fri, 24 May 2019 17:18:28 GMT"));
        assert!(there.is_some_and(|d| d.as_secs() == 9 || d.as_secs() == 10), "{there:?}");
        assert_eq!(with("Fri, 24 May 2019 17:18:38 GMT", None), Some(Duration::ZERO));
    }
}
