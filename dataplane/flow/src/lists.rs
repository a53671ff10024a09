//! The connections of a class in the order in which they came to it: who goes first.
//!
//! A connection changes its place when it changes its class and not with its packets, so that the way
//! of a packet does not touch these links.

use crate::phase::Class;
use crate::state::{NOBODY, State};

/// Classes that have a list: all but [`Class::Open`].
const LISTED: usize = 3;

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
    length: u32,
}

pub(crate) struct Lists([List; LISTED]);

impl Lists {
    pub(crate) fn new() -> Lists {
        Lists([List { head: NOBODY, tail: NOBODY, length: 0 }; LISTED])
    }

    /// The oldest of a class.
    pub(crate) fn oldest(&self, class: Class) -> Option<u32> {
        let list = self.0.get(class as usize)?;
        (list.head != NOBODY).then_some(list.head)
    }

    pub(crate) fn length(&self, class: Class) -> u32 {
        self.0.get(class as usize).map_or(0, |list| list.length)
    }

    pub(crate) fn push(&mut self, states: &mut [State], class: Class, connection: u32) {
        let Some(list) = self.0.get_mut(class as usize) else { return };
        let state = &mut states[connection as usize];
        (state.previous, state.next) = (list.tail, NOBODY);
        match states.get_mut(list.tail as usize) {
            Some(tail) => tail.next = connection,
            None => list.head = connection,
        }
        list.tail = connection;
        list.length += 1;
    }

    pub(crate) fn take(&mut self, states: &mut [State], class: Class, connection: u32) {
        let Some(list) = self.0.get_mut(class as usize) else { return };
        let State { previous, next, .. } = states[connection as usize];
        match states.get_mut(previous as usize) {
            Some(state) => state.next = next,
            None => list.head = next,
        }
        match states.get_mut(next as usize) {
            Some(state) => state.previous = previous,
            None => list.tail = previous,
        }
        list.length -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_gone() {
        let mut states = vec![State::EMPTY; 5];
        let mut lists = Lists::new();
        let order = |lists: &Lists, states: &[State]| {
            let mut all = Vec::new();
            let mut next = lists.oldest(Class::Idle).unwrap_or(NOBODY);
            while next != NOBODY {
                all.push(next);
                next = states[next as usize].next;
            }
            assert_eq!(all.len(), lists.length(Class::Idle) as usize);
            all
        };
        (0..5).for_each(|c| lists.push(&mut states, Class::Idle, c));
        assert_eq!(order(&lists, &states), [0, 1, 2, 3, 4]);
        for (gone, left) in [(2, vec![0, 1, 3, 4]), (0, vec![1, 3, 4]), (4, vec![1, 3])] {
            lists.take(&mut states, Class::Idle, gone);
            assert_eq!(order(&lists, &states), left);
        }
        lists.push(&mut states, Class::Idle, 0);
        assert_eq!(order(&lists, &states), [1, 3, 0]);
        [1, 0, 3].into_iter().for_each(|c| lists.take(&mut states, Class::Idle, c));
        assert_eq!(lists.oldest(Class::Idle), None);
        lists.push(&mut states, Class::Open, 1);
        assert_eq!(lists.oldest(Class::Open), None, "open connections are in no list");
    }
}
