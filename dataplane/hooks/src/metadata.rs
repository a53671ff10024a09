//! Notes that a hook leaves on a packet for a later hook.
//!
//! A packet carries [`SLOTS`] numbers, each under a [`MetadataKey`]. They stay with it through all
//! events of its way, waiting for a neighbour or for a first fragment included, and in an author's
//! own hands ([`OwnedPacket`](crate::OwnedPacket)). A new packet has none. The meaning of a number
//! is its authors'; what is larger stands in a table of the hook's, and the number says where.

use std::sync::{Mutex, PoisonError};

use crate::choice::Choice;

/// Numbers that a packet can carry.
pub const SLOTS: usize = 4;

/// What a packet carries beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    values: [u64; SLOTS],
    /// Which of them are set, one bit each.
    set: u8,
    /// How often it has been injected.
    pub(crate) injections: u8,
    /// Set once a hook has chosen its way.
    choice: Option<Choice>,
}

impl Metadata {
    /// The number under a key, if a hook has set one.
    #[inline]
    #[must_use]
    pub fn get(&self, key: MetadataKey) -> Option<u64> {
        let place = usize::from(key.0) & (SLOTS - 1);
        (self.set >> place & 1 == 1).then_some(self.values[place])
    }

    /// Sets the number under a key.
    #[inline]
    pub fn set(&mut self, key: MetadataKey, value: u64) {
        let place = usize::from(key.0) & (SLOTS - 1);
        self.values[place] = value;
        self.set |= 1 << place;
    }

    /// Takes the number under a key away.
    #[inline]
    pub fn remove(&mut self, key: MetadataKey) {
        self.set &= !(1 << (usize::from(key.0) & (SLOTS - 1)));
    }

    /// What there is to know of its way, if a hook has chosen it.
    #[inline]
    #[must_use]
    pub fn choice(&self) -> Option<Choice> {
        self.choice
    }

    /// The same of a packet whose way is yet to be decided.
    pub(crate) fn without_choice(self) -> Metadata {
        Metadata { choice: None, ..self }
    }

    pub(crate) fn set_choice(&mut self, choice: Choice) {
        self.choice = Some(choice);
    }

    /// How often the packet, or one that it gave rise to, has been injected.
    #[inline]
    #[must_use]
    pub fn injections(&self) -> u8 {
        self.injections
    }
}

/// The place of a number among a packet's metadata, agreed on by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MetadataKey(u8);

/// The names of the keys that have been given out, in the order of their places.
static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl MetadataKey {
    /// The key of a place, for what knows keys by number.
    pub(crate) fn at(place: u8) -> MetadataKey {
        MetadataKey(place)
    }

    /// Its number.
    pub(crate) fn place(self) -> u8 {
        self.0
    }

    /// The key of this name; the same name is the same key, in every hook of the process. Asked
    /// for when a hook's objects are made, never on the packet's path.
    ///
    /// # Errors
    /// [`MetadataError`] when [`SLOTS`] other names are in use. Names are kept for as long as the
    /// dataplane runs.
    pub fn named(name: &str) -> Result<MetadataKey, MetadataError> {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = names.iter().position(|known| known == name) {
            return Ok(MetadataKey(place as u8));
        }
        if names.len() == SLOTS {
            return Err(MetadataError { name: name.to_owned(), taken: names.join(", ") });
        }
        names.push(name.to_owned());
        Ok(MetadataKey((names.len() - 1) as u8))
    }
}

/// No place is left among a packet's metadata.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no place is left for metadata `{name}`: a packet carries {SLOTS} numbers, and {taken} have \
     them; share a key, or keep a table and put its index into one"
)]
pub struct MetadataError {
    /// The name that was asked for.
    pub name: String,
    /// The names that have the places.
    pub taken: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_names_and_there_are_few() {
        let keys: Vec<_> =
            ["a", "b", "c", "d"].iter().map(|name| MetadataKey::named(name).unwrap()).collect();
        assert_eq!(MetadataKey::named("b").unwrap(), keys[1]);
        let error = MetadataKey::named("e").unwrap_err();
        assert_eq!(error.taken, "a, b, c, d");

        let mut metadata = Metadata::default();
        assert_eq!(metadata.get(keys[0]), None);
        metadata.set(keys[0], 0);
        metadata.set(keys[3], u64::MAX);
        assert_eq!(
            keys.iter().map(|&key| metadata.get(key)).collect::<Vec<_>>(),
            [Some(0), None, None, Some(u64::MAX)]
        );
        metadata.remove(keys[0]);
        assert_eq!(metadata.get(keys[0]), None);
    }
}
