//! Who sent it: the signatures of Twilio and Meta. Every comparison takes the same time whatever is compared.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use indexmap::IndexMap;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The query parameter by which Twilio tells the hash of a body that is not a form (Twilio, "Webhooks security").
const BODY_HASH: &str = "bodySHA256";

/// Is this Twilio's signature (the header X-Twilio-Signature) of a request to this URL with this body?
///
/// The URL is the one that Twilio was given, with its query. A form's parameters are appended to it, sorted by name, each
/// value of a name once; a body that is no form is vouched for by its hash in the URL. What Twilio's own libraries take for
/// the same URL is taken for it here ([`spellings`]). With an empty token nothing is signed.
pub fn is_twilios(token: &str, url: &str, body: &str, signature: &str) -> bool {
    let Ok(signature) = BASE64.decode(signature.trim()) else { return false };
    let hash = url.split_once('#').map_or(url, |(url, _)| url).split_once('?').and_then(|(_, query)| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == BODY_HASH)
            .map(|(_, hash)| hash.into_owned())
    });
    let parameters = parameters(body);
    let is_signed = |urls: Vec<String>| {
        let with = |parameters: &str| {
            urls.iter().fold(false, |signed, url| {
                signed | mac::<Hmac<Sha1>>(token.as_bytes(), &[url.as_bytes(), parameters.as_bytes()], &signature)
            })
        };
        match &hash {
            // A form has parameters: without any, everybody who has seen the signature of another body could send this one.
            Some(hash) => with("") & same_hash(hash, body.as_bytes()) | with(&parameters) & !parameters.is_empty(),
            None => with(&parameters),
        }
    };
    // The usual ones first: how Twilio spelled the URL is no secret.
    is_signed(spellings(url, false)) || is_signed(spellings(url, true))
}

/// Is this Meta's signature (the header X-Hub-Signature-256) of this body?
pub fn is_metas(secret: &str, body: &[u8], signature: &str) -> bool {
    let signature = signature.trim();
    let Some(signature) = signature.strip_prefix("sha256=").and_then(unhex) else { return false };
    mac::<Hmac<Sha256>>(secret.as_bytes(), &[body], &signature)
}

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]], expected: &[u8]) -> bool {
    // Anybody could sign with an empty key. Any other is one for HMAC.
    if key.is_empty() {
        return false;
    }
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return false };
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(expected).is_ok()
}

