//! From what a request says to a batch; what is wrong with it by itself is found here.

use std::collections::BTreeSet;

use ipnet::IpNet;
use sluice_control_api::{
    AddRoute, DeleteRoute, Expect, Expected, Hop, Lookup, RouteOperation, WithdrawRoutes,
};
use sluice_policy::Names;
use sluice_policy::model::{
    DEFAULT_INSTANCE, MAIN_TABLE, Name, NextHop, Owner, Position, Route, RouteKey, Target,
};

use super::{Batch, Expectation, Form, Item, MOST_TOLD, What, Withdrawal};
use crate::error::ControlError;

/// The file of positions of live changes.
const LIVE: &str = "cli";

/// Reads operations one by one.
#[derive(Debug)]
pub(crate) struct Reader {
    batch: Batch,
    /// Whose routes are those that say nothing.
    owner: Owner,
    instance: Name,
    table: Name,
    position: Position,
    /// Lists of next hops that were read.
    names: Names,
    mistakes: Vec<String>,
    more: usize,
}

impl Reader {
    /// Reads operations that are told apart like this.
    pub(crate) fn new(form: Form) -> Reader {
        Reader {
            batch: Batch { form, ..Batch::default() },
            owner: Owner::Cli,
            instance: DEFAULT_INSTANCE.into(),
            table: MAIN_TABLE.into(),
            position: Position { file: LIVE.into(), line: 0, column: 0 },
            names: Names::default(),
            mistakes: Vec::new(),
            more: 0,
        }
    }

    /// Says whose routes are meant, and where, by operations that do not say it.
    pub(super) fn say_by_default(
        &mut self,
        owner: Owner,
        instance: Option<Name>,
        table: Option<Name>,
    ) {
        self.owner = owner;
        self.instance = instance.unwrap_or_else(|| self.instance.clone());
        self.table = table.unwrap_or_else(|| self.table.clone());
    }

    /// How many mistakes there are so far.
    pub(super) fn mistakes(&self) -> usize {
        self.mistakes.len() + self.more
    }

    /// Something is wrong with an operation before it could be read.
    pub(super) fn mistake(&mut self, at: u32, field: &str, text: &str) {
        let separator = if field.is_empty() { "" } else { ": " };
        let place = self.batch.form.prefix(at);
        self.note(format!("{place}{field}{separator}{text}"));
    }

    /// One operation that is all of a request.
    pub(crate) fn one(operation: RouteOperation) -> Result<Batch, ControlError> {
        let mut reader = Reader::new(Form::One);
        reader.read(0, operation);
        reader.finish()
    }

    /// A list of operations.
    pub(crate) fn list(operations: Vec<RouteOperation>) -> Result<Batch, ControlError> {
        let mut reader = Reader::new(Form::List);
        for (at, operation) in (0..).zip(operations) {
            reader.read(at, operation);
        }
        reader.finish()
    }

    /// Reads one operation.
    pub(crate) fn read(&mut self, at: u32, operation: RouteOperation) {
        match operation {
            RouteOperation::Set(route) => self.set(at, "set", AddRoute { replace: true, ..route }),
            RouteOperation::Add(route) => self.set(at, "add", route),
            RouteOperation::Delete(route) => self.delete(at, route),
            RouteOperation::Withdraw(WithdrawRoutes { owner, instance, table }) => {
                self.changeable(at, "withdraw", &owner);
                self.batch.withdrawn.push((at, Withdrawal { owner, instance, table }));
            }
            RouteOperation::Stale(routes) => {
                self.changeable(at, "stale", &routes.owner);
                self.batch.marked.push((at, routes.owner));
            }
            RouteOperation::Sweep(routes) => {
                self.changeable(at, "sweep", &routes.owner);
                self.batch.swept.push((at, routes.owner));
            }
            RouteOperation::Expect(expect) => self.expect(at, expect),
        }
    }

