//! What an operator sets, put where the program finds it.

use std::num::ParseIntError;
use std::str::FromStr;

use sluice_sandbox::{Declaration, SETTINGS, Setting};

use super::table::Table;
use crate::program::{ProgramError, Settings};

/// A program's numbers and tables at first.
pub(super) struct Set {
    pub(super) numbers: [u64; SETTINGS],
    pub(super) tables: Vec<Table>,
}

/// Numbers with commas between them.
struct List(Vec<u64>);

impl FromStr for List {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<List, ParseIntError> {
        let numbers = text.split(',').map(str::trim).filter(|number| !number.is_empty());
        Ok(List(numbers.map(str::parse).collect::<Result<_, _>>()?))
    }
}

/// What a setting means and may be.
pub(super) fn help(setting: &Setting) -> String {
    let Setting { summary, initial, least, most, fills, .. } = setting;
    match fills {
        None => format!("{summary}; {least} to {most}, {initial} unless given"),
        Some(_) => format!("{summary}; each {least} to {most}, none unless given"),
    }
}

impl Set {
    pub(super) fn of(declaration: &Declaration, told: &Settings<'_>) -> Result<Set, ProgramError> {
        let mut tables: Vec<Table> =
            declaration.tables.iter().map(|table| Table::new(table.entries)).collect();
        let mut numbers = [0; SETTINGS];
        for (setting, number) in declaration.settings.iter().zip(&mut numbers) {
            let may = |number: &u64| match (setting.least..=setting.most).contains(number) {
                true => Ok(()),
                false => Err(format!("{} to {} are possible", setting.least, setting.most)),
            };
            let Some(table) = setting.fills.and_then(|table| tables.get_mut(table)) else {
                *number = told.get(&setting.name, setting.initial, may)?;
                continue;
            };
            let fit = table.entries();
            let List(keys) = told.get(&setting.name, List(Vec::new()), |List(keys)| {
                keys.iter().try_for_each(may)?;
                match keys.len() <= fit {
                    true => Ok(()),
                    false => Err(format!("{} numbers, {fit} fit", keys.len())),
                }
            })?;
            for key in keys {
                table.store((0, key), 1);
            }
        }
        Ok(Set { numbers, tables })
    }
}
