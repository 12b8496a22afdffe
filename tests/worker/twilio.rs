//! The simulator of tests/twilio, one for a test.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub struct Twilio {
    pub url: String,
    /// It ends when its input does.
    process: Child,
}

impl Twilio {
    pub fn start(arguments: &[&str]) -> Twilio {
        let program = std::env::var("MSGSTATUS_TWILIO").expect("MSGSTATUS_TWILIO");
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the simulator");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("its output")).read_line(&mut line).expect("its first line");
        let url = line.trim().strip_prefix("listening on ").expect("its address").to_owned();
        Twilio { url, process }
    }

    fn call(&self, method: &str, path: &str, body: Option<&str>) -> Value {
        let url = format!("{}/_control/{path}", self.url);
        let request = ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
        let request = request.body(body.unwrap_or_default().to_owned()).expect("a request");
        let mut response = ureq::run(request).expect("the simulator's control");
        let text = response.body_mut().read_to_string().expect("its answer");
        serde_json::from_str(&text).expect("JSON")
    }

    /// These accounts with their tokens.
    pub fn accounts(&self, accounts: &[(&str, &str)]) {
        let all: Vec<Value> =
            accounts.iter().map(|(sid, token)| serde_json::json!({"sid": sid, "auth_token": token})).collect();
        self.call("PUT", "accounts", Some(&Value::from(all).to_string()));
    }

    /// One account, with a key of its own beside its token.
    pub fn account_with_key(&self, sid: &str, token: &str, key: &str, secret: &str) {
        let account =
            serde_json::json!({"sid": sid, "auth_token": token, "api_keys": [{"sid": key, "secret": secret}]});
        self.call("PUT", "accounts", Some(&Value::from(vec![account]).to_string()));
    }

    pub fn put_messages(&self, messages: &str) {
        self.call("POST", "messages", Some(messages));
    }

    pub fn generate(&self, what: Value) {
        self.call("POST", "generate", Some(&what.to_string()));
    }

    pub fn misbehave(&self, rules: Value) {
        self.call("PUT", "misbehave", Some(&rules.to_string()));
    }

    pub fn behave(&self) {
        self.call("DELETE", "misbehave", None);
    }

    pub fn clock(&self, ahead: i64) {
        self.call("PUT", "clock", Some(&serde_json::json!({"offset_seconds": ahead}).to_string()));
    }

    pub fn stats(&self) -> Value {
        self.call("GET", "stats", None)
    }

    /// A number of the statistics.
    pub fn count(&self, what: &str) -> u64 {
        self.stats()[what].as_u64().expect(what)
    }

    pub fn reset_stats(&self) {
        self.call("DELETE", "stats", None);
    }

    /// Requests since then, oldest first.
    pub fn requests(&self) -> Vec<Value> {
        match self.call("GET", "requests", None) {
            Value::Array(all) => all,
            Value::Object(mut o) => match o.remove("requests") {
                Some(Value::Array(all)) => all,
                _ => panic!("no requests"),
            },
            _ => panic!("no requests"),
        }
    }
}

impl Drop for Twilio {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
