//! From the document to the desired state: named sets.
//!
//! A set is written once and used by the rules of any filter. Each filter takes along the sets that
//! its rules name, so that a filter is whole in itself: what changes a set changes the filters that
//! use it, and no others.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use super::document::SetDocument;
use super::kinds::Item;
use super::node::{At, Entries, Kind, Many, Place, Text};
use super::reader::{Reader, key_of};
use crate::model::{Name, Set};
use crate::policy::is_name_of_set;

/// The sets of a document.
#[derive(Default)]
pub(super) struct Sets(BTreeMap<Name, Known>);

struct Known {
    place: Place,
    /// `None` where it could not be read.
    set: Option<Set>,
    used: bool,
}

/// What a field takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Prefixes,
    Ports,
}

impl Sets {
    /// Reads all sets.
    pub(super) fn read(document: Option<&Entries<SetDocument>>, reader: &mut Reader) -> Sets {
        let mut sets = Sets::default();
        for (name, document) in document.iter().flat_map(|sets| &sets.0) {
            let path = format!("sets.{}", name.value);
            let before = reader.mistakes();
            if !is_name_of_set(&name.value) {
                let message = format!(
                    "`{}` is not a name: use a letter and then up to 62 letters, digits, - and _",
                    name.value
                );
                reader.add(name.place, path.clone(), message);
            }
            let set = convert(&path, name.place, document, reader);
            let set = set.filter(|_| reader.mistakes() == before);
            let known = Known { place: name.place, set, used: false };
            sets.0.insert(name.value.as_str().into(), known);
        }
        sets
    }

    /// Parts a rule's list into values and the sets that are there; what is not is a mistake.
    pub(super) fn part<K, T>(
        &mut self,
        of: Of,
        path: &str,
        field: &str,
        given: &Option<Many<Text<K>>>,
        reader: &mut Reader,
    ) -> (Vec<T>, Vec<Name>)
    where
        K: Kind<Value = Item<T>>,
    {
        let (mut values, mut names) = (Vec::new(), Vec::new());
        for item in reader.any_of(path, field, given) {
            match item {
                Item::Value(value) => values.push(value),
                Item::Set(name) => names.push(name),
            }
        }
        let items = given.as_ref().map_or(&[][..], |list| &list.items);
        let mut seen = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let Ok(Item::Set(name)) = K::parse(&item.value.text) else { continue };
            let key = match items.len() {
                1 => key_of(path, field),
                _ => key_of(path, &format!("{field}[{i}]")),
            };
            if seen.contains(&name) {
                reader.add(item.place, key, format!("set `${name}` stands twice"));
            } else if let Err(message) = self.used(of, field, &name) {
                reader.add(item.place, key, message);
            }
            seen.push(name);
        }
        names.retain(|name| match self.get(name) {
            Some(Set::Prefixes(_)) => of == Of::Prefixes,
            Some(Set::Ports(_)) => of == Of::Ports,
            None => false,
        });
        names.dedup();
        (values, names)
    }

    /// Notes that a set is used in a field.
    fn used(&mut self, of: Of, field: &str, name: &Name) -> Result<(), String> {
        let Some(known) = self.0.get_mut(name) else {
            let known: Vec<&str> = self.0.keys().map(|name| &**name).take(16).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!(
                "there is no set `{name}`; there are: {known}. Write it under `sets:`"
            ));
        };
        known.used = true;
        match (&known.set, of) {
            (Some(Set::Ports(_)), Of::Prefixes) => {
                Err(format!("set `{name}` is one of ports; `{field}` takes sets of prefixes"))
            }
            (Some(Set::Prefixes(_)), Of::Ports) => {
                Err(format!("set `{name}` is one of prefixes; `{field}` takes sets of ports"))
            }
            _ => Ok(()),
        }
    }

    /// A set by name.
    pub(super) fn get(&self, name: &str) -> Option<&Set> {
        self.0.get(name)?.set.as_ref()
    }

    /// Notes what is not used; in a file that has other mistakes that may be but their consequence.
    pub(super) fn finish(&self, reader: &mut Reader) {
        if reader.mistakes() > 0 {
            return;
        }
        for (name, known) in self.0.iter().filter(|(_, known)| !known.used) {
            let message = format!("no rule uses the set: refer to it as `${name}`, or take it out");
            reader.add(known.place, format!("sets.{name}"), message);
        }
    }
}

fn convert(path: &str, place: Place, document: &SetDocument, reader: &mut Reader) -> Option<Set> {
    match (&document.prefixes, &document.ports) {
        (Some(_), None) => {
            let prefixes = items(path, "prefixes", &document.prefixes, reader);
            for (prefix, at) in &prefixes {
                if *prefix != prefix.trunc() {
                    let message = format!("{prefix} has host bits set: write {}", prefix.trunc());
                    reader.add(*at, key_of(path, "prefixes"), message);
                }
            }
            Some(Set::Prefixes(prefixes.into_iter().map(|(prefix, _)| prefix).collect()))
        }
        (None, Some(_)) => {
            let ports = items(path, "ports", &document.ports, reader);
            Some(Set::Ports(ports.into_iter().map(|(ports, _)| ports).collect()))
        }
        (both, _) => {
            let message = match both {
                Some(_) => "a set has `prefixes` or `ports`, not both: make two sets of it",
                None => "a set has `prefixes` or `ports`: give one of them",
            };
            reader.add(place, path.to_owned(), message);
            None
        }
    }
}

/// The items of a set and where they stand; one that stands twice is a mistake.
fn items<K: Kind>(
    path: &str,
    field: &str,
    given: &Option<Many<Text<K>>>,
    reader: &mut Reader,
) -> Vec<(K::Value, Place)>
where
    K::Value: Hash + Eq + Clone,
{
    let Some(list) = given else { return Vec::new() };
    if list.items.is_empty() {
        let message =
            "the set is empty: give it an item, or take it out with the rules that use it";
        reader.add(list.place, key_of(path, field), message);
    }
    let mut items = Vec::with_capacity(list.items.len());
    let mut first: HashMap<K::Value, Place> = HashMap::with_capacity(list.items.len());
    for (i, At { value, place }) in list.items.iter().enumerate() {
        let key = || key_of(path, &format!("{field}[{i}]"));
        match K::parse(&value.text) {
            Err(message) => reader.add(*place, key(), message),
            Ok(item) => match first.insert(item.clone(), *place) {
                None => items.push((item, *place)),
                Some(before) => {
                    let message =
                        format!("`{}` stands in line {} already", value.text, before.line);
                    reader.add(*place, key(), message);
                }
            },
        }
    }
    items
}

#[cfg(test)]
mod tests;
