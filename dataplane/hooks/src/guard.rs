//! Telling a panic of an author's hook, which is caught, from any other.

use std::cell::Cell;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, a panic of this thread is an author's hook's.
pub struct Guard(());

impl Guard {
    /// Begins.
    #[inline]
    pub fn enter() -> Guard {
        INSIDE.set(true);
        Guard(())
    }

    /// Whether the calling thread is inside of an author's hook.
    pub fn is_entered() -> bool {
        INSIDE.get()
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}
