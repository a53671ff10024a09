//! What a program may call. Every helper is given the packet and then numbers, and answers a number.

/// A helper, under the number that the header gives it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Helper {
    /// `sluice_count(packet, counter, n)`: adds to one of the program's counters.
    Count = 1,
    /// `sluice_lookup(packet, table, high, low)`: the value under a key; 0 if there is none.
    Lookup = 2,
    /// `sluice_store(packet, table, high, low, value)`: sets it; 0 if the table is full, else 1.
    Store = 3,
    /// `sluice_add(packet, table, high, low, n)`: adds to it, and answers the sum; a key that is not
    /// there begins at 0. 0 if the table is full.
    Add = 4,
    /// `sluice_remove(packet, table, high, low)`: takes a key out; 1 if it was there.
    Remove = 5,
    /// `sluice_load(packet, offset, bytes)`: 1 to 8 bytes from anywhere in the packet, as a number
    /// in network byte order; 0 behind its end.
    Load = 6,
    /// `sluice_checksums(packet)`: has the packet's checksums written anew when the program is done.
    Checksums = 7,
    /// `sluice_log(packet)`: has the packet logged.
    Log = 8,
}

impl Helper {
    /// All of them, in the order of their numbers, which begin at 1.
    pub const ALL: [Helper; 8] = [
        Helper::Count,
        Helper::Lookup,
        Helper::Store,
        Helper::Add,
        Helper::Remove,
        Helper::Load,
        Helper::Checksums,
        Helper::Log,
    ];

    /// The helper of a number.
    #[must_use]
    pub fn of_number(number: i64) -> Option<Helper> {
        let place = usize::try_from(number.checked_sub(1)?).ok()?;
        Helper::ALL.get(place).copied()
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// How authors call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Helper::Count => "sluice_count",
            Helper::Lookup => "sluice_lookup",
            Helper::Store => "sluice_store",
            Helper::Add => "sluice_add",
            Helper::Remove => "sluice_remove",
            Helper::Load => "sluice_load",
            Helper::Checksums => "sluice_checksums",
            Helper::Log => "sluice_log",
        }
    }

    /// How many numbers it is given beside the packet.
    #[must_use]
    pub const fn numbers(self) -> usize {
        match self {
            Helper::Checksums | Helper::Log => 0,
            Helper::Count | Helper::Load => 2,
            Helper::Lookup | Helper::Remove => 3,
            Helper::Store | Helper::Add => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_to_helpers_and_back() {
        for helper in Helper::ALL {
            assert_eq!(Helper::of_number(i64::from(helper.number())), Some(helper));
        }
        for none in [i64::MIN, -1, 0, 9, i64::MAX] {
            assert_eq!(Helper::of_number(none), None);
        }
    }
}
