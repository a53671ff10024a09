//! Changes of live routes: many operations that are one commit.
//!
//! * `stream` reads operations line by line while they arrive.
//! * `read` makes a [`Batch`] of what a request says, and finds what is wrong with it by itself.
//! * `work` works a batch out against the last commit: expectations, conflicts, what is to be done.
//!
//! A batch has no order: no route is set or removed twice, and what removes many routes leaves
//! those alone that the same batch sets. Only the reconciler works batches out, one at a time, and
//! what comes of it takes effect before the next: nobody can come between an expectation and the
//! change.

mod read;
mod stream;
mod work;

use std::fmt;

use ipnet::IpNet;
use sluice_policy::model::{Name, Owner, Route, RouteKey};

pub(crate) use self::read::Reader;
pub(crate) use self::stream::{Defaults, Stream};
pub(crate) use self::work::{Places, work_out};

/// How many mistakes or conflicts are told one by one.
pub(crate) const MOST_TOLD: usize = 64;

/// Operations that are one commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    form: Form,
    /// Sorted by key; no key is there twice.
    items: Vec<Item>,
    withdrawn: Vec<(u32, Withdrawal)>,
    marked: Vec<(u32, Owner)>,
    swept: Vec<(u32, Owner)>,
    expected: Vec<Expectation>,
}

/// How the operations of a request are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Form {
    /// There is but one.
    #[default]
    One,
    /// They are items of a list, counted from 0 as every list of JSON.
    List,
    /// They are lines of a stream, counted from 1; 0 is what was asked for beside it.
    Lines,
}

impl Form {
    /// What names operation `at`: `operations[2]`.
    fn place(self, at: u32) -> String {
        match self {
            Form::One => String::new(),
            Form::List => format!("operations[{at}]"),
            Form::Lines => format!("line {at}"),
        }
    }

    /// What names a field of operation `at`: `operations[2].set.to: `.
    fn field(self, at: u32, verb: &str, field: &str) -> String {
        match self {
            Form::One => format!("{field}: "),
            Form::List => format!("operations[{at}].{verb}.{field}: "),
            Form::Lines if at == 0 => String::new(),
            Form::Lines => format!("line {at}: {verb}.{field}: "),
        }
    }

    /// What stands before a text about operation `at`.
    fn prefix(self, at: u32) -> String {
        match self {
            Form::One => String::new(),
            Form::List => format!("operations[{at}]: "),
            Form::Lines if at == 0 => String::new(),
            Form::Lines => format!("line {at}: "),
        }
    }
}

/// One route that is set or removed.
#[derive(Clone, Debug)]
struct Item {
    at: u32,
    key: RouteKey,
    /// None removes.
    route: Option<Route>,
    /// Whether another route of the same owner gives way.
    replace: bool,
}

/// Routes of an owner that are removed.
#[derive(Clone, Debug)]
struct Withdrawal {
    owner: Owner,
    instance: Option<Name>,
    table: Option<Name>,
}

impl Withdrawal {
    fn covers(&self, key: &RouteKey) -> bool {
        key.owner == self.owner
            && self.instance.as_ref().is_none_or(|instance| *instance == key.instance)
            && self.table.as_ref().is_none_or(|table| *table == key.table)
    }
}

/// What must be there for the batch to be done.
#[derive(Clone, Debug)]
struct Expectation {
    at: u32,
    instance: Name,
    table: Name,
    prefix: IpNet,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// The route of that owner, or the one in use, was last set by that commit.
    Generation(Option<Owner>, u64),
    /// That owner, or nobody, has a route.
    Absent(Option<Owner>),
    /// The route in use is of that owner.
    InUse(Owner),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Generation(Some(owner), generation) => {
                write!(f, "{owner}'s of generation {generation}")
            }
            What::Generation(None, generation) => write!(f, "generation {generation} in use"),
            What::Absent(Some(owner)) => write!(f, "no route of {owner}"),
            What::Absent(None) => f.write_str("no route"),
            What::InUse(owner) => write!(f, "{owner}'s in use"),
        }
    }
}
