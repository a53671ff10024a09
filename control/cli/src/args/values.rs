//! Values of the command line that have a form of their own.

use std::time::Duration;

use sluice_policy::model::Standing;

pub(super) fn appliance_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.is_empty() || text.len() > 32 || !text.chars().all(plain) {
        return Err("1 to 32 letters, digits, - and _ are allowed".into());
    }
    Ok(text.into())
}

pub(super) fn protocol(text: &str) -> Result<u8, String> {
    Ok(match text {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "icmpv6" => 58,
        "sctp" => 132,
        number => number
            .parse()
            .map_err(|_| "tcp, udp, icmp, icmpv6, sctp or a number up to 255 is allowed")?,
    })
}

pub(super) fn tcp_flags(text: &str) -> Result<u8, String> {
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
    text.split(',').map(str::trim).try_fold(0, |flags, name| {
        let bit = NAMES.iter().position(|known| *known == name).ok_or_else(|| {
            format!("`{name}` is not a TCP flag; allowed are {}", NAMES.join(", "))
        })?;
        Ok(flags | 1 << bit)
    })
}

pub(super) fn state(text: &str) -> Result<Standing, String> {
    let known = Standing::ALL.into_iter().find(|state| state.name() == text);
    known.ok_or_else(|| {
        format!("one of {} is allowed", Standing::ALL.map(Standing::name).join(", "))
    })
}

pub(super) fn icmp(text: &str) -> Result<(u8, u8), String> {
    let (kind, code) = text.split_once('/').unwrap_or((text, "0"));
    let number = |text: &str| {
        let parsed = text.parse::<u8>();
        parsed.map_err(|_| "a type and, after a slash, a code, each up to 255".to_owned())
    };
    Ok((number(kind)?, number(code)?))
}

/// `90`, `90s`, `10m`, `2h`; whole seconds, at least one, at most a day.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 86_400;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" | "min" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let number = digits.parse::<u64>().ok();
    let seconds = unit.zip(number).and_then(|(unit, number)| number.checked_mul(unit));
    match seconds {
        Some(seconds @ 1..=DAY) => Ok(Duration::from_secs(seconds)),
        _ => Err("a time from 1s to 24h is allowed, as in 90s, 10m or 2h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_protocols_are_read() {
        assert_eq!(tcp_flags("syn, ack"), Ok(0x12));
        assert!(tcp_flags("syn,foo").unwrap_err().contains("`foo`"));
        assert!(protocol("300").is_err());
    }

    #[test]
    fn times_have_units() {
        let read = |text| seconds(text).map(|time| time.as_secs());
        assert_eq!(
            [read("90"), read("90s"), read("10m"), read("2h")],
            [Ok(90), Ok(90), Ok(600), Ok(7200)]
        );
        for wrong in ["", "0", "0s", "-1s", "1d", "25h", "s", "1 s", "18446744073709551615h"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
