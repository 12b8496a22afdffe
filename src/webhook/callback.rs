//! `twilio_callback`, `whatsapp_callback`: a request's raw body in, rows of the log out, if the provider vouches for them.
//!
//! What is stored is stored with the rights of the log's owner: the signature says who sent it, and a role that may do no
//! more than call these functions can record what providers say and nothing else.

use crate::boundary;
use crate::commit;
use crate::credentials;
use crate::edge::event::{Event, Refusal, form};
use crate::edge::{self, signature};
use crate::encoding::{from_server, warn};
use crate::errors::{Code, Fault, Result};
use crate::fold::Verdict;
use crate::function::Args;
use crate::log_trigger::verdict_on;
use crate::log_write::{self, LogRow};
use crate::pair::sql::Repeated;
use crate::pair::{Pair, cache, resolve};
use crate::status::oids::verdict_datum;
use crate::status::words::Provider;
use crate::subtransaction::together_or_alone;
use crate::waiting;
use crate::webhook::{self, LARGEST_JSON};
use pgrx::pg_sys::{self, Datum, Oid};
use std::rc::Rc;

crate::sql_function!(msgstatus_twilio_callback, pg_finfo_msgstatus_twilio_callback, twilio_callback);
crate::sql_function!(msgstatus_whatsapp_callback, pg_finfo_msgstatus_whatsapp_callback, whatsapp_callback);

fn twilio_callback(args: &Args) -> Result<Option<Datum>> {
    let url = needed(args.string(0), "url")?;
    let body = from_server(&body(args, 1, LARGEST_FORM)?);
    let fields = form(&body);
    let account = edge::twilio::account(&fields).unwrap_or_default();
    let Some(signature) = args.string(2) else { return Err(unsigned("X-Twilio-Signature")) };
    let is_signed = |token: &str| signature::is_twilios(token, &url, &body, &signature);
    if !credentials::is_signed_by_account(account, is_signed)? {
        return Err(forged("Twilio")
            .detail(format!("It was checked for {} and {}.", named(account), signature::shown(&url)))
            .hint(
                "The URL has to be the one that Twilio was given (behind a proxy not the one that reached the application), \
                 the body the raw one, and the auth token the account's primary one.",
            ));
    }
    let events = edge::twilio::read(fields).map_err(|Refusal(why)| not_one_of("Twilio", &why))?;
    let Some(event) = events.first() else { return Ok(None) };
    let is_known = Provider::TWILIO.parse(event.status.as_bytes()).is_some();
    let pair = pair(args.oid(3))?;
    let mut stored = Stored::default();
    let verdict = verdict_on(pair.messages.oid, || {
        stored = store(&pair, "twilio", events)?;
        Ok(())
    })?;
    let verdict = match (verdict, stored) {
        (Some(verdict), _) => verdict,
        (None, Stored { waiting: 1.., .. }) if is_known => Verdict::Unmatched,
        (None, Stored { waiting: 1.., .. }) => Verdict::Unrecognized,
        (None, Stored { logged: 0, .. }) if pair.log_rules()?.once.is_some() => Verdict::Duplicate,
        // A trigger of the log's owner's had it left out.
        (None, Stored { logged: 0, .. }) => return Ok(None),
        _ => {
            // Twilio would not send it again: it is kept, and told when the trigger is back.
            warn(&format!(
                "the callback is in {} and was not judged, as its trigger did not fire; msgstatus.settle() folds it",
                pair.mapping.log
            ));
            return Ok(None);
        }
    };
    verdict_datum(verdict).map(Some)
}

fn whatsapp_callback(args: &Args) -> Result<Option<Datum>> {
    // bytea is stored as text is.
    let body = body(args, 0, LARGEST_JSON)?;
    let Some(signature) = args.string(1) else { return Err(unsigned("X-Hub-Signature-256")) };
    if !credentials::is_signed_by_app(|secret| signature::is_metas(secret, &body, &signature))? {
        return Err(forged("Meta").hint(
            "The body has to be the raw one, byte for byte, and the app secret that of the Meta app which the webhook belongs to.",
        ));
    }
    let events = edge::whatsapp::read(&body).map_err(|Refusal(why)| not_one_of("WhatsApp", &why))?;
    if events.is_empty() {
        return Ok(Some(Datum::from(0i64)));
    }
    let stored = store(&pair(args.oid(2))?, "whatsapp", events)?;
    Ok(Some(Datum::from((stored.logged + stored.waiting) as i64)))
}

/// More than any request of Twilio's: a form has to be taken apart before it is known whose it is.
const LARGEST_FORM: usize = 1 << 20;

fn body(args: &Args, i: usize, largest: usize) -> Result<Vec<u8>> {
    let body = needed(args.text(i), "body")?;
    webhook::no_larger_than(largest, &body)?;
    Ok(body)
}

/// The pair that is meant. That nobody said which is the server's business, and no fault of the request's.
fn pair(messages: Option<Oid>) -> Result<Rc<Pair>> {
    let code = |code| if code == Code::InvalidArgument && messages.is_none() { Code::NotReady } else { code };
    cache::of_messages(messages).map_err(|fault| Fault { code: code(fault.code), ..fault })
}

fn needed<T>(argument: Option<T>, name: &str) -> Result<T> {
    argument.ok_or_else(|| {
        Fault::new(
            Code::InvalidArgument,
            format!("the {name} is NULL"),
            "Pass the raw body of the request as it came, and its signature from the header; and for Twilio the URL that it was given.",
        )
    })
}

