//! Which instructions are used.
//!
//! Sluice is built for x86-64-v2 (Intel Nehalem 2008, AMD Jaguar 2013, and later). What takes most of a
//! packet's time is compiled for x86-64-v3 as well ([`by_level!`](crate::by_level)), and which of the
//! two runs is decided once, by what the processor has. docs/adr/0007-levels-of-x86-64.md

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// A level of instructions, in the sense of the x86-64 psABI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// What everything is built for: x86-64-v2; of other architectures what the compiler takes.
    Baseline = 1,
    /// x86-64-v3: AVX2, BMI and MOVBE (Intel Haswell 2013, AMD Excavator 2015, and later).
    V3 = 2,
}

/// What is used, as a number of [`Level`]; 0 until it has been asked for.
static USED: AtomicU8 = AtomicU8::new(0);

impl Level {
    /// What is used of this processor.
    #[inline(always)]
    pub fn used() -> Level {
        match USED.load(Ordering::Relaxed) {
            2 => Level::V3,
            1 => Level::Baseline,
            _ => Level::V3.used_from_now_on(),
        }
    }

    /// Uses this level, or what the processor has if that is less. Says which.
    #[cold]
    pub fn used_from_now_on(self) -> Level {
        let level = self.min(Level::of_processor());
        USED.store(level as u8, Ordering::Relaxed);
        level
    }

    /// What this processor has, and its operating system lets be used.
    pub fn of_processor() -> Level {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2")
            && std::arch::is_x86_feature_detected!("f16c")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("lzcnt")
            && std::arch::is_x86_feature_detected!("movbe")
        {
            return Level::V3;
        }
        Level::Baseline
    }

    /// Whether the processor has what everything is built for. To be called before all else: what is
    /// missing ends the process otherwise, at the first such instruction and without a word.
    ///
    /// # Errors
    /// It has not: what is missing.
    pub fn check() -> Result<(), TooOld> {
        #[cfg(target_arch = "x86_64")]
        {
            let missing: Vec<&str> =
                NEEDED.iter().filter(|(_, bit)| features() >> bit & 1 == 0).map(|n| n.0).collect();
            if !missing.is_empty() {
                return Err(TooOld { missing: missing.join(", ") });
            }
        }
        Ok(())
    }
}

/// What x86-64-v2 has beyond the first processors, by bits of what CPUID says of function 1.
#[cfg(target_arch = "x86_64")]
const NEEDED: &[(&str, u32)] = &[
    ("SSE3", 0),
    ("SSSE3", 9),
    ("CMPXCHG16B", 13),
    ("SSE4.1", 19),
    ("SSE4.2", 20),
    ("POPCNT", 23),
];

/// Asked by hand: the library's answer is settled where these features are compiled for.
#[cfg(target_arch = "x86_64")]
fn features() -> u32 {
    #[allow(unused_unsafe, reason = "safe in later releases of the library")]
    // SAFETY: every x86-64 processor has CPUID and its function 1.
    unsafe { std::arch::x86_64::__cpuid(1) }.ecx
}

/// A processor that lacks what Sluice is built for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this processor, or the virtual machine that shows it, lacks {missing}: Sluice is built for x86-64-v2 \
     (Intel Nehalem, AMD Jaguar and later); give the machine a newer processor model, such as `host`"
)]
pub struct TooOld {
    missing: String,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::V3 => "x86-64-v3",
            Level::Baseline if cfg!(target_arch = "x86_64") => "x86-64-v2",
            Level::Baseline => std::env::consts::ARCH,
        })
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        match text {
            "x86-64-v3" => Ok(Level::V3),
            "x86-64-v2" => Ok(Level::Baseline),
            _ => Err(format!("`{text}` is not known; known are x86-64-v2 and x86-64-v3")),
        }
    }
}

/// Compiles a function for the baseline and for x86-64-v3, with all that is inlined into it, and calls
/// what suits the processor. For what handles a burst at a time: the choice costs a load and a branch.
///
/// What it calls and is not inlined stays of the baseline: such a function is better wrapped itself.
#[macro_export]
macro_rules! by_level {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident $(<$life:lifetime>)? (
            $($argument:ident : $type:ty),* $(,)?
        ) $(-> $out:ty)? $body:block
    ) => {
        $(#[$meta])*
        $vis fn $name $(<$life>)? ($($argument: $type),*) $(-> $out)? {
            #[inline(always)]
            fn body $(<$life>)? ($($argument: $type),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,bmi1,bmi2,f16c,fma,lzcnt,movbe,popcnt")]
                fn v3 $(<$life>)? ($($argument: $type),*) $(-> $out)? {
                    body($($argument),*)
                }
                if $crate::Level::used() == $crate::Level::V3 {
                    // SAFETY: the processor has what the level asks for.
                    return unsafe { v3($($argument),*) };
                }
            }
            body($($argument),*)
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    by_level! {
        /// Something that differs in its instructions and in nothing else.
        fn mixed(words: &[u64]) -> u32 {
            words.iter().map(|word| (word & word.wrapping_sub(1)).swap_bytes().count_ones()).sum()
        }
    }

    #[test]
    fn levels_are_named_and_no_more_is_used_than_there_is() {
        for level in [Level::Baseline, Level::V3] {
            if cfg!(target_arch = "x86_64") {
                assert_eq!(level.to_string().parse(), Ok(level));
            }
            let words: Vec<u64> = (1..100).map(|n| n << (n % 60)).collect();
            let used = level.used_from_now_on();
            assert_eq!(used, level.min(Level::of_processor()));
            let bits: u32 = words.iter().map(|word| word.count_ones() - 1).sum();
            assert_eq!(mixed(&words), bits);
        }
        assert!("x86-64-v9".parse::<Level>().is_err());
        assert_eq!(Level::check(), Ok(()));
    }
}
