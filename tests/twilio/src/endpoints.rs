//! Twilio's side: what is asked, who may ask, and the answers of the two endpoints.

use crate::accounts::Credentials;
use crate::clock::Moment;
use crate::delivery::deliver;
use crate::listener::Wire;
use crate::message::API_VERSION;
use crate::traffic::{Ticket, Tracked};
use crate::trouble::Trouble;
use crate::{Simulator, list, lock, read, spoil};
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize, Serializer};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Fetch,
    List,
    /// Some other resource, or none.
    Other,
}

/// A request, without its secrets.
#[derive(Clone, Serialize)]
pub struct Asked {
    method: String,
    pub path: String,
    pub kind: Kind,
    /// The account of the path.
    pub account: Option<String>,
    pub sid: Option<String>,
    query: String,
    #[serde(serialize_with = "as_map")]
    params: Vec<(String, String)>,
    user: Option<String>,
    host: Option<String>,
}

fn as_map<S: Serializer>(params: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(params.iter().map(|(name, value)| (name, value)))
}

impl Asked {
    fn read(request: &Request) -> (Asked, Option<Credentials>) {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let (kind, account, sid) = resource(path);
        let credentials = header(AUTHORIZATION).and_then(Credentials::read);
        let asked = Asked {
            method: request.method().to_string(),
            path: path.to_owned(),
            kind,
            account: account.map(str::to_owned),
            sid: sid.map(str::to_owned),
            query: query.to_owned(),
            params: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            user: credentials.as_ref().map(|credentials| credentials.user.clone()),
            host: header(HOST).map(str::to_owned),
        };
        (asked, credentials)
    }

    /// The parameters of the query, decoded.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The resource that a path names, its account and its SID.
fn resource(path: &str) -> (Kind, Option<&str>, Option<&str>) {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        [API_VERSION, "Accounts", account, "Messages.json"] => (Kind::List, Some(account), None),
        [API_VERSION, "Accounts", account, "Messages", file] => match file.strip_suffix(".json") {
            Some(sid) => (Kind::Fetch, Some(account), Some(sid)),
            None => (Kind::Other, Some(account), None),
        },
        [API_VERSION, "Accounts", account, ..] => (Kind::Other, Some(account), None),
        _ => (Kind::Other, None, None),
    }
}

/// An answer on its way.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(status: StatusCode, body: Vec<u8>) -> Answer {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Answer { status, headers, body }
    }

    pub fn trouble(trouble: &Trouble) -> Answer {
        let status = StatusCode::from_u16(trouble.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = Answer::json(status, trouble.body());
        if status == StatusCode::UNAUTHORIZED {
            answer.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Twilio API\""));
        }
        answer
    }

    /// Whether the resource of this message is in it.
    pub fn shows(&self, sid: &str) -> bool {
        let member = format!("\"sid\":\"{sid}\"");
        self.body.windows(member.len()).any(|window| window == member.as_bytes())
    }

    fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }
}

/// What Twilio would answer.
fn normal(
    simulator: &Simulator,
    asked: &Asked,
    credentials: Option<&Credentials>,
    now: Moment,
) -> Result<Vec<u8>, Trouble> {
    let not_found = || Trouble::not_found(&asked.path);
    let account = asked.account.as_deref().ok_or_else(not_found)?;
    if !credentials.is_some_and(|credentials| read(&simulator.accounts).permit(credentials, account)) {
        lock(&simulator.traffic).count("unauthorized");
        return Err(Trouble::unauthorized());
    }
    match asked.kind {
        Kind::Other => Err(not_found()),
        _ if asked.method != "GET" => Err(Trouble::method(&asked.method)),
        Kind::List => {
            let query = list::Query::read(asked.params())?;
            list::page(&read(&simulator.messages), account, &query, now)
        }
        Kind::Fetch => {
            let messages = read(&simulator.messages);
            let sid = asked.sid.as_deref().unwrap_or_default();
            let message = messages.get(account, sid).ok_or_else(not_found)?;
            Ok(serde_json::to_vec(&message.resource(now)).unwrap_or_default())
        }
    }
}

/// Answers a request: as Twilio does, or as a rule of misbehaviour says.
pub async fn twilio(
    State(simulator): State<Arc<Simulator>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
) -> Response {
    let began = Instant::now();
    let (asked, credentials) = Asked::read(&request);
    let ticket = Ticket::begin(&simulator, &asked);
    let now = simulator.clock.now();
    let (mut answer, strike) = if ticket.over_limit {
        (Answer::trouble(&Trouble::too_many()), None)
    } else {
        let answer = match normal(&simulator, &asked, credentials.as_ref(), now) {
            Ok(body) => Answer::json(StatusCode::OK, body),
            Err(trouble) => Answer::trouble(&trouble),
        };
        let strike = lock(&simulator.rules).strike(&asked, &answer);
        (answer, strike)
    };
    if let Some(strike) = &strike
        && strike.rule.delay_ms > 0
    {
        tokio::time::sleep(Duration::from_millis(strike.rule.delay_ms)).await;
    }
    // Headers of Twilio, as recorded from real answers. A rule may say otherwise.
    answer.set(DATE, &simulator.clock.now().http());
    answer.set(HeaderName::from_static("twilio-request-id"), &format!("RQ{:032x}", ticket.number));
    answer.set(HeaderName::from_static("twilio-concurrent-requests"), &ticket.concurrent.to_string());
    let duration = format!("{:.3}", began.elapsed().as_secs_f64());
    answer.set(HeaderName::from_static("twilio-request-duration"), &duration);
    answer.set(HeaderName::from_static("x-home-region"), "us1");
    if let Some(strike) = &strike {
        answer = spoil::spoil(&strike.rule, &asked, &simulator, now, answer);
    }
    ticket.answered(answer.status.as_u16(), strike.as_ref().map(|strike| strike.number));
    let action = strike.as_ref().map(|strike| &strike.rule.action);
    let mut headers = answer.headers;
    let body = deliver(action, answer.body, &mut headers, &wire);
    let mut response = Response::new(Body::new(Tracked { body, ticket }));
    *response.status_mut() = answer.status;
    *response.headers_mut() = headers;
    response
}