fn unsigned(header: &str) -> Fault {
    Fault::new(
        Code::BadCredentials,
        "the request has no signature",
        format!("Pass the request's header {header}. A request without it does not come from the provider."),
    )
}

fn forged(who: &str) -> Fault {
    Fault::new(Code::BadCredentials, format!("the signature is not {who}'s for this request"), "")
}

fn named(account: &str) -> String {
    if account.is_empty() { "an account that the body does not name".to_owned() } else { format!("account {account}") }
}

fn not_one_of(who: &str, why: &str) -> Fault {
    Fault::new(
        Code::InvalidArgument,
        format!("this is no status callback of {who}: {why}"),
        "It is signed, but something else: look at what the provider was told to send to this address.",
    )
}

/// How many rows went where.
#[derive(Clone, Copy, Default)]
struct Stored {
    logged: usize,
    /// Beside the log, as it can't take them (yet).
    waiting: usize,
}

fn store(pair: &Rc<Pair>, provider: &'static str, events: Vec<Event>) -> Result<Stored> {
    if pair.mapping.l.provider.is_none() && !pair.log_holds_labels && pair.mapping.provider != provider {
        return Err(Fault::new(
            Code::NotReady,
            format!(
                "log {} has no column that says whose word it holds, and is read as {}'s",
                pair.mapping.log, pair.mapping.provider
            ),
            format!("Attach again with provider => '{provider}', or with a column for the role log.provider."),
        ));
    }
    if pair.mapping.p.sid.is_none() && !waiting::is_by_sid(pair) {
        return Err(Fault::new(
            Code::NotReady,
            format!("the messages of {} can't be found by the provider's id", pair.messages_name()),
            "Attach again and say which column holds it, as in columns => '{\"sid\": \"twilio_sid\"}'.",
        ));
    }
    let events: Vec<Event> = events.into_iter().map(Event::storable).collect();
    let reader = Provider::named(provider.as_bytes());
    let keys = waiting::keys(pair, &events.iter().map(|e| e.sid.clone()).collect::<Vec<_>>())?;
    let (mut rows, mut early, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for event in &events {
        match keys.get(&event.sid) {
            // A log that holds labels has no place for a word that is none.
            _ if pair.log_holds_labels && reader.parse(event.status.as_bytes()).is_none() => unknown.push(event),
            Some(keys) => rows.extend(keys.iter().map(|key| (event, key.as_str()))),
            None => early.push(event),
        }
    }
    if !early.is_empty() {
        waiting::keep(pair, provider, &early)?;
        commit::sids_wait(pair, early.iter().map(|event| event.sid.clone()));
    }
    if !unknown.is_empty() {
        waiting::keep(pair, provider, &unknown)?;
    }
    let payloads: Vec<String> = rows.iter().map(|(event, _)| event.payload.to_string()).collect();
    let rows: Vec<(&Event, LogRow)> =
        rows.iter().zip(&payloads).map(|(&(event, key), text)| (event, log_row(provider, event, key, text))).collect();
    // A single event is judged for each message that it is about, and fails if the log does not take it; many go into the
    // log together, and what it refuses costs no other its place.
    let (mut logged, mut taken, mut refused) = (0, 0, Vec::new());
    if events.len() == 1 {
        let mut write = || -> Result<()> {
            for (_, row) in &rows {
                logged += log_write::write(pair, std::slice::from_ref(row), Repeated::LeftOut)?;
            }
            Ok(())
        };
        // PostgreSQL's own rule goes by who works, and that is the owner here: a constraint of either table quotes its row.
        let may_read = |table: Oid| resolve::may(table, pg_sys::ACL_SELECT) && resolve::sees_all(table);
        if may_read(pair.log.oid) && may_read(pair.messages.oid) {
            write()?;
        } else {
            boundary::without_detail(write)?;
        }
        return Ok(Stored { logged, waiting: early.len() + unknown.len() });
    }
    together_or_alone(
        &rows,
        &mut |rows| {
            let all: Vec<LogRow> = rows.iter().map(|&(_, row)| row).collect();
            logged += log_write::write(pair, &all, Repeated::LeftOut)?;
            taken += rows.len();
            Ok(())
        },
        &mut |&(event, row), why| refused.push((event, row.key, why)),
    )?;
    if taken == 0
        && early.is_empty()
        && unknown.is_empty()
        && let Some((_, _, why)) = refused.pop()
    {
        return Err(why.fault().hint("The log refuses all of it: look at its constraints and triggers."));
    }
    for (_, key, why) in &refused {
        warn(&format!("a callback of {key} waits: {} does not take it: {}", pair.mapping.log, why.message));
    }
    if !refused.is_empty() {
        waiting::keep(pair, provider, &refused.iter().map(|&(event, ..)| event).collect::<Vec<_>>())?;
    }
    Ok(Stored { logged, waiting: early.len() + unknown.len() + refused.len() })
}

fn log_row<'a>(provider: &'a str, event: &'a Event, key: &'a str, payload: &'a str) -> LogRow<'a> {
    LogRow {
        key,
        status: &event.status,
        event_at: event.at,
        error_code: event.error_code.as_deref(),
        error_message: event.error_message.as_deref(),
        payload: Some(payload),
        provider,
        source: waiting::SOURCE,
        created_at: None,
    }
}
