//! What providers send, in SQL: from a request's raw body to rows of a delivery log.
//!
//! | module | what it is |
//! |---|---|
//! | [`parse`] | the parsers and signatures as functions |
//! | [`callback`] | `twilio_callback`, `whatsapp_callback`: vouched for, parsed and stored |

pub mod callback;
pub mod parse;
