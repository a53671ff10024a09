//! The log of rules that say `log: true`, rate limited by rule, and the baselines of rule counters.

use std::collections::BTreeMap;

use sluice_channel::RuleLog;
use sluice_packet::protocol;
use sluice_policy::{InterfaceId, Policy, RuleSlot};

/// Lines a second for one rule, and how many at once.
const RATE: u64 = 5;
const BURST: u64 = 10;

#[derive(Default)]
struct OfRule {
    /// Tokens in thousandths, so that milliseconds refill them.
    tokens: u64,
    last: u64,
    suppressed: u64,
}

/// Decides which matches become a line.
#[derive(Default)]
pub struct RuleLogger {
    rules: BTreeMap<RuleSlot, OfRule>,
    baselines: BTreeMap<RuleSlot, (u64, u64)>,
}

impl RuleLogger {
    /// The line about a match, or `None` when its rule has had its share, or is gone.
    pub fn admit(
        &mut self,
        policy: &Policy,
        report: &sluice_hooks::Report,
        now: u64,
    ) -> Option<RuleLog> {
        let fresh = OfRule { tokens: BURST * 1000, last: now, suppressed: 0 };
        let of_rule = self.rules.entry(report.rule).or_insert(fresh);
        let refill = now.saturating_sub(of_rule.last) * RATE;
        of_rule.tokens = (of_rule.tokens + refill).min(BURST * 1000);
        of_rule.last = now;
        if of_rule.tokens < 1000 {
            of_rule.suppressed += 1;
            return None;
        }
        let info = policy.rule_at(report.rule)?;
        of_rule.tokens -= 1000;
        let d = &report.descriptor;
        let name = |id: InterfaceId| policy.interface(id).map(|interface| interface.name.clone());
        let icmp = matches!(d.key.protocol, protocol::ICMP | protocol::ICMPV6);
        let (source_port, destination_port) = match icmp {
            true => (d.icmp_type.into(), d.icmp_code.into()),
            false => (d.key.src_port, d.key.dst_port),
        };
        Some(RuleLog {
            instance: info.instance.clone(),
            point: info.point,
            rule: info.name.into(),
            action: info.action,
            input: name(InterfaceId(d.ingress)),
            output: report.egress.and_then(name),
            source: d.key.src_ip(),
            destination: d.key.dst_ip(),
            protocol: d.key.protocol,
            source_port,
            destination_port,
            length: d.l3_length.into(),
            suppressed: std::mem::take(&mut of_rule.suppressed),
        })
    }

    /// Notes packets and bytes that a slot's counters stood at when its rule got it.
    pub fn set_baseline(&mut self, slot: RuleSlot, counted: (u64, u64)) {
        self.baselines.insert(slot, counted);
        self.rules.remove(&slot);
    }

    /// Packets and bytes since the rule got its slot.
    pub fn since_baseline(&self, slot: RuleSlot, counted: (u64, u64)) -> (u64, u64) {
        let (packets, bytes) = self.baselines.get(&slot).copied().unwrap_or_default();
        (counted.0.wrapping_sub(packets), counted.1.wrapping_sub(bytes))
    }
}

/// Writes a line to the program's log.
pub fn write(line: &RuleLog) {
    tracing::info!(
        rule = %line.rule,
        filter = ?line.point,
        action = ?line.action,
        input = line.input.as_deref().unwrap_or("-"),
        output = line.output.as_deref().unwrap_or("-"),
        source = %line.source,
        destination = %line.destination,
        protocol = line.protocol,
        sport = line.source_port,
        dport = line.destination_port,
        length = line.length,
        suppressed = line.suppressed,
        "rule"
    );
}

#[cfg(test)]
mod tests {
    use sluice_packet::Descriptor;
    use sluice_policy::config;
    use sluice_policy::model::State;

    use super::*;

    fn policy() -> Policy {
        let text = "filters: { forward: { rules: [{ name: a, action: drop, log: true }, { name: b, action: drop, log: true }] } }";
        let state = config::read(text.as_bytes(), "test.yaml").unwrap().state;
        Policy::empty().apply(&State::default().difference(&state)).unwrap()
    }

    fn report(policy: &Policy, name: &str) -> sluice_hooks::Report {
        let rule = policy.rules().find(|rule| rule.name == name).unwrap().slot;
        sluice_hooks::Report { rule, descriptor: Descriptor::default(), egress: None }
    }

    #[test]
    fn a_rule_has_a_few_lines_at_once_and_then_so_many_a_second() {
        let policy = policy();
        let (a, b) = (report(&policy, "a"), report(&policy, "b"));
        let mut logger = RuleLogger::default();
        // Milliseconds: a flood at one moment, and its next second.
        let mut lines = |report, now| -> Vec<_> {
            (0..1000).filter_map(|_| logger.admit(&policy, report, now)).collect()
        };
        assert_eq!(lines(&a, 5000).len() as u64, BURST);
        assert_eq!(lines(&b, 5000).len() as u64, BURST, "each rule has its own share");
        let later = lines(&a, 6000);
        assert_eq!(later.len() as u64, RATE);
        assert_eq!(later[0].suppressed, 1000 - BURST, "the next line says what there was between");
        assert_eq!(&*later[0].rule, "a");
    }

    #[test]
    fn a_rule_that_is_gone_is_not_named() {
        let mut gone = report(&policy(), "a");
        gone.rule = RuleSlot(77);
        assert!(RuleLogger::default().admit(&policy(), &gone, 0).is_none());
    }
}
