//! The list endpoint: reads what a page is asked for, and writes the page with the addresses of the others.

use crate::clock::Moment;
use crate::filter::Filter;
use crate::message::{API_VERSION, Message, Resource};
use crate::store::{Cursor, Found, Store};
use crate::trouble::Trouble;
use form_urlencoded::Serializer;
use serde::Serialize;

/// Twilio's OpenAPI, ListMessage, PageSize.
const DEFAULT_PAGE_SIZE: usize = 50;
const MAX_PAGE_SIZE: usize = 1000;

/// What a list is asked for.
#[derive(Debug)]
pub struct Query {
    filter: Filter,
    /// The filters as they came, for the addresses of other pages.
    filters: Vec<(String, String)>,
    page_size: usize,
    /// A number that the client counts, and nothing else (Twilio's OpenAPI: "simply for client state").
    page: u64,
    cursor: Cursor,
    token: Option<String>,
}

impl Query {
    /// Reads the parameters of a request. As with Twilio, an empty one is as good as none.
    pub fn read<'a>(params: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Query, Trouble> {
        let mut query = Query {
            filter: Filter::default(),
            filters: Vec::new(),
            page_size: DEFAULT_PAGE_SIZE,
            page: 0,
            cursor: Cursor::Start,
            token: None,
        };
        for (name, value) in params.filter(|(_, value)| !value.is_empty()) {
            match name {
                "PageSize" => {
                    query.page_size = value
                        .parse()
                        .ok()
                        .filter(|size| (1..=MAX_PAGE_SIZE).contains(size))
                        .ok_or_else(|| Trouble::page_size(value))?;
                }
                "Page" => query.page = value.parse().unwrap_or(0),
                "PageToken" => {
                    query.cursor = cursor(value).ok_or_else(|| Trouble::page_token(value))?;
                    query.token = Some(value.to_owned());
                }
                _ => {
                    if query.filter.read(name, value)? {
                        query.filters.push((name.to_owned(), value.to_owned()));
                    }
                }
            }
        }
        Ok(query)
    }

    /// The same list from its beginning on.
    pub fn rewind(&mut self) {
        self.cursor = Cursor::Start;
    }

    /// The address of a page of this list, relative as in Twilio's answers.
    pub fn uri(&self, account: &str, page: u64, token: Option<&str>) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(&self.filters);
        query.append_pair("PageSize", &self.page_size.to_string()).append_pair("Page", &page.to_string());
        if let Some(token) = token {
            query.append_pair("PageToken", token);
        }
        format!("/{API_VERSION}/Accounts/{account}/Messages.json?{}", query.finish())
    }

    pub fn next_uri(&self, account: &str, last_sid: &str) -> String {
        self.uri(account, self.page.saturating_add(1), Some(&format!("PA{last_sid}")))
    }
}

/// A page token is the SID at which the page before it ended, after "PA" (Twilio's OpenAPI, the example readFullPage1);
/// or, for a page backwards, the one at which the page after it begins, after "PB".
fn cursor(token: &str) -> Option<Cursor> {
    match token.split_at_checked(2)? {
        ("PA", sid) => Some(Cursor::After(sid.to_owned())),
        ("PB", sid) => Some(Cursor::Before(sid.to_owned())),
        _ => None,
    }
}

/// A page (Twilio's OpenAPI, ListMessageResponse). There is no count of all messages.
#[derive(Serialize)]
struct Page<'a> {
    end: u64,
    first_page_uri: String,
    messages: Vec<Resource<'a>>,
    next_page_uri: Option<String>,
    page: u64,
    page_size: usize,
    previous_page_uri: Option<String>,
    start: u64,
    uri: String,
}

/// Answers a list with its page as JSON.
pub fn page(store: &Store, account: &str, query: &Query, now: Moment) -> Result<Vec<u8>, Trouble> {
    let token = query.token.as_deref();
    let found = store
        .page(account, &query.filter, &query.cursor, query.page_size, now)
        .ok_or_else(|| Trouble::page_token(token.unwrap_or_default()))?;
    let page = describe(account, query, &found, now);
    Ok(serde_json::to_vec(&page).unwrap_or_default())
}

fn describe<'a>(account: &str, query: &Query, found: &Found<'a>, now: Moment) -> Page<'a> {
    let count = found.messages.len() as u64;
    let start = if count == 0 { 0 } else { query.page.saturating_mul(query.page_size as u64) };
    let sid = |message: &&Message| message.sid.to_string();
    let previous_page_uri =
        found.messages.first().map(sid).filter(|_| found.more_before).and_then(|first| {
            query.page.checked_sub(1).map(|page| query.uri(account, page, Some(&format!("PB{first}"))))
        });
    Page {
        end: start + count.saturating_sub(1),
        first_page_uri: query.uri(account, 0, None),
        messages: found.messages.iter().map(|message| message.resource(now)).collect(),
        next_page_uri: (found.messages.last().map(sid))
            .filter(|_| found.more_after)
            .map(|last| query.next_uri(account, &last)),
        page: query.page,
        page_size: query.page_size,
        previous_page_uri,
        start,
        uri: query.uri(account, query.page, query.token.as_deref()),
    }
}
