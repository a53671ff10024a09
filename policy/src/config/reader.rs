//! What conversion keeps in hand: the mistakes so far, and where everything stands, so that what
//! [`crate::Policy`] has to say about a thing can be said about a line.

use std::collections::HashMap;

use super::node::{At, Kind, Many, One, Place, Text};
use super::{Diagnostic, Diagnostics};
use crate::model::{Name, Position};
use crate::policy::{PolicyError, Subject, Thing};

/// Where a thing stands, and its fields.
pub(super) struct Site {
    path: String,
    place: Place,
    /// Of each item its place in the list, and in the file.
    fields: Vec<(&'static str, Vec<(usize, Place)>)>,
    /// Whether a part of the thing could not be read.
    garbled: bool,
}

impl Site {
    pub(super) fn new(path: String, place: Place) -> Site {
        Site { path, place, fields: Vec::new(), garbled: false }
    }

    /// Notes where a field stands.
    pub(super) fn one<T>(mut self, field: &'static str, value: &Option<At<T>>) -> Site {
        if let Some(value) = value {
            self.fields.push((field, vec![(0, value.place)]));
        }
        self
    }

    /// Notes where a list's items stand.
    pub(super) fn many<T>(mut self, field: &'static str, value: &Option<Many<T>>) -> Site {
        if let Some(value) = value {
            let items = value.items.iter().map(|item| item.place).enumerate();
            self.fields.push((field, items.collect()));
        }
        self
    }

    /// The same for a list of values and of names of sets, which the policy counts after them.
    pub(super) fn mixed<K>(mut self, field: &'static str, value: &Option<Many<Text<K>>>) -> Site {
        if let Some(value) = value {
            let mut items: Vec<_> = value.items.iter().enumerate().collect();
            items.sort_by_key(|(_, item)| item.value.text.starts_with('$'));
            let items = items.into_iter().map(|(i, item)| (i, item.place));
            self.fields.push((field, items.collect()));
        }
        self
    }

    /// Notes that a part could not be read.
    pub(super) fn garbled(self, garbled: bool) -> Site {
        Site { garbled, ..self }
    }

    fn find(&self, subject: &Subject) -> (Place, String) {
        let field = self.fields.iter().find(|(name, _)| *name == subject.field);
        let key = match subject.field {
            "" => self.path.clone(),
            field => format!("{}.{field}", self.path),
        };
        let Some((_, places)) = field else { return (self.place, key) };
        let (item, place) =
            places.get(subject.item).or(places.first()).copied().unwrap_or((0, self.place));
        if places.len() > 1 { (place, format!("{key}[{item}]")) } else { (place, key) }
    }
}

/// The most mistakes that are listed; what is wrong in that many places is wrong in one way.
const MOST_LISTED: usize = 1000;

/// Collects mistakes and places while a document is converted.
pub(super) struct Reader {
    file: Name,
    diagnostics: Vec<Diagnostic>,
    sites: HashMap<Thing, Site>,
    /// Whether something was left out that other parts of the file may refer to.
    pub(super) lost: bool,
}

impl Reader {
    pub(super) fn new(file: &str) -> Reader {
        Reader { file: file.into(), diagnostics: Vec::new(), sites: HashMap::new(), lost: false }
    }

    pub(super) fn position(&self, place: Place) -> Position {
        Position { file: self.file.clone(), line: place.line, column: place.column }
    }

    pub(super) fn add(&mut self, place: Place, key: impl Into<String>, message: impl Into<String>) {
        let position = self.position(place);
        self.diagnostics.push(Diagnostic { position, key: key.into(), message: message.into() });
    }

    /// How many mistakes there are so far.
    pub(super) fn mistakes(&self) -> usize {
        self.diagnostics.len()
    }

    pub(super) fn site(&mut self, thing: Thing, site: Site) {
        self.sites.insert(thing, site);
    }

    /// Understands a value; what cannot be understood is noted and `None`.
    pub(super) fn one<K: Kind>(
        &mut self,
        path: &str,
        field: &str,
        value: &Option<One<K>>,
    ) -> Option<K::Value> {
        let value = value.as_ref()?;
        K::parse(&value.value.text)
            .map_err(|message| self.add(value.place, key_of(path, field), message))
            .ok()
    }

    /// The same for a value that must be there; `place` is that of the thing that lacks it.
    pub(super) fn required<K: Kind>(
        &mut self,
        path: &str,
        field: &str,
        value: &Option<One<K>>,
        place: Place,
    ) -> Option<K::Value> {
        if value.is_none() {
            self.add(place, key_of(path, field), "is missing");
        }
        self.one(path, field, value)
    }

    /// Understands all values of a list; the places of those that could be are beside them.
    pub(super) fn many<K: Kind>(
        &mut self,
        path: &str,
        field: &str,
        values: &Option<Many<Text<K>>>,
    ) -> Vec<K::Value> {
        let Some(values) = values else { return Vec::new() };
        let mut understood = Vec::with_capacity(values.items.len());
        for (i, item) in values.items.iter().enumerate() {
            match K::parse(&item.value.text) {
                Ok(value) => understood.push(value),
                Err(message) => {
                    let mut key = key_of(path, field);
                    if values.items.len() > 1 {
                        key.push_str(&format!("[{i}]"));
                    }
                    self.add(item.place, key, message);
                }
            }
        }
        understood
    }

    /// [`many`](Self::many) for a key that matches packets: an empty list would match none.
    pub(super) fn any_of<K: Kind>(
        &mut self,
        path: &str,
        field: &str,
        values: &Option<Many<Text<K>>>,
    ) -> Vec<K::Value> {
        if let Some(values) = values.as_ref().filter(|values| values.items.is_empty()) {
            let message = "an empty list matches nothing: leave the key out to match everything";
            self.add(values.place, key_of(path, field), message);
        }
        self.many(path, field, values)
    }

    /// Takes in what the policy has to say. What may be but the consequence of a thing that could
    /// not be read is left out.
    pub(super) fn add_policy_errors(&mut self, errors: Vec<PolicyError>) {
        for error in errors {
            let site = self.sites.get(&error.subject.thing);
            let garbled =
                site.is_some_and(|site| site.garbled) && error.mistake.may_follow_within();
            if garbled || (self.lost && error.mistake.may_follow()) {
                continue;
            }
            let (place, key) = site.map_or_else(
                || (Place { line: 1, column: 1 }, error.subject.to_string()),
                |site| site.find(&error.subject),
            );
            self.add(place, key, error.mistake.to_string());
        }
    }

    /// The mistakes in the order of the file, if there are any.
    pub(super) fn finish(mut self) -> Result<(), Diagnostics> {
        self.diagnostics.sort();
        self.diagnostics.dedup();
        let more = self.diagnostics.len().saturating_sub(MOST_LISTED);
        self.diagnostics.truncate(MOST_LISTED);
        if let Some(Diagnostic { position, .. }) = self.diagnostics.last().filter(|_| more > 0) {
            let (position, key) = (position.clone(), String::new());
            let message = format!("{more} more mistakes follow");
            self.diagnostics.push(Diagnostic { position, key, message });
        }
        if self.diagnostics.is_empty() { Ok(()) } else { Err(Diagnostics(self.diagnostics)) }
    }
}

pub(super) fn key_of(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}