/// The hash is public, but there is no reason to compare it in another way.
fn same_hash(hex: &str, body: &[u8]) -> bool {
    let Some(given) = unhex(hex) else { return false };
    let hash = Sha256::digest(body);
    given.len() == hash.len() && given.iter().zip(hash.iter()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// A form's parameters as Twilio signs them.
fn parameters(body: &str) -> String {
    // A set: sorted by name, then by value, each pair once. Not by both run together: a name may begin as another ends.
    let pairs: BTreeSet<(Cow<str>, Cow<str>)> = url::form_urlencoded::parse(body.as_bytes()).collect();
    pairs.into_iter().fold(String::with_capacity(body.len()), |mut all, (name, value)| {
        all.push_str(&name);
        all.push_str(&value);
        all
    })
}

/// Enough of a URL to tell it from others.
const LONGEST_SHOWN: usize = 200;

/// A URL that may be shown: without its user and password, and without its query, which may hold secrets.
pub fn shown(url: &str) -> String {
    let (start, query) = url.split_once(['?', '#']).map_or((url, ""), |(start, _)| (start, " (and its query)"));
    let (scheme, rest) = start.split_once("://").unwrap_or(("", start));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let shown = format!("{scheme}://{host}{path}");
    let shown: String = shown.chars().map(|c| if c.is_control() { '?' } else { c }).take(LONGEST_SHOWN).collect();
    shown + query
}

/// The ways in which Twilio may have spelled a URL before it signed it: with and without the port, whichever (as of their
/// libraries, "signature generation on the back end is inconsistent"); with host, path and query as given or as browsers write
/// them, and the query as Node's querystring does; with the path / where none is given. A fragment is not signed, but may
/// have been. Unless `anew`, only the port may be another.
fn spellings(url: &str, anew: bool) -> Vec<String> {
    let mut spellings: Vec<String> = Vec::with_capacity(4);
    let (bare, fragment) = url.split_once('#').map_or((url, None), |(bare, fragment)| (bare, Some(fragment)));
    let (start, query) = bare.split_once('?').map_or((bare, None), |(start, query)| (start, Some(query)));
    let Some((scheme, rest)) = start.split_once("://") else { return vec![bare.to_owned()] };
    let scheme = scheme.to_ascii_lowercase();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host_at = authority.rfind('@').map_or(0, |at| at + 1);
    // The last colon of an address in brackets is none of a port's.
    let after_brackets = authority[host_at..].rfind(']').map_or(host_at, |at| host_at + at);
    let colon = authority[after_brackets..].rfind(':').map(|at| after_brackets + at);
    let (host, port) = match colon {
        Some(at) => (&authority[..at], &authority[at + 1..]),
        None => (authority, if scheme == "https" { "443" } else { "80" }),
    };
    let browsers = anew.then(|| url::Url::parse(bare).ok()).flatten();
    let queries = match query {
        None => vec![String::new()],
        Some(query) if !anew => vec![format!("?{query}")],
        Some("") => vec!["?".to_owned(), String::new()],
        Some(query) => {
            let of_browsers = browsers.as_ref().and_then(|url| url.query().map(str::to_owned));
            let other = [of_browsers, Some(as_querystring_does(query))];
            [Some(query.to_owned())].into_iter().chain(other).flatten().map(|query| format!("?{query}")).collect()
        }
    };
    let (user, host) = host.split_at(host_at);
    let (mut hosts, mut paths) = (vec![host.to_owned()], vec![path]);
    if let Some(url) = &browsers {
        hosts.extend(url.host_str().filter(|other| *other != host).map(str::to_owned));
        paths.extend(Some(url.path()).filter(|other| *other != path));
    }
    let hosts = hosts.iter().flat_map(|host| [format!("{user}{host}"), format!("{user}{host}:{port}")]);
    let fragment = fragment.filter(|_| anew).map(|fragment| format!("#{fragment}"));
    for host in hosts {
        for path in &paths {
            for query in &queries {
                for fragment in [Some(""), fragment.as_deref()].into_iter().flatten() {
                    let spelled = format!("{scheme}://{host}{path}{query}{fragment}");
                    if !spellings.contains(&spelled) {
                        spellings.push(spelled);
                    }
                }
            }
        }
    }
    spellings
}

/// The query taken apart and put together by Node's querystring, as its older programs did.
fn as_querystring_does(query: &str) -> String {
    // What querystring.escape leaves as it is.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!'()*-._~".contains(&b);
    let escaped = |text: &str| {
        text.bytes().fold(String::with_capacity(text.len()), |mut all, b| {
            if plain(b) {
                all.push(char::from(b))
            } else {
                all.push_str(&format!("%{b:02X}"))
            }
            all
        })
    };
    // The values of a name stand together, where its first stood.
    let mut fields: IndexMap<Cow<str>, Vec<Cow<str>>> = IndexMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        fields.entry(name).or_default().push(value);
    }
    let pairs = fields.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    pairs.map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const P: &str = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";

    fn valid(url: &str, body: &str, signature: &str) -> bool {
        is_twilios("12345", url, body, signature)
    }

    #[test]
    fn a_port_may_be_there_or_not() {
        assert!(valid(U, P, "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
        let with_port = U.replace(".com/", ".com:1234/");
        assert!(valid(&with_port, P, "RSOYDt4T1cUTdK1PDd93/VVr8B8="), "it was signed without");
        assert!(valid(&with_port.replace("https", "http"), P, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="));
        assert!(valid(U, P, "kvajT1Ptam85bY51eRf/AJRuM3w="), "it was signed with :443");
        assert!(valid(&U.replace("https", "http"), P, "0ZXoZLH/DfblKGATFgpif+LLRf4="), "it was signed with :80");
        assert!(!valid(U, P, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="));
    }

    #[test]
    fn nothing_may_be_another() {
        let signature = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
        assert!(!is_twilios("12346", U, P, signature));
        assert!(!is_twilios("", U, P, "aXngMTP07D4c4hkO+r0Kb5Oe528="));
        assert!(!valid(&U.replace("foo=1", "foo=2"), P, signature));
        assert!(!valid(U, &P.replace("1234&", "1235&"), signature));
        assert!(!valid(U, &format!("{P}&More=1"), signature));
        for bad in ["", "RSOYDt4T1cUTdK1PDd93/VVr8B8", "no base64", "AAAA", "RSOYDt4T1cUTdK1PDd93/VVr8B9="] {
            assert!(!valid(U, P, bad), "{bad}");
        }
        assert!(valid(&format!("{U}#ct=2000"), P, signature), "a fragment is not signed");
    }

    #[test]
    fn what_is_shown_of_a_url_has_no_secret() {
        assert_eq!(
            shown("https://user:pass@example.com:8443/a/b?key=secret#x"),
            "https://example.com:8443/a/b (and its query)"
        );
        assert_eq!(shown("https://a@b:pass@example.com"), "https://example.com");
        assert_eq!(shown("https://example.com/a"), "https://example.com/a");
        assert_eq!(shown("/a?secret"), ":///a (and its query)");
        assert_eq!(shown("https://a\n\u{1b}[2J/?x"), "https://a??[2J/ (and its query)");
        assert_eq!(shown(&format!("https://{}", "a".repeat(10_000))).len(), 200);
    }

    #[test]
    fn users_are_part_of_it() {
        assert!(valid(&U.replace("//", "//user:pass@"), P, "CukzLTc1tT5dXEDIHm/tKBanW10="));
        assert!(valid(&U.replace("//", "//user@"), P, "2YRLlVAflCqxaNicjMpJcSTgzSs="));
        assert!(valid(&U.replace("//", "//user:pass@"), P, "ZQFR1PTIZXF2MXB8ZnKCvnnA+rI="), "signed with :443");
    }

    #[test]
    fn other_bodies_are_vouched_for_by_their_hash() {
        let hash = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
        let body = r#"{"property": "value", "boolean": true}"#;
        let signature = "a9nBmqA0ju/hNViExpshrM61xv4=";
        assert!(valid(&format!("{U}&bodySHA256={hash}"), body, signature));
        for other in [&body.replace("true", "false"), "", "&", "{}"] {
            assert!(!valid(&format!("{U}&bodySHA256={hash}"), other, signature), "{other}");
        }
        // A form may have it in its URL, too.
        let url = format!("{U}&bodySHA256={hash}");
        assert!(valid(&url, P, &BASE64.encode(sign(&url, P))));
        let alone = format!("https://mycompany.com/myapp.php?bodySHA256={hash}");
        assert!(valid(&alone, body, "y77kIzt2vzLz71DgmJGsen2scGs="));
    }

    #[test]
    fn what_is_the_same_url_is_taken_for_it() {
        let signature = |url: &str| BASE64.encode(sign(url, P));
        for (given, signed) in [
            ("https://example.com/?Body=It%27s%20me", "https://example.com/?Body=It's%20me"),
            ("https://example.com/?a=1&b=2&a=3+4", "https://example.com/?a=1&a=3%204&b=2"),
            ("https://example.com/?a=@b:c", "https://example.com/?a=%40b%3Ac"),
            ("https://example.com", "https://example.com/"),
            ("https://example.com?a=b", "https://example.com:443/?a=b"),
            ("HTTPS://example.com/x", "https://example.com/x"),
            ("https://example.com/x?", "https://example.com/x"),
            ("https://example.com/x?", "https://example.com:443/x?"),
            ("https://example.com/x#rc=2", "https://example.com:443/x#rc=2"),
            ("https://[::1]:8443/x", "https://[::1]/x"),
            ("https://user:pass@[::1]/x", "https://user:pass@[::1]:443/x"),
        ] {
            assert!(valid(given, P, &signature(signed)), "{given}, signed as {signed}");
        }
        for (given, signed) in [
            ("https://example.com/x", "https://example.com/X"),
            ("https://example.com/x", "http://example.com/x"),
            ("https://example.com/x", "https://example.com/x?"),
            ("https://example.com/x", "https://example.com:80/x"),
            ("https://example.com:8443/x", "https://example.com:443/x"),
            ("https://example.com/?a=1&b=2", "https://example.com/?b=2&a=1"),
            ("https://user@example.com/x", "https://example.com/x"),
        ] {
            assert!(!valid(given, P, &signature(signed)), "{given}, signed as {signed}");
        }
        assert_eq!(spellings("https://example.com/twilio?tenant=17", true).len(), 2, "usually the port is all");
    }

    fn sign(url: &str, body: &str) -> Vec<u8> {
        let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(b"12345").unwrap_or_else(|_| unreachable!());
        mac.update(url.as_bytes());
        mac.update(parameters(body).as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    #[test]
    fn a_query_may_have_been_encoded_anew() {
        assert!(valid(&format!("{U}&Body=It's+amazing"), P, "TfZzewPq8wqrGlMfyAud8+/IvJ0="));
    }

    #[test]
    fn metas_are_of_the_raw_body() {
        let body = br#"{"object":"whatsapp_business_account"}"#;
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(b"hush").unwrap_or_else(|_| unreachable!());
        mac.update(body);
        let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert!(is_metas("hush", body, &format!("sha256={hex}")));
        assert!(is_metas("hush", body, &format!("sha256={}", hex.to_uppercase())));
        assert!(!is_metas("hush", b"{}", &format!("sha256={hex}")));
        assert!(!is_metas("rush", body, &format!("sha256={hex}")));
        for bad in ["", "sha256=", "sha1=00", &hex, "sha256=zz", "sha256=0"] {
            assert!(!is_metas("hush", body, bad), "{bad}");
        }
    }
}