    /// The batch, unless something is wrong with it.
    pub(crate) fn finish(mut self) -> Result<Batch, ControlError> {
        if !self.batch.items.is_sorted_by(|one, other| one.key < other.key) {
            self.batch.items.sort_by(|one, other| one.key.cmp(&other.key));
        }
        self.find_routes_twice();
        self.find_owners_twice();
        if self.mistakes.is_empty() {
            return Ok(self.batch);
        }
        if self.more > 0 {
            self.mistakes.push(format!("and {} more", self.more));
        }
        Err(ControlError::Operations(self.mistakes))
    }

    fn set(&mut self, at: u32, verb: &'static str, wanted: AddRoute) {
        let AddRoute {
            to,
            instance,
            table,
            owner,
            via,
            blackhole,
            reject,
            prohibit,
            lookup,
            preference,
            metric,
            tag,
            replace,
            expect,
        } = wanted;
        let key = self.key(at, verb, to, instance, table, owner);
        let ways = [!via.is_empty(), blackhole, reject, prohibit, lookup.is_some()];
        if ways.iter().filter(|way| **way).count() != 1 {
            let ways = "`via`, `blackhole`, `reject`, `prohibit` and `lookup`";
            self.wrong(at, verb, "via", &format!("give {to} exactly one of {ways}"));
            return;
        }
        let target = match (blackhole, reject, prohibit, lookup) {
            (true, ..) => Target::Blackhole,
            (_, true, ..) => Target::Reject,
            (_, _, true, _) => Target::Prohibit,
            (.., Some(Lookup { instance, table })) => Target::Table {
                instance: instance.unwrap_or_else(|| key.instance.clone()),
                table: table.unwrap_or_else(|| MAIN_TABLE.into()),
            },
            (.., None) => {
                let mut hops = via.into_iter().map(next_hop).collect();
                self.names.next_hops(&mut hops);
                Target::NextHops(hops)
            }
        };
        let replace = replace || expect.is_some();
        if let Some(expected) = expect {
            self.expected(at, verb, &key, expected);
        }
        let route = Route {
            preference: preference.unwrap_or_else(|| key.owner.preference()),
            metric: metric.unwrap_or(0),
            tag: tag.unwrap_or(0),
            ..Route::new(target, &key.owner, self.position.clone())
        };
        self.batch.items.push(Item { at, key, route: Some(route), replace });
    }

    fn delete(&mut self, at: u32, wanted: DeleteRoute) {
        let DeleteRoute { to, instance, table, owner, expect } = wanted;
        let key = self.key(at, "delete", to, instance, table, owner);
        if let Some(expected) = expect {
            self.expected(at, "delete", &key, expected);
        }
        self.batch.items.push(Item { at, key, route: None, replace: true });
    }

    fn key(
        &mut self,
        at: u32,
        verb: &'static str,
        prefix: IpNet,
        instance: Option<Name>,
        table: Option<Name>,
        owner: Option<Owner>,
    ) -> RouteKey {
        self.whole(at, verb, "to", prefix);
        let owner = owner.unwrap_or_else(|| self.owner.clone());
        self.changeable(at, verb, &owner);
        RouteKey { instance: self.instance(instance), table: self.table(table), prefix, owner }
    }

    /// What an operation expects of its own route.
    fn expected(&mut self, at: u32, verb: &'static str, key: &RouteKey, expected: Expected) {
        let Expected { generation, absent, owner } = expected;
        let of = Some(key.owner.clone());
        let Some(what) = self.what(at, verb, "expect", of, (generation, absent, owner)) else {
            return;
        };
        let RouteKey { instance, table, prefix, owner: _ } = key.clone();
        self.batch.expected.push(Expectation { at, instance, table, prefix, what });
    }

    fn expect(&mut self, at: u32, expect: Expect) {
        let Expect { prefix, instance, table, of, generation, absent, owner } = expect;
        self.whole(at, "expect", "prefix", prefix);
        if owner.is_some() && of.is_some() {
            let text = "`owner` is about the route in use: leave `of` out";
            self.wrong(at, "expect", "of", text);
        }
        let given = (generation, absent, owner);
        let Some(what) = self.what(at, "expect", "generation", of, given) else { return };
        let (instance, table) = (self.instance(instance), self.table(table));
        self.batch.expected.push(Expectation { at, instance, table, prefix, what });
    }

