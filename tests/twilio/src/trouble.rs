//! Twilio's errors: an HTTP status, and a body with a code of Twilio's own.

use serde_json::json;

/// A request that gets an error for an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Trouble {
    pub status: u16,
    pub code: u32,
    pub message: String,
}

impl Trouble {
    fn new(status: u16, code: u32, message: impl Into<String>) -> Trouble {
        Trouble { status, code, message: message.into() }
    }

    pub fn unauthorized() -> Trouble {
        Trouble::new(401, 20003, "Authenticate")
    }

    pub fn not_found(path: &str) -> Trouble {
        Trouble::new(404, 20404, format!("The requested resource {path} was not found"))
    }

    pub fn method(method: &str) -> Trouble {
        Trouble::new(405, 20004, format!("Method not allowed: {method}"))
    }

    pub fn too_many() -> Trouble {
        Trouble::new(429, 20429, "Too Many Requests")
    }

    /// What Twilio answers for `>=2019-08-08` as the value of DateSent (twilio-cli, issue 99).
    pub fn date(value: &str) -> Trouble {
        Trouble::new(400, 20001, format!("Invalid date value: {value}"))
    }

    pub fn page_size(value: &str) -> Trouble {
        Trouble::new(400, 20007, format!("Page size must be from 1 to 1000, not {value}"))
    }

    pub fn page_token(value: &str) -> Trouble {
        Trouble::new(400, 21481, format!("Invalid PageToken: {value}"))
    }

    /// The error that goes with an HTTP status. Twilio's general errors are its status plus 20000, but for 401.
    pub fn of_status(status: u16) -> Trouble {
        match status {
            401 => Trouble::unauthorized(),
            403 => Trouble::new(403, 20403, "Forbidden"),
            404 => Trouble::new(404, 20404, "The requested resource was not found"),
            429 => Trouble::too_many(),
            500 => Trouble::new(500, 20500, "Internal Server Error"),
            502 => Trouble::new(502, 20502, "Bad Gateway"),
            503 => Trouble::new(503, 20503, "Service unavailable"),
            504 => Trouble::new(504, 20504, "Gateway Timeout"),
            other => Trouble::new(other, 20000 + u32::from(other), "Error"),
        }
    }

    pub fn body(&self) -> Vec<u8> {
        json!({
            "code": self.code,
            "message": self.message,
            "more_info": format!("https://www.twilio.com/docs/errors/{}", self.code),
            "status": self.status,
        })
        .to_string()
        .into_bytes()
    }
}
