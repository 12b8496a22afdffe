//! Addresses that may be shown.

/// The address with what tells one person from another hidden: its channel (`whatsapp:`), the first four and the last four
/// of its letters and digits stay, less of a short one, but at least three are hidden.
pub fn masked(address: &str, hidden: char) -> String {
    let is_channel = |channel: &str| !channel.is_empty() && channel.bytes().all(|b| b.is_ascii_alphabetic());
    let (channel, rest) = match address.find(':') {
        Some(at) if is_channel(&address[..at]) => address.split_at(at + 1),
        _ => ("", address),
    };
    let count = rest.chars().filter(|c| c.is_alphanumeric()).count();
    let last = 4.min(count.saturating_sub(3));
    let first = 4.min(count.saturating_sub(3 + last));
    let mut place = 0;
    let rest = rest.chars().map(|c| {
        if !c.is_alphanumeric() {
            return c;
        }
        place += 1;
        if place <= first || place > count - last { c } else { hidden }
    });
    channel.chars().chain(rest).collect()
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
        ] {
            assert_eq!(masked(address, '*'), shown, "{address}");
        }
    }
}
