//! Bodies for tests that ask what becomes of anything: the samples of tests/data/payloads with something in them changed.
//! Also of tests/edge.rs, which sends them through a server.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The samples of a provider.
fn samples(provider: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/payloads").join(provider);
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter(|file| !file.file_name().to_string_lossy().ends_with(".tsv"))
        .filter_map(|file| fs::read(file.path()).ok())
        .collect()
}

/// A sample with some of its bytes changed, left out or written twice.
pub fn damaged(provider: &str) -> impl Strategy<Value = String> + use<> {
    let damage = prop::collection::vec((any::<Index>(), 0..4u8, any::<u8>()), 0..8);
    (prop::sample::select(samples(provider)), damage).prop_map(|(mut body, damage)| {
        for (place, kind, byte) in damage {
            if body.is_empty() {
                break;
            }
            let at = place.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => drop(body.remove(at)),
                2 => body.insert(at, byte),
                _ => {
                    let part: Vec<u8> = body[at..].iter().copied().take(64).collect();
                    body.splice(at..at, part);
                }
            }
        }
        String::from_utf8_lossy(&body).into_owned()
    })
}

/// A value that nobody expects where it stands.
fn odd() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        ".{0,20}",
        "[ \t\n]{0,3}",
        "\\PC{0,8}",
        "[0-9]{1,30}",
        "-?[0-9]{1,6}([.][0-9]{1,9})?",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]{0,15}(Z|[+-][0-9:]{2,6})?",
        "[0-9]{10,12}",
        Just("\u{0}\u{fffd}\u{10ffff}\u{202e}".to_owned()),
        Just("x".repeat(3000)),
    ];
    prop_oneof![
        4 => text.prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => Just(Value::Array(Vec::new())),
        1 => Just(Value::Object(Default::default())),
    ]
}

/// A JSON sample with some of its values replaced, left out, repeated, put elsewhere or into an array.
pub fn mutated(provider: &str) -> impl Strategy<Value = String> + use<> {
    let values: Vec<Value> = samples(provider).iter().filter_map(|body| serde_json::from_slice(body).ok()).collect();
    let change = prop::collection::vec((any::<Index>(), 0..5u8, odd()), 0..6);
    (prop::sample::select(values), change).prop_map(|(mut body, changes)| {
        for (place, kind, odd) in changes {
            let count = count(&body);
            change_at(&mut body, &mut place.index(count), kind, odd);
        }
        body.to_string()
    })
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// Changes the value that is `place` values further on. Says whether it has been reached.
fn change_at(value: &mut Value, place: &mut usize, kind: u8, odd: Value) -> bool {
    if *place == 0 {
        match (kind, value) {
            (0 | 1, value) => *value = odd,
            (2, value) => *value = Value::Array(vec![value.take(), odd]),
            (3, Value::Array(items)) => {
                items.reverse();
                items.extend_from_within(..items.len().min(3));
            }
            (3, Value::Object(fields)) => {
                let name = odd.as_str().unwrap_or("more").to_owned();
                fields.insert(name, odd);
            }
            (_, Value::Object(fields)) => {
                let first = fields.keys().next().cloned();
                first.and_then(|first| fields.remove(&first));
            }
            (_, value) => *value = Value::Null,
        }
        return true;
    }
    *place -= 1;
    let mut into = |inner: &mut Value| change_at(inner, place, kind, odd.clone());
    match value {
        Value::Array(items) => items.iter_mut().any(&mut into),
        Value::Object(fields) => fields.values_mut().any(&mut into),
        _ => false,
    }
}
