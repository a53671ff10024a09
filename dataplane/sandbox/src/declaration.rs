//! What a program says of itself: `struct sluice_program` of the header, in a section of the file.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::VERSION;
use crate::error::Refused;
use crate::view::SETTINGS;

/// The section that the declaration is in.
pub(crate) const SECTION: &str = "sluice";

/// The most entries of a table.
const MAX_ENTRIES: u32 = 65_536;
const COUNTERS: usize = 8;
const TABLES: usize = 4;

/// A name as C has it: it ends with a 0.
type Short = [u8; 32];
type Long = [u8; 96];

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawTable {
    name: Short,
    entries: U32,
    unused: U32,
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawSetting {
    name: Short,
    summary: Long,
    initial: U64,
    least: U64,
    most: U64,
    /// The table that the setting's numbers are put into, plus 1; 0 for a number.
    table: U32,
    unused: U32,
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Raw {
    version: U32,
    events: U32,
    name: Short,
    summary: Long,
    counters: [Short; COUNTERS],
    tables: [RawTable; TABLES],
    settings: [RawSetting; SETTINGS],
}

const _: () = assert!(size_of::<Raw>() == 1832);

/// What a program says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Declaration {
    /// What it is called.
    pub name: String,
    /// What it does, in one line.
    pub summary: String,
    /// The events where it makes sense, a bit each.
    pub events: u32,
    /// Names of its counters.
    pub counters: Vec<String>,
    /// Its tables.
    pub tables: Vec<Table>,
    /// Its settings.
    pub settings: Vec<Setting>,
}

/// A table of a program: numbers under keys of 128 bits, on each worker for itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// What it is called.
    pub name: String,
    /// How many keys it holds at most.
    pub entries: usize,
}

/// What an operator can set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// What it is called.
    pub name: String,
    /// What it means.
    pub summary: String,
    /// Its value when it is not given; of a list, nothing.
    pub initial: u64,
    /// The least value that it may have.
    pub least: u64,
    /// The greatest.
    pub most: u64,
    /// The table whose keys a list of numbers is; `None` for a number.
    pub fills: Option<usize>,
}

impl Declaration {
    /// Reads the section.
    ///
    /// # Errors
    /// [`Refused::Version`], [`Refused::Declaration`].
    pub(crate) fn read(section: &[u8]) -> Result<Declaration, Refused> {
        let cannot = |what: String| Refused::Declaration { what };
        // The version comes first in all of them.
        match U32::read_from_prefix(section) {
            Ok((version, _)) if version.get() != VERSION => {
                return Err(Refused::Version { version: version.get() });
            }
            _ => {}
        }
        let raw = Raw::ref_from_bytes(section).map_err(|_| {
            cannot(format!(
                "section `{SECTION}` has {} bytes, and `struct sluice_program` has {}",
                section.len(),
                size_of::<Raw>()
            ))
        })?;
        let tables = tables(raw).map_err(cannot)?;
        let declaration = Declaration {
            name: name(&raw.name, "the program").map_err(cannot)?,
            summary: text(&raw.summary, "the program's summary").map_err(cannot)?,
            events: raw.events.get(),
            counters: used(&raw.counters, |counter| counter)
                .map(|counter| name(counter, "a counter"))
                .collect::<Result<_, _>>()
                .map_err(cannot)?,
            settings: settings(raw, tables.len()).map_err(cannot)?,
            tables,
        };
        if declaration.events == 0 {
            return Err(cannot("it names no event where it can stand (`.events`)".to_owned()));
        }
        Ok(declaration)
    }
}

/// Those up to the first without a name.
fn used<T>(all: &[T], name: impl Fn(&T) -> &Short) -> impl Iterator<Item = &T> {
    all.iter().take_while(move |one| name(one)[0] != 0)
}

fn tables(raw: &Raw) -> Result<Vec<Table>, String> {
    let table = |table: &RawTable| {
        let name = name(&table.name, "a table")?;
        match table.entries.get() {
            entries @ 1..=MAX_ENTRIES => Ok(Table { name, entries: entries as usize }),
            entries => Err(format!("table `{name}` has {entries} entries: 1 to {MAX_ENTRIES} fit")),
        }
    };
    used(&raw.tables, |table| &table.name).map(table).collect()
}

