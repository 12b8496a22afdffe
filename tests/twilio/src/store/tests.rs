#![allow(clippy::unwrap_used, reason = "a test says what it expected and stops")]

use super::*;
use crate::message::Course;

const ACCOUNT: &str = "AC00000000000000000000000000000001";

fn sid(number: usize) -> String {
    format!("SM{number:032x}")
}

/// A message created at this millisecond, and sent so many later, or never.
fn message(number: usize, created: i64, sent_after: Option<i64>) -> Message {
    let text: Arc<str> = Arc::from("");
    Message {
        sid: Arc::from(sid(number)),
        account: Arc::from(ACCOUNT),
        service: None,
        from: Arc::from(["+1", "+2", "+3"][number % 3]),
        to: text.clone(),
        body: text.clone(),
        direction: text.clone(),
        num_segments: text.clone(),
        num_media: text.clone(),
        price_unit: text,
        created: Moment::of_millis(created),
        course: Arc::new(Course { sent_after_millis: sent_after, ..Course::default() }),
    }
}

fn numbers(mut next: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (next >> 33) % below
    }
}

/// Messages of a minute, several in each second, some never sent, some sent late.
fn store() -> (Store, Vec<Message>) {
    let mut random = numbers(7);
    let all: Vec<Message> = (0..600)
        .map(|number| {
            let sent_after = (random(4) > 0).then(|| random(30_000) as i64);
            message(number, random(60_000) as i64, sent_after)
        })
        .collect();
    let mut store = Store::default();
    all.iter().cloned().for_each(|message| store.insert(message));
    (store, all)
}

fn sids(messages: &[&Message]) -> Vec<String> {
    messages.iter().map(|message| message.sid.to_string()).collect()
}

/// The list as the documentation describes it: all that pass, sorted.
fn expected(all: &[Message], filter: &Filter, now: Moment) -> Vec<String> {
    let mut passing: Vec<&Message> = all.iter().filter(|message| filter.passes(message, now)).collect();
    passing.sort_by_key(|message| place(message, now));
    passing.reverse();
    sids(&passing)
}

fn filters() -> Vec<Filter> {
    let dates = [None, Some((0, i64::MAX)), Some((20, 40)), Some((i64::MIN, 30)), Some((33, 33)), Some((40, 20))];
    let from = [None, Some("+2".to_owned())];
    dates.iter().flat_map(|sent| from.clone().map(|from| Filter { sent: *sent, from, to: None })).collect()
}

#[test]
fn pages_are_the_list_in_either_direction() {
    let (store, all) = store();
    for filter in filters() {
        for now in [-1, 0, 30_500, 31_000, 59_999, 100_000].map(Moment::of_millis) {
            let expected = expected(&all, &filter, now);
            let (mut seen, mut cursor, mut last) = (Vec::new(), Cursor::Start, None);
            loop {
                let found = store.page(ACCOUNT, &filter, &cursor, 7, now).unwrap();
                assert_eq!(found.more_before, cursor != Cursor::Start);
                let page = sids(&found.messages);
                seen.extend(page.clone());
                assert_eq!(found.more_after, seen.len() < expected.len());
                if !found.more_after {
                    break;
                }
                last = page.first().cloned();
                cursor = Cursor::After(page.last().unwrap().clone());
            }
            assert_eq!(seen, expected, "{filter:?} {now:?}");
            // And back: the pages before the last but one.
            let mut back = Vec::new();
            let mut before = last.clone();
            while let Some(sid) = before {
                let found = store.page(ACCOUNT, &filter, &Cursor::Before(sid), 7, now).unwrap();
                assert!(found.more_after);
                let page = sids(&found.messages);
                before = page.first().cloned().filter(|_| found.more_before);
                back.splice(0..0, page);
            }
            let upto = last.map_or(0, |last| expected.iter().position(|sid| *sid == last).unwrap());
            assert_eq!(back, expected[..upto], "{filter:?} {now:?}");
        }
    }
}

#[test]
fn new_messages_do_not_shift_pages() {
    let (mut store, all) = store();
    let now = Moment::of_millis(100_000);
    let filter = Filter { sent: Some((0, i64::MAX)), ..Filter::default() };
    let expected = expected(&all, &filter, now);
    let first = sids(&store.page(ACCOUNT, &filter, &Cursor::Start, 50, now).unwrap().messages);
    (1000..1100).for_each(|number| store.insert(message(number, 99_000, Some(500))));
    let second = store.page(ACCOUNT, &filter, &Cursor::After(first.last().unwrap().clone()), 50, now).unwrap();
    assert_eq!([first, sids(&second.messages)].concat(), expected[..100]);
}

#[test]
fn who_pages_on_misses_only_what_is_sent_meanwhile() {
    let (store, all) = store();
    let (mut cursor, mut seen, mut millis) = (Cursor::Start, Vec::new(), 20_000);
    loop {
        let found = store.page(ACCOUNT, &Filter::default(), &cursor, 10, Moment::of_millis(millis)).unwrap();
        seen.extend(sids(&found.messages));
        if !found.more_after {
            break;
        }
        cursor = Cursor::After(seen.last().unwrap().clone());
        millis += 500;
        assert!(seen.len() < 10_000, "goes in circles");
    }
    let unmoved = |message: &&Message| message.sent().is_none_or(|sent| sent.millis() <= 20_000);
    let missing: Vec<_> = all.iter().filter(unmoved).filter(|m| !seen.contains(&m.sid.to_string())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn messages_are_replaced_and_forgotten() {
    let mut store = Store::default();
    let now = Moment::of_millis(100_000);
    let all = |store: &Store| store.page(ACCOUNT, &Filter::default(), &Cursor::Start, 9, now).map(|f| f.messages.len());
    for sent_after in [Some(1000), Some(2000), None, Some(3000)] {
        store.insert(message(1, 0, sent_after));
    }
    store.insert(message(2, 0, Some(5000)));
    assert_eq!((store.len(), all(&store)), (2, Some(2)));
    assert_eq!(store.another(ACCOUNT, &sid(1)).map(|m| m.sid.to_string()), Some(sid(2)));
    assert!(store.remove(&sid(1)) && !store.remove(&sid(1)));
    assert_eq!((store.len(), all(&store)), (1, Some(1)));
    assert!(store.page(ACCOUNT, &Filter::default(), &Cursor::After(sid(1)), 9, now).is_none());
    assert!(store.get("AC00000000000000000000000000000002", &sid(2)).is_none());
}
