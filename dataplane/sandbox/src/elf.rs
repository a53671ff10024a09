//! Reading a program's file. It is read once, here: what is verified is what runs.

use object::elf::{EM_BPF, SHF_EXECINSTR};
use object::{
    Object, ObjectKind, ObjectSection, ObjectSymbol, RelocationTarget, SectionFlags, SectionKind,
};

use crate::MAX_FILE;
use crate::declaration::{self, Declaration};
use crate::error::Refused;
use crate::verify::{Verified, verify};

/// The section whose code runs.
pub const SECTION: &str = "hook";

/// A program that may run.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it says of itself.
    pub declaration: Declaration,
    /// Its code.
    pub code: Verified,
}

impl Program {
    /// Reads a file and verifies what is in it.
    ///
    /// # Errors
    /// [`Refused`] says what is wrong with it and what to do.
    pub fn read(file: &[u8]) -> Result<Program, Refused> {
        if file.len() > MAX_FILE {
            return Err(Refused::File { bytes: file.len() });
        }
        let elf = object::File::parse(file).map_err(|error| no_elf(&error.to_string()))?;
        let machine = file.get(18..20).map_or(0, |m| u16::from_le_bytes([m[0], m[1]]));
        if elf.is_little_endian() && machine != EM_BPF {
            return Err(Refused::Machine { machine });
        }
        if !elf.is_little_endian() {
            return Err(no_elf("its byte order is not little-endian"));
        }
        if !elf.is_64() || elf.kind() != ObjectKind::Relocatable {
            return Err(no_elf("it is not a relocatable file of 64 bits, as clang -c makes it"));
        }
        for section in elf.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
            let runs = sh_flags & u64::from(SHF_EXECINSTR) != 0 && section.size() > 0;
            let name = section.name().map_err(|error| no_elf(&error.to_string()))?;
            if runs && name != SECTION {
                return Err(Refused::OtherCode { section: name.to_owned() });
            }
        }
        let says = "declare it: `SLUICE_PROGRAM = { .name = …, .events = … };`";
        let declared = only(&elf, declaration::SECTION, says)?;
        let declaration = Declaration::read(data(&declared)?)?;
        let runs = "mark the function `SLUICE_HOOK`";
        let code = only(&elf, SECTION, runs)?;
        for section in [&declared, &code] {
            if let Some((place, relocation)) = section.relocations().next() {
                let symbol = symbol(&elf, relocation.target());
                return Err(Refused::Symbol { place: place / 8, symbol });
            }
        }
        Ok(Program { declaration, code: verify(data(&code)?)? })
    }
}

fn no_elf(reason: &str) -> Refused {
    Refused::Elf { reason: reason.to_owned() }
}

fn data<'data>(section: &impl ObjectSection<'data>) -> Result<&'data [u8], Refused> {
    section.data().map_err(|error| no_elf(&error.to_string()))
}

/// The section of that name that has something in it.
fn only<'data, 'file>(
    elf: &'file object::File<'data>,
    name: &'static str,
    cure: &'static str,
) -> Result<object::Section<'data, 'file>, Refused> {
    let is_it = |section: &object::Section<'data, 'file>| {
        section.name() == Ok(name) && section.size() > 0 && section.kind() != SectionKind::Metadata
    };
    let mut found: Vec<_> = elf.sections().filter(is_it).collect();
    match (found.pop(), found.len()) {
        (Some(section), 0) => Ok(section),
        (last, others) => Err(Refused::Section {
            section: name,
            count: others + usize::from(last.is_some()),
            cure,
        }),
    }
}

/// What a relocation refers to: a symbol's name or, for what has none, its section's.
fn symbol(elf: &object::File<'_>, target: RelocationTarget) -> String {
    let RelocationTarget::Symbol(index) = target else { return "something".to_owned() };
    let Ok(symbol) = elf.symbol_by_index(index) else { return "something".to_owned() };
    let of_section = || {
        let section = elf.section_by_index(symbol.section_index()?).ok()?;
        section.name().ok().map(str::to_owned)
    };
    match symbol.name() {
        Ok(name) if !name.is_empty() => name.to_owned(),
        _ => of_section().unwrap_or_else(|| "something".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use object::write::{Object, Relocation, Symbol, SymbolSection};
    use object::{
        Architecture, BinaryFormat, Endianness, RelocationFlags, SymbolFlags, SymbolKind,
        SymbolScope,
    };

    use super::*;

    /// `r0 = 0; exit`.
    const NOTHING: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

    fn declaration() -> Vec<u8> {
        let mut bytes = vec![0; 1832];
        bytes[..8].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
        bytes[8..12].copy_from_slice(b"name");
        bytes
    }

    fn section(elf: &mut Object<'_>, name: &str, kind: SectionKind, bytes: &[u8]) {
        let section = elf.add_section(Vec::new(), name.into(), kind);
        elf.append_section_data(section, bytes, 8);
    }

    fn elf(architecture: Architecture, more: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
        let mut elf = Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
        section(&mut elf, SECTION, SectionKind::Text, &NOTHING);
        section(&mut elf, declaration::SECTION, SectionKind::ReadOnlyData, &declaration());
        more(&mut elf);
        elf.write().unwrap()
    }

    #[track_caller]
    fn refused(file: &[u8], told: &str) {
        let error = Program::read(file).expect_err(told).to_string();
        assert!(error.contains(told), "{error:?} does not say {told:?}");
    }

    #[test]
    fn a_file_is_a_program_or_is_told_why_not() {
        let program = Program::read(&elf(Architecture::Bpf, |_| {})).unwrap();
        assert_eq!((&*program.declaration.name, program.code.steps()), ("name", 2));
        refused(b"", "no ELF object");
        refused(b"#!/bin/sh\n", "no ELF object");
        refused(&vec![0; MAX_FILE + 1], "1048577 bytes");
        refused(&elf(Architecture::X86_64, |_| {}), "machine 62");
        let whole = elf(Architecture::Bpf, |_| {});
        (0..whole.len()).for_each(|length| drop(Program::read(&whole[..length])));
    }

    #[test]
    fn code_is_in_one_place_and_refers_to_nothing() {
        let other = |elf: &mut Object<'_>| section(elf, "more", SectionKind::Text, &NOTHING);
        refused(&elf(Architecture::Bpf, other), "code in its section `more`");
        let twice = |elf: &mut Object<'_>| section(elf, SECTION, SectionKind::Text, &NOTHING);
        refused(&elf(Architecture::Bpf, twice), "2 sections `hook`");
        let none = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        refused(&none.write().unwrap(), "0 sections `sluice`");
        let refers = |elf: &mut Object<'_>| {
            let symbol = elf.add_symbol(Symbol {
                name: b"somewhere".to_vec(),
                value: 0,
                size: 0,
                kind: SymbolKind::Data,
                scope: SymbolScope::Dynamic,
                weak: false,
                section: SymbolSection::Undefined,
                flags: SymbolFlags::None,
            });
            let hook = elf.add_section(Vec::new(), b"hook".to_vec(), SectionKind::Text);
            elf.append_section_data(hook, &NOTHING, 8);
            let flags = RelocationFlags::Elf { r_type: 1 };
            elf.add_relocation(hook, Relocation { offset: 0, symbol, addend: 0, flags }).unwrap();
        };
        let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        section(&mut elf, declaration::SECTION, SectionKind::ReadOnlyData, &declaration());
        refers(&mut elf);
        refused(&elf.write().unwrap(), "instruction 0 refers to `somewhere`");
    }
}
