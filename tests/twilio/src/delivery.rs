//! How the body of an answer goes out: whole, in drops, in half, endless, or not.

use crate::listener::Wire;
use crate::misbehave::Action;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, HeaderValue};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::{self, Write};
use std::time::Duration;

/// The size of the parts of a body that is made while it goes out.
const PART: usize = 64 * 1024;

/// Stands where the padding of a huge body goes.
const PADDING: &str = "\u{1}padding\u{1}";

/// The body as it goes out. Where it will not come to its end, the headers promise it nevertheless.
pub fn deliver(action: Option<&Action>, body: Vec<u8>, headers: &mut HeaderMap, wire: &Wire) -> Body {
    let Some(action) = action else { return Body::from(body) };
    let length = HeaderValue::from(body.len());
    let gzip = HeaderValue::from_static("gzip");
    if action.drop {
        wire.refuse();
        Body::from(body)
    } else if action.reset || action.cut {
        headers.insert(CONTENT_LENGTH, length);
        half(body, action.reset.then(|| wire.clone()))
    } else if action.hang {
        headers.insert(CONTENT_LENGTH, length);
        Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
    } else if let Some(millis) = action.drip_ms {
        headers.insert(CONTENT_LENGTH, length);
        drip(body, Duration::from_millis(millis))
    } else if let Some(bytes) = action.huge {
        parts(huge(&body, bytes))
    } else if let Some(bytes) = action.gzip_bomb {
        headers.insert(CONTENT_ENCODING, gzip);
        parts(Gzip::new(huge(&body, bytes)))
    } else if action.gzip {
        headers.insert(CONTENT_ENCODING, gzip);
        parts(Gzip::new(std::iter::once(Bytes::from(body))))
    } else {
        Body::from(body)
    }
}

fn parts(parts: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    Body::from_stream(stream::iter(parts.map(Ok::<_, Infallible>)))
}

/// The first half, and then the end of the connection.
fn half(mut body: Vec<u8>, reset: Option<Wire>) -> Body {
    body.truncate(body.len() / 2);
    Body::from_stream(stream::unfold(Some(body), move |half| {
        let reset = reset.clone();
        async move {
            if let Some(half) = half {
                return Some((Ok(Bytes::from(half)), None));
            }
            // What was handed over goes out while this waits.
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(wire) = reset {
                wire.reset();
            }
            Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), None))
        }
    }))
}

fn drip(body: Vec<u8>, pause: Duration) -> Body {
    Body::from_stream(stream::unfold(Bytes::from(body), move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let drop = rest.split_to(1);
        Some((Ok::<_, Infallible>(drop), rest))
    }))
}

/// A JSON body of this many bytes: that of the answer, with a body of the first message that makes up the rest.
fn huge(body: &[u8], bytes: u64) -> impl Iterator<Item = Bytes> + Send + use<> {
    let mut value: Value = serde_json::from_slice(body).unwrap_or_else(|_| json!({}));
    let message = if value.get("messages").is_some() { value.pointer_mut("/messages/0") } else { Some(&mut value) };
    if let Some(message) = message.and_then(Value::as_object_mut) {
        message.insert("body".to_owned(), json!(PADDING));
    } else if let Some(page) = value.as_object_mut() {
        page.insert("body".to_owned(), json!(PADDING));
    }
    let text = value.to_string();
    let marker = json!(PADDING).to_string();
    let marker = marker.trim_matches('"');
    let (head, tail) = text.split_once(marker).unwrap_or((&text, ""));
    let padding = bytes.saturating_sub((head.len() + tail.len()) as u64);
    let part = Bytes::from(vec![b'x'; PART]);
    let rest = part.slice(..usize::try_from(padding % PART as u64).unwrap_or(0));
    let whole = (0..padding / PART as u64).map(move |_| part.clone());
    [Bytes::from(head.to_owned())].into_iter().chain(whole).chain([rest, Bytes::from(tail.to_owned())])
}

/// The parts compressed, as they come.
struct Gzip<I> {
    parts: I,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<I> Gzip<I> {
    fn new(parts: I) -> Gzip<I> {
        Gzip { parts, encoder: Some(GzEncoder::new(Vec::new(), Compression::default())) }
    }
}

impl<I: Iterator<Item = Bytes>> Iterator for Gzip<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            let encoder = self.encoder.as_mut()?;
            let out = match self.parts.next() {
                // Writing into memory does not fail.
                Some(part) => encoder.write_all(&part).map(|()| std::mem::take(encoder.get_mut())),
                None => self.encoder.take()?.finish(),
            };
            match out {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Some(Bytes::from(out)),
                Err(_) => return None,
            }
        }
    }
}
