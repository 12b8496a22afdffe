//! The worker and what one can ask by hand, against real servers and a Twilio that behaves or does not.
//!
//! Needs MSGSTATUS_TWILIO, the simulator's program, and MSGSTATUS_PG_CONFIG, a private PostgreSQL that the extension is
//! installed into; without them nothing is tested, and said so. `make test` sets both.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expected and stops")]

mod accounts;
mod faults;
mod rounds;
mod secrets;
mod server;
mod settings;
mod signed;
mod site;
mod survival;
mod trouble;
mod twilio;
