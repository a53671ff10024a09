//! Digests that are the same in every process and build: 64-bit FNV-1a (RFC 9923) over the
//! postcard encoding, in which maps are ordered.
//!
//! A state has one digest a [`Table`]: the sum, modulo 2⁶⁴, of a digest of each of its entries.
//! A sum has no order and can be taken back, so that a change of a few entries of a million costs
//! as much as those few. Two tables of equal digest are as good as certainly equal; the digests
//! are not for use against an adversary.

use std::io;
use std::ops::{Index, IndexMut};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::State;

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// One of the tables that a [`State`] is made of.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    /// [`State::ports`].
    Ports,
    /// [`State::interfaces`].
    Interfaces,
    /// [`State::instances`].
    Instances,
    /// [`State::routes`].
    Routes,
    /// [`State::filters`].
    Filters,
    /// [`State::neighbours`].
    Neighbours,
    /// [`State::policy_routes`].
    PolicyRoutes,
    /// [`State::hooks`].
    Hooks,
    /// [`State::timeouts`].
    Timeouts,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 9] = [
        Table::Ports,
        Table::Interfaces,
        Table::Instances,
        Table::Routes,
        Table::Filters,
        Table::Neighbours,
        Table::PolicyRoutes,
        Table::Hooks,
        Table::Timeouts,
    ];
}

/// A digest of each table of a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Digests {
    /// Of [`Table::Ports`].
    pub ports: u64,
    /// Of [`Table::Interfaces`].
    pub interfaces: u64,
    /// Of [`Table::Instances`].
    pub instances: u64,
    /// Of [`Table::Routes`].
    pub routes: u64,
    /// Of [`Table::Filters`].
    pub filters: u64,
    /// Of [`Table::Neighbours`].
    pub neighbours: u64,
    /// Of [`Table::PolicyRoutes`].
    pub policy_routes: u64,
    /// Of [`Table::Hooks`].
    pub hooks: u64,
    /// Of [`Table::Timeouts`].
    pub timeouts: u64,
}

impl Digests {
    /// The tables that are not the same in both.
    pub fn differing(&self, other: &Digests) -> Vec<Table> {
        Table::ALL.into_iter().filter(|&table| self[table] != other[table]).collect()
    }

    /// Follows the change of one entry from one value to another; `None` where it is not there.
    pub(crate) fn change<K: Serialize, V: Serialize>(
        &mut self,
        table: Table,
        key: &K,
        from: Option<&V>,
        to: Option<&V>,
    ) {
        let sum = &mut self[table];
        let entry = |value| mix(of(&(key, value)));
        *sum = sum.wrapping_sub(from.map_or(0, entry)).wrapping_add(to.map_or(0, entry));
    }
}

impl Index<Table> for Digests {
    type Output = u64;

    fn index(&self, table: Table) -> &u64 {
        match table {
            Table::Ports => &self.ports,
            Table::Interfaces => &self.interfaces,
            Table::Instances => &self.instances,
            Table::Routes => &self.routes,
            Table::Filters => &self.filters,
            Table::Neighbours => &self.neighbours,
            Table::PolicyRoutes => &self.policy_routes,
            Table::Hooks => &self.hooks,
            Table::Timeouts => &self.timeouts,
        }
    }
}

impl IndexMut<Table> for Digests {
    fn index_mut(&mut self, table: Table) -> &mut u64 {
        match table {
            Table::Ports => &mut self.ports,
            Table::Interfaces => &mut self.interfaces,
            Table::Instances => &mut self.instances,
            Table::Routes => &mut self.routes,
            Table::Filters => &mut self.filters,
            Table::Neighbours => &mut self.neighbours,
            Table::PolicyRoutes => &mut self.policy_routes,
            Table::Hooks => &mut self.hooks,
            Table::Timeouts => &mut self.timeouts,
        }
    }
}

impl State {
    /// The digests of all tables: equal, in every process and build, for equal tables.
    pub fn digests(&self) -> Digests {
        let mut digests = Digests::default();
        let State { ports, interfaces, instances, routes, filters, neighbours, .. } = self;
        let State { policy_routes, hooks, timeouts, .. } = self;
        let d = &mut digests;
        ports.iter().for_each(|(k, v)| d.change(Table::Ports, k, None, Some(v)));
        interfaces.iter().for_each(|(k, v)| d.change(Table::Interfaces, k, None, Some(v)));
        instances.iter().for_each(|(k, v)| d.change(Table::Instances, k, None, Some(v)));
        routes.iter().for_each(|(k, v)| d.change(Table::Routes, k, None, Some(v)));
        filters.iter().for_each(|(k, v)| d.change(Table::Filters, k, None, Some(v)));
        neighbours.iter().for_each(|(k, v)| d.change(Table::Neighbours, k, None, Some(v)));
        policy_routes.iter().for_each(|(k, v)| d.change(Table::PolicyRoutes, k, None, Some(v)));
        hooks.iter().for_each(|(k, v)| d.change(Table::Hooks, k, None, Some(v)));
        timeouts.iter().for_each(|(k, v)| d.change(Table::Timeouts, k, None, Some(v)));
        digests
    }

    /// The same state with those tables only.
    #[must_use]
    pub fn only(&self, tables: &[Table]) -> State {
        let mut state = State::default();
        for table in tables {
            match table {
                Table::Ports => state.ports = self.ports.clone(),
                Table::Interfaces => state.interfaces = self.interfaces.clone(),
                Table::Instances => state.instances = self.instances.clone(),
                Table::Routes => state.routes = self.routes.clone(),
                Table::Filters => state.filters = self.filters.clone(),
                Table::Neighbours => state.neighbours = self.neighbours.clone(),
                Table::PolicyRoutes => state.policy_routes = self.policy_routes.clone(),
                Table::Hooks => state.hooks = self.hooks.clone(),
                Table::Timeouts => state.timeouts = self.timeouts.clone(),
            }
        }
        state
    }
}

/// The digest of a value.
pub(crate) fn of(value: &impl Serialize) -> u64 {
    let mut fnv = Fnv(OFFSET_BASIS);
    // Neither the writer nor the encoding of plain data can fail.
    let _ = postcard::to_io(value, &mut fnv);
    fnv.0
}

/// Spreads a digest over all bits, so that the sum of two similar entries says nothing about the
/// sum of two others: the finaliser of `MurmurHash3`.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

struct Fnv(u64);

impl io::Write for Fnv {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::state;

    #[test]
    fn the_value_never_changes() {
        // postcard writes a byte as itself: this is FNV-1a of "a", as its authors list it.
        assert_eq!(of(&b'a'), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(State::default().digests(), Digests::default());
        let mut digests = Digests::default();
        digests.change(Table::Routes, &1u8, None, Some(&2u8));
        assert_eq!(digests.routes, mix(of(&[1u8, 2])));
        assert_eq!(mix(1), 0xb456_bcfc_34c2_cb2c);
    }

    #[test]
    fn a_state_is_the_sum_of_its_tables() {
        let lab = state(include_str!("../../conf/lab.yaml"));
        for table in Table::ALL {
            let only = lab.only(&[table]).digests();
            assert_eq!(only[table], lab.digests()[table]);
            let differing = Table::ALL.into_iter().filter(|&other| other != table);
            let differing: Vec<_> = differing.filter(|&t| lab.digests()[t] != 0).collect();
            assert_eq!(only.differing(&lab.digests()), differing);
        }
        assert_eq!(lab.only(&Table::ALL), lab);
    }
}
