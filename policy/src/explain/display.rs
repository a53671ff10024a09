//! An explanation as people read it.

use std::fmt;
use std::net::IpAddr;

use super::{Answered, Explanation, MatchedPolicyRoute, MatchedRule, Outcome, Verdict, Way};
use crate::model::{MAIN_TABLE, PolicyAction, Position, Unreachable};
use crate::policy::MatchedRoute;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.way.write_steps(f, "")?;
        if let Some(answer) = &self.answer {
            let Answered { message, source, destination, way } = answer;
            writeln!(f, "answer:         {message} from {source} to {destination}")?;
            way.write_steps(f, "  ")?;
            write!(f, "  answer ")?;
            way.write_verdict(f)?;
            writeln!(f)?;
        }
        f.write_str("verdict: ")?;
        self.way.write_verdict(f)?;
        write!(f, " (generation {})", self.generation)
    }
}

impl Way {
    fn write_steps(&self, f: &mut fmt::Formatter<'_>, indent: &str) -> fmt::Result {
        for step in &self.steps {
            let event = step.event.map_or("", |event| event.name());
            let end = match step.outcome {
                Outcome::Pass => "",
                Outcome::Drop => "  <- dropped",
                Outcome::Reject => "  <- dropped, sender told",
                Outcome::Local => "  <- arrived",
                Outcome::Unknown => "  <- not known",
            };
            let stage = &step.stage;
            writeln!(f, "{indent}{stage:<15} {event:<15} {}{end}", step.text)?;
        }
        Ok(())
    }

    fn write_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match &self.verdict {
            Verdict::Unknown { hook, otherwise } => {
                write!(
                    f,
                    "not known, hook `{hook}` decides; if it lets the packet pass as it is: "
                )?;
                otherwise
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Accept => f.write_str("forwarded")?,
            Verdict::Drop { reason } => write!(f, "dropped, {reason}")?,
            Verdict::Reject { reason } => write!(f, "dropped, {reason}; the sender is told")?,
            Verdict::Local => f.write_str("for the router itself")?,
            Verdict::Unknown { .. } => {}
        }
        if let (Verdict::Accept, Some(egress), Some(hop)) = (verdict, &self.egress, self.next_hop) {
            write!(f, " out by {egress} to {hop}")?;
        }
        if let (Verdict::Drop { .. } | Verdict::Reject { .. }, Some(rule)) = (verdict, &self.rule)
            && self.steps.last().is_some_and(|step| !step.rules.is_empty())
        {
            write!(f, " by {rule}")?;
        }
        Ok(())
    }
}

impl fmt::Display for MatchedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = self.action.name();
        match &self.position {
            Some(position) => {
                write!(f, "rule {} ({}:{}): {action}", self.name, position.file, position.line)
            }
            None => write!(f, "no rule decided, default: {action}"),
        }
    }
}

/// `policy route mail (lab.yaml:12): table isp-a`, and what happens where it has no way out.
impl fmt::Display for MatchedPolicyRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { file, line, .. } = &self.position;
        write!(f, "policy route {} ({file}:{line}): ", self.name)?;
        match &self.action {
            PolicyAction::Table(table) => write!(f, "table {table}")?,
            PolicyAction::NextHops(_) => f.write_str("its next hops")?,
            PolicyAction::Drop => f.write_str("drop")?,
            PolicyAction::Reject => f.write_str("reject")?,
        }
        match (self.reachable, self.unreachable) {
            (true, _) => Ok(()),
            (false, Unreachable::Next) => f.write_str(", no way out there, so next"),
            (false, unreachable) => write!(f, ", no way out there, so {}", unreachable.name()),
        }
    }
}

impl fmt::Display for MatchedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance: _, table, prefix, owner, through, position } = self;
        write!(f, "{prefix} ({}", owner.name())?;
        if &**table != MAIN_TABLE {
            write!(f, ", table {table}")?;
        }
        for through in through {
            write!(f, ", through {through}")?;
        }
        if let Some(Position { file, line: line @ 1.., .. }) = position {
            write!(f, ", {file}:{line}")?;
        }
        f.write_str(")")
    }
}

/// An address with its port, where the protocol has ports.
pub(super) fn endpoint(address: IpAddr, port: u16, protocol: u8) -> String {
    match (protocol, address) {
        (6 | 17 | 33 | 132 | 136, IpAddr::V4(address)) => format!("{address}:{port}"),
        (6 | 17 | 33 | 132 | 136, IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => address.to_string(),
    }
}

/// A sentence as part of another.
pub(super) fn lower(sentence: &str) -> String {
    let mut chars = sentence.trim_end_matches('.').chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    // An abbreviation keeps its capitals.
    match chars.clone().next() {
        Some(second) if second.is_ascii_uppercase() => sentence.trim_end_matches('.').to_owned(),
        _ => first.into_iter().chain(chars).collect(),
    }
}
