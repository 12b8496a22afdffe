//! What providers send, in SQL: from a request's raw body to rows of a delivery log.
//!
//! | module | what it is |
//! |---|---|
//! | [`parse`] | the parsers and signatures as functions |
//! | [`callback`] | `twilio_callback`, `whatsapp_callback`: vouched for, parsed and stored |

pub mod callback;
pub mod parse;

use crate::errors::{Code, Fault, Result};

/// In bytes: more than any webhook of Meta's (3 MB), and little enough to be hashed before it is known whose it is.
const LARGEST_JSON: usize = 16 << 20;

/// What is read takes many times its size, of memory that is not PostgreSQL's.
fn no_larger_than(largest: usize, body: &[u8]) -> Result<()> {
    if body.len() > largest {
        return Err(Fault::new(
            Code::InvalidArgument,
            format!("the body has {} bytes, more than {largest}", body.len()),
            "No provider sends as much. Let the web server refuse it.",
        ));
    }
    Ok(())
}