fn settings(raw: &Raw, tables: usize) -> Result<Vec<Setting>, String> {
    let setting = |setting: &RawSetting| {
        let name = name(&setting.name, "a setting")?;
        let (initial, least, most) =
            (setting.initial.get(), setting.least.get(), setting.most.get());
        let fills = (setting.table.get() as usize).checked_sub(1);
        if least > most {
            return Err(format!("setting `{name}` is to be {least} to {most}"));
        }
        if let Some(table) = fills {
            if table >= tables {
                return Err(format!(
                    "setting `{name}` fills table {table}, and there are {tables}"
                ));
            }
        } else if !(least..=most).contains(&initial) {
            return Err(format!("setting `{name}` is {initial} at first, not {least} to {most}"));
        }
        let summary = text(&setting.summary, &name)?;
        Ok(Setting { name, summary, initial, least, most, fills })
    };
    used(&raw.settings, |setting| &setting.name).map(setting).collect()
}

/// A name of letters, digits and hyphens.
fn name(bytes: &[u8], what: &str) -> Result<String, String> {
    let name = text(bytes, what)?;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(good) {
        return Ok(name);
    }
    Err(format!("the name of {what}, {name:?}: a name is lower-case letters, digits and hyphens"))
}

/// A line of text that ends with a 0.
fn text(bytes: &[u8], what: &str) -> Result<String, String> {
    let end = bytes.iter().position(|&byte| byte == 0);
    let text = end.and_then(|end| str::from_utf8(&bytes[..end]).ok());
    match text {
        Some(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        Some(_) => Err(format!("the text of {what} is more than one line")),
        None => Err(format!("the text of {what} has no end, or is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands at some places.
    type Parts<'a> = &'a [(usize, &'a [u8])];

    /// A declaration with this at some places.
    fn declared(parts: Parts<'_>) -> Result<Declaration, String> {
        let mut bytes = vec![0; size_of::<Raw>()];
        bytes[..8].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
        bytes[8..12].copy_from_slice(b"name");
        for (place, part) in parts {
            bytes[*place..place + part.len()].copy_from_slice(part);
        }
        Declaration::read(&bytes).map_err(|refused| refused.to_string())
    }

    const COUNTER: usize = 136;
    const TABLE: usize = 392;
    const SETTING: usize = 552;

    #[test]
    fn what_is_declared_is_read() {
        let read = declared(&[
            (40, b"a summary"),
            (COUNTER, b"one"),
            (COUNTER + 32, b"two"),
            (TABLE, b"ports"),
            (TABLE + 32, &[0, 1]),
            (SETTING, b"every"),
            (SETTING + 32, b"how often"),
            (SETTING + 128, &[5]),
            (SETTING + 136, &[1]),
            (SETTING + 144, &[9]),
            (SETTING + 160, b"list"),
            (SETTING + 160 + 152, &[1]),
        ])
        .unwrap();
        assert_eq!((&*read.name, &*read.summary, read.events), ("name", "a summary", 2));
        assert_eq!(read.counters, ["one", "two"]);
        assert_eq!(read.tables, [Table { name: "ports".into(), entries: 256 }]);
        let [every, list] = &read.settings[..] else { panic!("{:?}", read.settings) };
        assert_eq!((every.initial, every.least, every.most, every.fills), (5, 1, 9, None));
        assert_eq!((&*every.summary, list.fills), ("how often", Some(0)));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let wrong: [(Parts<'_>, &str); 8] = [
            (&[(0, &[9])], "version 9"),
            (&[(4, &[0])], "no event"),
            (&[(8, b"Name")], "\"Name\""),
            (&[(8, &[b'x'; 32])], "no end"),
            (&[(COUNTER, b"a b")], "a counter"),
            (&[(TABLE, b"t"), (TABLE + 34, &[2])], "131072 entries"),
            (&[(SETTING, b"s"), (SETTING + 136, &[1])], "1 to 0"),
            (&[(SETTING, b"s"), (SETTING + 152, &[1])], "fills table 0"),
        ];
        for (parts, told) in wrong {
            let error = declared(parts).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        assert!(Declaration::read(&[1, 0, 0, 0]).unwrap_err().to_string().contains("4 bytes"));
    }
}
