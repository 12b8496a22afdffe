//! The control: what tests tell the simulator, and what it tells them. Counts in no statistic.

use crate::accounts::{Account, Accounts};
use crate::clock::Moment;
use crate::misbehave::{Rule, Rules};
use crate::orders::{Generate, NewMessage};
use crate::{Simulator, lock, read, write};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post, put};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

type Shared = State<Arc<Simulator>>;
type Answered = Result<Json, Refused>;

pub fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/_control/accounts", put(accounts))
        .route("/_control/messages", post(messages).delete(forget))
        .route("/_control/messages/{sid}", delete(forget_one))
        .route("/_control/generate", post(generate))
        .route("/_control/misbehave", put(misbehave).get(rules).delete(behave))
        .route("/_control/clock", put(clock))
        .route("/_control/concurrency", put(concurrency))
        .route("/_control/stats", get(stats).delete(reset))
        .route("/_control/requests", get(requests))
        .route("/_control/{*path}", any(unknown))
        .layer(DefaultBodyLimit::disable())
}

async fn unknown() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": "no such control" }))).into_response()
}

struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.0.to_string()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// What was not understood.
struct Refused(String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({ "error": self.0 }))).into_response()
    }
}

/// Reads JSON, whatever its type is said to be.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused(error.to_string()))
}

/// What there is from the start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scene {
    accounts: Vec<Account>,
    #[serde(default)]
    messages: Vec<NewMessage>,
    #[serde(default)]
    generate: Vec<Generate>,
}

/// Sets the accounts and messages that there are from the start.
pub fn set_scene(simulator: &Simulator, scene: &[u8]) -> Result<(), String> {
    let scene: Scene = parse(scene).map_err(|refused| refused.0)?;
    *write(&simulator.accounts) = Accounts::from_iter(scene.accounts);
    add(simulator, scene.messages);
    for order in scene.generate {
        let messages = order.messages()?;
        let mut store = write(&simulator.messages);
        messages.into_iter().for_each(|message| store.insert(message));
    }
    Ok(())
}

fn add(simulator: &Simulator, orders: Vec<NewMessage>) -> usize {
    let now = simulator.clock.now();
    let mut store = write(&simulator.messages);
    for order in orders {
        store.insert(order.message(now));
    }
    store.len()
}

async fn accounts(State(simulator): Shared, body: Bytes) -> Answered {
    let accounts: Vec<Account> = parse(&body)?;
    let count = accounts.len();
    *write(&simulator.accounts) = Accounts::from_iter(accounts);
    Ok(Json(json!({ "accounts": count })))
}

async fn messages(State(simulator): Shared, body: Bytes) -> Answered {
    Ok(Json(json!({ "messages": add(&simulator, parse(&body)?) })))
}

async fn generate(State(simulator): Shared, body: Bytes) -> Answered {
    let order: Generate = parse(&body)?;
    // A million take a second or more, in which others are to be answered.
    let made = tokio::task::spawn_blocking(move || {
        let messages = order.messages().map_err(Refused)?;
        let mut store = write(&simulator.messages);
        messages.into_iter().for_each(|message| store.insert(message));
        Ok(store.len())
    });
    let count = made.await.unwrap_or_else(|error| Err(Refused(error.to_string())))?;
    Ok(Json(json!({ "messages": count })))
}

async fn forget(State(simulator): Shared) -> Json {
    write(&simulator.messages).clear();
    Json(json!({ "messages": 0 }))
}

async fn forget_one(State(simulator): Shared, Path(sid): Path<String>) -> Response {
    let mut store = write(&simulator.messages);
    let status = if store.remove(&sid) { StatusCode::OK } else { StatusCode::NOT_FOUND };
    (status, Json(json!({ "messages": store.len() }))).into_response()
}

async fn misbehave(State(simulator): Shared, body: Bytes) -> Answered {
    let rules: Vec<Rule> = parse(&body)?;
    let count = rules.len();
    *lock(&simulator.rules) = Rules::new(rules).map_err(Refused)?;
    Ok(Json(json!({ "rules": count })))
}

async fn rules(State(simulator): Shared) -> Json {
    Json(lock(&simulator.rules).describe())
}

async fn behave(State(simulator): Shared) -> Json {
    *lock(&simulator.rules) = Rules::default();
    Json(json!({ "rules": 0 }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetClock {
    offset_seconds: Option<f64>,
    now: Option<DateTime<Utc>>,
}

async fn clock(State(simulator): Shared, body: Bytes) -> Answered {
    match parse(&body)? {
        SetClock { offset_seconds: Some(seconds), now: None } => {
            simulator.clock.set_offset((seconds * 1000.0).round() as i64);
        }
        SetClock { offset_seconds: None, now: Some(now) } => simulator.clock.set_now(Moment::from(now)),
        SetClock { .. } => return Err(Refused("either offset_seconds or now is needed".to_owned())),
    }
    Ok(Json(json!({ "now": simulator.clock.now().rfc2822() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetConcurrency {
    limit: Option<usize>,
}

async fn concurrency(State(simulator): Shared, body: Bytes) -> Answered {
    let SetConcurrency { limit } = parse(&body)?;
    lock(&simulator.traffic).set_limit(limit);
    Ok(Json(json!({ "limit": limit })))
}

async fn stats(State(simulator): Shared) -> Json {
    let messages = read(&simulator.messages).len();
    Json(lock(&simulator.traffic).stats(messages))
}

async fn reset(State(simulator): Shared) -> Json {
    lock(&simulator.traffic).reset();
    Json(json!({ "requests": 0 }))
}

async fn requests(State(simulator): Shared) -> Json {
    Json(lock(&simulator.traffic).requests())
}
