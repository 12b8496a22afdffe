//! The provider's edge: what providers send to an application about messages, and whether it is they who sent it. Plain
//! Rust, without PostgreSQL.
//!
//! | module | what it is |
//! |---|---|
//! | [`address`] | addresses that may be shown |
//! | [`event`] | what a parser gives |
//! | [`json`] | JSON that somebody else wrote |
//! | [`signature`] | who sent it: Twilio's and Meta's signatures |
//! | [`time`] | times, in the formats that providers use |
//! | [`twilio`], [`whatsapp`], … | one parser a provider, named as `parse_status` names it |

pub mod address;
pub mod event;
pub mod json;
pub mod signature;
pub mod time;

pub mod aws;
pub mod infobip;
pub mod messagebird;
pub mod plivo;
pub mod sinch;
pub mod smpp;
pub mod telnyx;
pub mod twilio;
pub mod vonage;
pub mod whatsapp;

#[cfg(test)]
mod bodies;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod samples;
