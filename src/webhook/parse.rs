//! The provider's edge as functions of SQL: `parse_…`, `…_signature_valid`, `mask_address`.

use crate::datum::{jsonb_text, text_datum};
use crate::edge::event::{Event, Parsed, Refusal};
use crate::edge::{self, signature};
use crate::encoding::{from_server, to_server, to_server_lossy};
use crate::errors::{Code, Fault, Result};
use crate::function::Args;
use crate::webhook::{self, LARGEST_JSON};
use pgrx::pg_sys::{self, Datum};
use serde_json::Value;

crate::sql_function!(msgstatus_parse_twilio, pg_finfo_msgstatus_parse_twilio, parse_twilio);
crate::sql_function!(msgstatus_parse_whatsapp, pg_finfo_msgstatus_parse_whatsapp, parse_whatsapp);
crate::sql_function!(msgstatus_parse_vonage, pg_finfo_msgstatus_parse_vonage, parse_vonage);
crate::sql_function!(msgstatus_parse_messagebird, pg_finfo_msgstatus_parse_messagebird, parse_messagebird);
crate::sql_function!(msgstatus_parse_plivo, pg_finfo_msgstatus_parse_plivo, parse_plivo);
crate::sql_function!(msgstatus_parse_sinch, pg_finfo_msgstatus_parse_sinch, parse_sinch);
crate::sql_function!(msgstatus_parse_telnyx, pg_finfo_msgstatus_parse_telnyx, parse_telnyx);
crate::sql_function!(msgstatus_parse_aws, pg_finfo_msgstatus_parse_aws, parse_aws);
crate::sql_function!(msgstatus_parse_infobip, pg_finfo_msgstatus_parse_infobip, parse_infobip);
crate::sql_function!(msgstatus_parse_smpp, pg_finfo_msgstatus_parse_smpp, parse_smpp);
crate::sql_function!(
    msgstatus_twilio_signature_valid,
    pg_finfo_msgstatus_twilio_signature_valid,
    twilio_signature_valid
);
crate::sql_function!(
    msgstatus_whatsapp_signature_valid,
    pg_finfo_msgstatus_whatsapp_signature_valid,
    whatsapp_signature_valid
);
crate::sql_function!(msgstatus_mask_address, pg_finfo_msgstatus_mask_address, mask_address);

const FORM: &str = "Pass the raw body of the request, as it came, without decoding anything.";
const JSON: &str = "Pass the body of the request as jsonb, whole.";
const RECEIPT: &str =
    "Pass the text of the deliver_sm: id:... sub:... dlvrd:... submit date:... done date:... stat:... err:... text:...";

fn parse_twilio(args: &Args) -> Result<Option<Datum>> {
    rows(args, "twilio", edge::twilio::parse(&raw(args)?), FORM)
}

fn parse_plivo(args: &Args) -> Result<Option<Datum>> {
    rows(args, "plivo", edge::plivo::parse(&raw(args)?), FORM)
}

fn parse_smpp(args: &Args) -> Result<Option<Datum>> {
    rows(args, "smpp", edge::smpp::parse(&raw(args)?), RECEIPT)
}

fn parse_whatsapp(args: &Args) -> Result<Option<Datum>> {
    json_rows(args, "whatsapp", edge::whatsapp::parse)
}

fn parse_vonage(args: &Args) -> Result<Option<Datum>> {
    json_rows(args, "vonage", edge::vonage::parse)
}

fn parse_messagebird(args: &Args) -> Result<Option<Datum>> {
    json_rows(args, "messagebird", edge::messagebird::parse)
}

fn parse_sinch(args: &Args) -> Result<Option<Datum>> {
    json_rows(args, "sinch", edge::sinch::parse)
}

fn parse_telnyx(args: &Args) -> Result<Option<Datum>> {
    json_rows(args, "telnyx", edge::telnyx::parse)
}

