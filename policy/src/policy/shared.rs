//! What many routes have in common is found out once: the table that they stand in, and what their
//! next hops lead to. [`crate::Names`] keeps equal lists of next hops once, so that a list is known by
//! where it is.

use sluice_packet::Family;

use super::links::Links;
use crate::ids::{InstanceId, TableId};
use crate::instance::Instance;
use crate::model::{NextHop, RouteKey};

/// The tables of routes that are asked for one after the other.
pub(super) struct Places<'a> {
    links: &'a Links,
    last: Option<(&'a RouteKey, Option<(&'a Instance, TableId)>)>,
}

impl<'a> Places<'a> {
    pub(super) fn new(links: &'a Links) -> Places<'a> {
        Places { links, last: None }
    }

    /// Where a route stands, if there is that table. It helps if those of one table follow each
    /// other.
    pub(super) fn of(&mut self, key: &'a RouteKey) -> Option<(&'a Instance, TableId)> {
        if let Some((other, place)) = self.last
            && other.stands_with(key)
        {
            return place;
        }
        let instance = self.links.instance_named(&key.instance);
        let place = instance.and_then(|i| Some((i, i.table_named(&key.table)?)));
        self.last = Some((key, place));
        place
    }
}

/// What is known of lists of next hops, for the routes of a family in an instance. What was asked for
/// long ago is forgotten, and found out again.
pub(super) struct Lists<'a, V>(Vec<Option<Known<'a, V>>>);

type Known<'a, V> = (&'a [NextHop], InstanceId, Family, V);

/// How many lists are known at a time: a power of two.
const KNOWN: usize = 256;

impl<'a, V: Copy> Lists<'a, V> {
    pub(super) fn new() -> Lists<'a, V> {
        Lists(vec![None; KNOWN])
    }

    /// What is known of a list, or else what is found.
    pub(super) fn get(
        &mut self,
        list: &'a [NextHop],
        instance: InstanceId,
        family: Family,
        find: impl FnOnce() -> V,
    ) -> V {
        // The upper bits of a product depend on all of its factor.
        let mixed = (list.as_ptr().addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = &mut self.0[(mixed >> (64 - KNOWN.ilog2())) as usize];
        match *place {
            Some((other, i, f, value))
                if std::ptr::eq(other, list) && (i, f) == (instance, family) =>
            {
                value
            }
            _ => {
                let value = find();
                *place = Some((list, instance, family, value));
                value
            }
        }
    }
}