    fn what(
        &mut self,
        at: u32,
        verb: &'static str,
        field: &'static str,
        of: Option<Owner>,
        given: (Option<u64>, bool, Option<Owner>),
    ) -> Option<What> {
        match given {
            (Some(generation), false, None) => Some(What::Generation(of, generation)),
            (None, true, None) => Some(What::Absent(of)),
            (None, false, Some(owner)) => Some(What::InUse(owner)),
            _ => {
                let text = "give exactly one of `generation`, `absent` and `owner`";
                self.wrong(at, verb, field, text);
                None
            }
        }
    }

    /// A name that is there already is not kept once more.
    fn instance(&self, name: Option<Name>) -> Name {
        name.filter(|name| *name != self.instance).unwrap_or_else(|| self.instance.clone())
    }

    fn table(&self, name: Option<Name>) -> Name {
        name.filter(|name| *name != self.table).unwrap_or_else(|| self.table.clone())
    }

    fn whole(&mut self, at: u32, verb: &'static str, field: &'static str, prefix: IpNet) {
        if prefix.trunc() != prefix {
            let right = prefix.trunc();
            let text = format!("{prefix} has bits set beyond its length: {right} is meant?");
            self.wrong(at, verb, field, &text);
        }
    }

    /// Whether an owner's routes are changed by requests.
    fn changeable(&mut self, at: u32, verb: &'static str, owner: &Owner) {
        let why = match owner {
            Owner::Static => {
                "routes of owner `static` are those of the configuration file: change it, and \
                 `sluice apply` it"
            }
            Owner::Connected => {
                "routes of owner `connected` follow from the addresses of interfaces: change those \
                 in the configuration file"
            }
            _ => return,
        };
        self.wrong(at, verb, "owner", why);
    }

    fn find_routes_twice(&mut self) {
        let Batch { form, items, .. } = &self.batch;
        let twice: Vec<_> = items
            .windows(2)
            .filter(|pair| pair[0].key == pair[1].key)
            .map(|pair| {
                // Sorting kept those of one key in their order.
                let (first, second) = (&pair[0], &pair[1]);
                let RouteKey { prefix, owner, .. } = &first.key;
                format!(
                    "{}{}'s route to {prefix} is there already, in {}: one operation a route",
                    form.prefix(second.at),
                    owner,
                    form.place(first.at),
                )
            })
            .collect();
        twice.into_iter().for_each(|text| self.note(text));
    }

    fn find_owners_twice(&mut self) {
        let Batch { form, withdrawn, marked, swept, .. } = &self.batch;
        let mut seen = BTreeSet::new();
        let whole = withdrawn.iter().filter(|(_, w)| w.instance.is_none() && w.table.is_none());
        let whole = whole.map(|(at, withdrawal)| (at, &withdrawal.owner));
        let owners = marked.iter().chain(swept).map(|(at, owner)| (at, owner)).chain(whole);
        let mut twice = Vec::new();
        for (at, owner) in owners {
            if !seen.insert(owner) {
                twice.push(format!(
                    "{}all routes of {owner} are withdrawn, marked stale or swept by another \
                     operation already: one of these in a transaction",
                    form.prefix(*at)
                ));
            }
        }
        twice.into_iter().for_each(|text| self.note(text));
    }

    fn wrong(&mut self, at: u32, verb: &str, field: &str, text: &str) {
        let place = self.batch.form.field(at, verb, field);
        self.note(format!("{place}{text}"));
    }

    fn note(&mut self, text: String) {
        if self.mistakes.len() < MOST_TOLD {
            self.mistakes.push(text);
        } else {
            self.more += 1;
        }
    }
}

fn next_hop(hop: Hop) -> NextHop {
    NextHop { via: hop.address, interface: hop.interface, weight: hop.weight }
}