fn parse_aws(args: &Args) -> Result<Option<Datum>> {
    json_rows(args, "aws", edge::aws::parse)
}

fn parse_infobip(args: &Args) -> Result<Option<Datum>> {
    json_rows(args, "infobip", edge::infobip::parse)
}

/// More than any form or receipt.
const LARGEST_TEXT: usize = 4 << 20;

fn raw(args: &Args) -> Result<String> {
    let body = args.text(0).unwrap_or_default();
    webhook::no_larger_than(LARGEST_TEXT, &body)?;
    Ok(from_server(&body))
}

fn json_rows(args: &Args, provider: &str, parse: impl FnOnce(&Value) -> Parsed) -> Result<Option<Datum>> {
    // SAFETY: these functions are declared with a jsonb argument.
    let text = args.get(0).map(|body| unsafe { jsonb_text(body) }).transpose()?.unwrap_or_default();
    webhook::no_larger_than(LARGEST_JSON, &text)?;
    let parsed = match edge::json::read(from_server(&text).as_bytes()) {
        Ok(body) => parse(&body),
        // jsonb is JSON; so it is nested deeper than anything that a provider sends.
        Err(why) => Err(Refusal(format!("it can't be read: {why}"))),
    };
    rows(args, provider, parsed, JSON)
}

/// JSON as a jsonb value.
fn json_datum(value: &Value) -> Result<Datum> {
    let text =
        std::ffi::CString::new(to_server_lossy(&value.to_string())).map_err(|_| Fault::internal("NUL in JSON"))?;
    // SAFETY: jsonb's input function takes a C string.
    unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(Datum::from(text.as_ptr()))]) }
        .ok_or_else(|| Fault::internal("jsonb read as null"))
}

fn text(text: &str) -> Datum {
    text_datum(&to_server_lossy(text))
}

fn rows(args: &Args, provider: &str, parsed: Parsed, hint: &str) -> Result<Option<Datum>> {
    let events = parsed.map_err(|Refusal(why)| {
        Fault::new(Code::InvalidArgument, format!("this is no status callback of {provider}: {why}"), hint)
    })?;
    let mut set = args.set()?;
    for event in events.into_iter().map(Event::storable) {
        set.put(&[
            Some(text(&event.sid)),
            Some(text(provider)),
            Some(text(&event.status)),
            event.error_code.as_deref().map(text),
            event.error_message.as_deref().map(text),
            event.at.map(Datum::from),
            Some(json_datum(&event.payload)?),
        ])?;
    }
    Ok(None)
}

/// The arguments of a signature's check as text; none of them if one is missing.
fn texts<const N: usize>(args: &Args) -> Option<[String; N]> {
    let all: Vec<String> = (0..N).map_while(|i| args.string(i)).collect();
    all.try_into().ok()
}

fn twilio_signature_valid(args: &Args) -> Result<Option<Datum>> {
    let Some([token, url, body, signature]) = texts::<4>(args) else { return Ok(Some(Datum::from(false))) };
    webhook::no_larger_than(LARGEST_TEXT, body.as_bytes())?;
    Ok(Some(Datum::from(signature::is_twilios(&token, &url, &body, &signature))))
}

fn whatsapp_signature_valid(args: &Args) -> Result<Option<Datum>> {
    // bytea is stored as text is.
    let valid = match (args.string(0), args.text(1), args.string(2)) {
        (Some(secret), Some(body), Some(signature)) => signature::is_metas(&secret, &body, &signature),
        _ => false,
    };
    Ok(Some(Datum::from(valid)))
}

fn mask_address(args: &Args) -> Result<Option<Datum>> {
    Ok(args.string(0).map(|address| {
        // SAFETY: reads what the backend set when it connected.
        let dot = unsafe { pg_sys::GetDatabaseEncoding() } == pg_sys::pg_enc::PG_UTF8 as i32;
        text_datum(&to_server(&edge::address::masked(&address, if dot { '\u{2022}' } else { '*' })))
    }))
}
