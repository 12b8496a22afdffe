//! Addresses that may be shown.

use std::net::Ipv4Addr;

/// The address with what tells one person from another hidden: its channel (`whatsapp:`) stays, the first four and the last
/// four of its characters, less of a short one, but at least three are hidden. Of a mailbox (`sip:anna@example.com`) the domain
/// stays, and of the name the first character at most.
///
/// What is masked already stays as it is.
pub fn masked(address: &str, hidden: char) -> String {
    let is_channel = |channel: &str| !channel.is_empty() && channel.bytes().all(|b| b.is_ascii_alphabetic());
    let (channel, rest) = match address.find(':') {
        Some(at) if is_channel(&address[..at]) => address.split_at(at + 1),
        _ => ("", address),
    };
    let separates = |c: char| c.is_whitespace() || "+-().,/:;@".contains(c);
    // What stands behind a handle's @ is the handle (`@anna`), and a telephone number is no domain.
    let is_name = |name: &str| !name.chars().all(separates);
    let is_domain = |domain: &str| {
        let host = domain.split(':').next().unwrap_or_default();
        !domain.contains(|c: char| c.is_whitespace() || c == '+')
            && (host.contains(|c: char| c.is_ascii_alphabetic()) || host.parse::<Ipv4Addr>().is_ok())
    };
    let mailbox = rest.rfind('@').map(|at| rest.split_at(at));
    let (name, domain) = mailbox.filter(|(name, at)| is_name(name) && is_domain(&at[1..])).unwrap_or((rest, ""));
    let count = name.chars().filter(|&c| !separates(c)).count();
    let (most_first, most_last) = if domain.is_empty() { (4, 4) } else { (1, 0) };
    let last = most_last.min(count.saturating_sub(3));
    let first = most_first.min(count.saturating_sub(3 + last));
    let mut place = 0;
    let name = name.chars().map(|c| {
        if separates(c) {
            return c;
        }
        place += 1;
        if place <= first || place > count - last { c } else { hidden }
    });
    channel.chars().chain(name).chain(domain.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_is_hidden_and_enough_is_left() {
        for (address, shown) in [
            ("+15551234567", "+1555***4567"),
            ("whatsapp:+15551234567", "whatsapp:+1555***4567"),
            ("+447700900123", "+4477****0123"),
            ("+1 (555) 123-4567", "+1 (555) ***-4567"),
            ("+49301234", "+4***1234"),
            ("72345", "***45"),
            ("ACME", "***E"),
            ("abc", "***"),
            ("a", "*"),
            ("", ""),
            ("whatsapp:", "whatsapp:"),
            ("12:34567890", "12:3***7890"),
            ("anna@example.com", "a***@example.com"),
            ("sip:anna.b@example.com", "sip:a***.*@example.com"),
            ("bob@example.com", "***@example.com"),
            ("telegram:@anna_smith", "telegram:@ann***mith"),
            ("instagram:@anna.smith", "instagram:@an**.*mith"),
            ("@+15551234567", "@+1555***4567"),
            ("anna@15551234567", "anna@*******4567"),
            ("sip:anna@10.0.0.1", "sip:a***@10.0.0.1"),
            ("sip:anna@10.0.0.1:5060", "sip:a***@10.0.0.1:5060"),
            ("sip:1000@pbx", "sip:1***@pbx"),
            (" @anna_smith", " @ann***mith"),
            ("telegram: @anna_smith", "telegram: @ann***mith"),
            ("@@anna.smith", "@@an**.*mith"),
            ("x@+1 555 123 4567 ext", "x@+1 55* *** ***7 ext"),
            ("sip:+15551234567@555.123.4567", "sip:+1555*******@***.***.4567"),
            ("a@b@example.com", "*@*@example.com"),
            ("messenger:1234567890123456", "messenger:1234********3456"),
            ("rcs:brand_agent", "rcs:bran***gent"),
            ("______________", "____******____"),
        ] {
            assert_eq!(masked(address, '*'), shown, "{address}");
            assert_eq!(masked(shown, '*'), shown, "{address} twice");
        }
    }
}
