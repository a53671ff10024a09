//! What the dataplane says unasked, as lines of the log.

use std::net::{IpAddr, SocketAddr};

use sluice_channel::{Notice, RuleLog};

use crate::text;

/// Logs a notice.
pub(crate) fn log(notice: &Notice) {
    match notice {
        Notice::Link { port, up: true } => tracing::info!("port {port}: link is up"),
        Notice::Link { port, up: false } => tracing::warn!("port {port}: link is down"),
        Notice::Stopping => tracing::info!("the dataplane is stopping"),
        Notice::Log(line) => tracing::info!("{}", rule_line(line)),
        other => tracing::debug!(?other, "the dataplane says"),
    }
}

/// `forward filter of default: no-http: drop tcp 10.0.1.2:40000 > 10.0.2.2:80 in lan out wan`.
fn rule_line(line: &RuleLog) -> String {
    let mut words = format!(
        "{} filter of {}: {}: {} {} {} > {}",
        line.point.name(),
        line.instance,
        line.rule,
        line.action.name(),
        text::protocol(line.protocol),
        end(line.protocol, line.source, line.source_port),
        end(line.protocol, line.destination, line.destination_port),
    );
    for (word, name) in [("in", &line.input), ("out", &line.output)] {
        if let Some(name) = name {
            words.push_str(&format!(" {word} {name}"));
        }
    }
    words.push_str(&format!(" length {}", line.length));
    if line.suppressed != 0 {
        words.push_str(&format!(" ({} more were not logged)", line.suppressed));
    }
    words
}

/// One end of a flow; ICMP has a type and a code in the ports' places.
fn end(protocol: u8, address: IpAddr, port: u16) -> String {
    match protocol {
        6 | 17 | 33 | 132 | 136 => SocketAddr::new(address, port).to_string(),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use sluice_policy::model::{Action, FilterPoint};

    use super::*;

    #[test]
    fn a_rule_log_is_one_line() {
        let mut line = RuleLog {
            instance: "default".into(),
            point: FilterPoint::Forward,
            rule: "no-http".into(),
            action: Action::Drop,
            input: Some("lan".into()),
            output: None,
            source: "fd00:1::2".parse().unwrap(),
            destination: "fd00:2::2".parse().unwrap(),
            protocol: 6,
            source_port: 40_000,
            destination_port: 80,
            length: 60,
            suppressed: 0,
        };
        assert_eq!(
            rule_line(&line),
            "forward filter of default: no-http: drop tcp [fd00:1::2]:40000 > [fd00:2::2]:80 in lan \
             length 60"
        );
        (line.protocol, line.suppressed) = (58, 7);
        assert!(rule_line(&line).ends_with(
            "drop icmpv6 fd00:1::2 > fd00:2::2 in lan length 60 (7 more were not logged)"
        ));
    }
}
