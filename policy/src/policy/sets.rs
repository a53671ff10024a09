//! Checks the named sets of a filter, and has rules see what is in them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use super::error::{Mistake, Thing};
use super::report::{Naming, Report, is_name, known};
use crate::model::{self, Name, Rule, Set};

/// Whether a set can be called so.
pub(crate) fn is_name_of_set(name: &str) -> bool {
    is_name(name, Naming::Plain)
}

/// The networks and the sets that a rule's field has.
type Parts<'a> = (&'a [IpNet], &'a [Name]);

/// The sets of a filter, as its rules refer to them.
pub(super) struct Sets<'a> {
    sets: &'a BTreeMap<Name, Set>,
    /// Lists that are made of several parts, each of them once.
    made: HashMap<Parts<'a>, Arc<[IpNet]>>,
}

impl<'a> Sets<'a> {
    /// No sets, for what cannot refer to any.
    pub(super) fn none() -> Sets<'a> {
        static NONE: BTreeMap<Name, Set> = BTreeMap::new();
        Sets { sets: &NONE, made: HashMap::new() }
    }

    /// Checks the sets themselves.
    pub(super) fn new(thing: &Thing, spec: &'a model::Filter, report: &mut Report<'_>) -> Sets<'a> {
        let used: HashSet<&Name> = spec.rules.iter().flat_map(|rule| rule.sets.names()).collect();
        for (name, set) in &spec.sets {
            let mut add = |mistake| report.add(thing, "sets", mistake);
            if !is_name_of_set(name) {
                add(Mistake::SetName(name.clone()));
            } else if !used.contains(name) {
                add(Mistake::UnusedSet(name.clone()));
            }
            match set {
                Set::Prefixes(prefixes) => {
                    for &prefix in prefixes.iter().filter(|prefix| **prefix != prefix.trunc()) {
                        add(Mistake::HostBits { prefix, right: prefix.trunc() });
                    }
                }
                Set::Ports(ports) => {
                    for range in ports.iter().filter(|range| range.is_empty()) {
                        add(Mistake::EmptyRange(*range.start(), *range.end()));
                    }
                }
            }
            if matches!(set, Set::Prefixes(p) if p.is_empty())
                || matches!(set, Set::Ports(p) if p.is_empty())
            {
                add(Mistake::EmptySet(name.clone()));
            }
        }
        Sets { sets: &spec.sets, made: HashMap::new() }
    }

    /// Checks the names in a rule.
    pub(super) fn check(&self, thing: &Thing, rule: &Rule, report: &mut Report<'_>) {
        let fields = [
            ("source", &rule.sets.source, rule.source.len(), true),
            ("destination", &rule.sets.destination, rule.destination.len(), true),
            ("source-port", &rule.sets.source_port, rule.source_port.len(), false),
            ("destination-port", &rule.sets.destination_port, rule.destination_port.len(), false),
        ];
        for (field, names, values, prefixes) in fields {
            for (i, name) in names.iter().enumerate() {
                let mistake = match self.sets.get(name) {
                    None => {
                        let known = known(self.sets.keys());
                        Mistake::UnknownSet { name: name.clone(), known }
                    }
                    Some(Set::Ports(_)) if prefixes => {
                        Mistake::SetKind { name: name.clone(), is: "ports", takes: "prefixes" }
                    }
                    Some(Set::Prefixes(_)) if !prefixes => {
                        Mistake::SetKind { name: name.clone(), is: "prefixes", takes: "ports" }
                    }
                    Some(_) => continue,
                };
                report.add_item(thing, field, values + i, mistake);
            }
        }
    }

    /// The networks of a field: its own and those of its sets.
    pub(super) fn networks(&mut self, own: &'a [IpNet], names: &'a [Name]) -> Arc<[IpNet]> {
        let in_set = |name: &Name| match self.sets.get(name) {
            Some(Set::Prefixes(prefixes)) => Arc::clone(prefixes),
            _ => Arc::default(),
        };
        match (own, names) {
            (own, []) => own.into(),
            ([], [name]) => in_set(name),
            (own, names) => Arc::clone(self.made.entry((own, names)).or_insert_with(|| {
                let sets: Vec<_> = names.iter().map(in_set).collect();
                own.iter().chain(sets.iter().flat_map(|set| set.iter())).copied().collect()
            })),
        }
    }

    /// The ports of a field: its own and those of its sets.
    pub(super) fn ports(
        &self,
        own: &[RangeInclusive<u16>],
        names: &[Name],
    ) -> Box<[RangeInclusive<u16>]> {
        let sets = names.iter().flat_map(|name| match self.sets.get(name) {
            Some(Set::Ports(ports)) => &ports[..],
            _ => &[],
        });
        own.iter().chain(sets).cloned().collect()
    }
}
