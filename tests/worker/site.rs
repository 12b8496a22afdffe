//! A server of a test's own, whose worker asks about one database, and a Twilio that lets it wait.

use crate::server::{DELIVERED, Server, wait_for, wait_until};
use crate::twilio::Twilio;
use postgres::Client;
use serde_json::json;

pub const ACCOUNT: &str = "AC00000000000000000000000000000001";

pub struct Site {
    pub server: Server,
    pub twilio: Twilio,
    pub settings: Vec<String>,
}

impl Site {
    pub fn new(name: &str, more: &[&str]) -> Option<Site> {
        let mut server = Server::fresh(name, &[])?;
        let twilio = Twilio::start(&[]);
        twilio.accounts(&[(ACCOUNT, "hush")]);
        let file = server.secret_file("credentials.toml", &format!("[{ACCOUNT}]\nauth_token = \"hush\"\n"));
        let mut settings = vec![
            "msgstatus.databases=app".to_owned(),
            format!("msgstatus.credentials_file={file}"),
            format!("msgstatus.twilio_base_url={}", twilio.url),
            "msgstatus.poll_interval=1".to_owned(),
            "msgstatus.http_timeout=60s".to_owned(),
        ];
        settings.extend(more.iter().map(|s| (*s).to_owned()));
        server.connect("postgres").batch_execute("CREATE DATABASE app").expect("a database");
        server.start(&settings.iter().map(String::as_str).collect::<Vec<_>>());
        Some(Site { server, twilio, settings })
    }

    pub fn restart(&mut self) {
        self.server.start(&self.settings.iter().map(String::as_str).collect::<Vec<_>>());
    }

    pub fn app(&self) -> Client {
        wait_for("the server lets us in", || self.server.try_connect("app").ok())
    }

    /// A message that got stuck three hours ago and was delivered then.
    pub fn stuck(&self, client: &mut Client, sid: &str) {
        self.stuck_with(client, sid, DELIVERED);
    }

    /// With this life at Twilio.
    pub fn stuck_with(&self, client: &mut Client, sid: &str, life: &str) {
        // First there: of a message that Twilio does not know it is never asked again.
        let created: String =
            one(client, "SELECT to_char(now() - interval '3 hours', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
        self.twilio.put_messages(&format!(
            r#"[{{"sid":"{sid}","account_sid":"{ACCOUNT}","date_created":"{created}","life":{life}}}]"#
        ));
        client
            .batch_execute(&format!(
                "INSERT INTO messages (sid, account_sid, created_at, status)
                 VALUES ('{sid}', '{ACCOUNT}', now() - interval '3 hours', 'sent')"
            ))
            .expect("a message");
    }

    /// Begins to ask about a message, and waits.
    pub fn ask_and_wait(&self, client: &mut Client, sid: &str) {
        self.twilio.misbehave(json!([{"delay_ms": 30_000}]));
        self.stuck(client, sid);
        wait_until("Twilio is asked", || self.twilio.count("concurrent") > 0);
    }
}

pub fn one<T: for<'a> postgres::types::FromSql<'a>>(client: &mut Client, sql: &str) -> T {
    client.query_one(sql, &[]).expect(sql).get(0)
}

pub fn tables(client: &mut Client) {
    client
        .batch_execute(
            "CREATE EXTENSION msgstatus; SELECT msgstatus.create_tables();
             SELECT msgstatus.detach('messages', 'delivery_log');
             SELECT msgstatus.attach('messages', 'delivery_log', poll => 'stuck')",
        )
        .expect("tables");
}

pub fn until_delivered(client: &mut Client, sid: &str) {
    wait_until(&format!("{sid} is delivered"), || {
        one(client, &format!("SELECT status = 'delivered' FROM messages WHERE sid = '{sid}'"))
    });
}

pub fn worker(client: &mut Client) -> i32 {
    wait_for("the worker runs", || one::<Option<i32>>(client, "SELECT max(pid) FROM msgstatus.workers()"))
}
