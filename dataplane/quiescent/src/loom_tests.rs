//! Every interleaving, and every value that the memory model lets a load return, of the cases in
//! which publishing races with readers. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p sluice-quiescent --release --lib loom`.

use loom::cell::UnsafeCell;
use loom::thread;

use super::*;

/// A value whose end is a write and whose use is a read: the model checker fails when one is not
/// ordered before the other.
struct Canary(UnsafeCell<u64>);

// SAFETY: the model checker itself checks every access to the cell.
unsafe impl Sync for Canary {}

impl Canary {
    fn new(number: u64) -> Box<Canary> {
        Box::new(Canary(UnsafeCell::new(number)))
    }

    fn read(&self) -> u64 {
        // SAFETY: checked by the model; the pointer is used inside the closure only.
        self.0.with(|number| unsafe { *number })
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // SAFETY: checked by the model; the pointer is used inside the closure only.
        self.0.with_mut(|number| unsafe { *number = u64::MAX });
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

#[test]
fn refreshing_races_with_publishing() {
    model(|| {
        let mut publisher = Publisher::new(Canary::new(1));
        let mut reader = publisher.reader();
        let worker = thread::spawn(move || {
            let first = reader.get().read();
            reader.refresh();
            let second = reader.get().read();
            assert!(first <= second && second <= 3);
        });
        publisher.publish(Canary::new(2));
        publisher.reclaim();
        publisher.publish(Canary::new(3));
        publisher.reclaim();
        worker.join().unwrap();
        publisher.reclaim();
        assert_eq!(publisher.retired(), 0);
    });
}

#[test]
fn coming_online_races_with_publishing() {
    model(|| {
        let mut publisher = Publisher::new(Canary::new(1));
        let mut reader = publisher.reader();
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                reader.offline(|| ());
                reader.get().read();
            }
        });
        publisher.publish(Canary::new(2));
        publisher.reclaim();
        publisher.publish(Canary::new(3));
        publisher.reclaim();
        worker.join().unwrap();
    });
}

#[test]
fn once_adopted_no_reader_uses_an_older_value() {
    use loom::sync::atomic::AtomicBool;

    model(|| {
        let mut publisher = Publisher::new(Canary::new(1));
        let mut reader = publisher.reader();
        let adopted = Arc::new(AtomicBool::new(false));
        let told = adopted.clone();
        let worker = thread::spawn(move || {
            reader.offline(|| ());
            // Whoever reads the old value now was not reported to have adopted the new one
            // before.
            let told = told.load(Ordering::Relaxed);
            let number = reader.get().read();
            assert!(!told || number == 2);
        });
        let epoch = publisher.publish(Canary::new(2));
        if publisher.adopted(epoch) {
            adopted.store(true, Ordering::Relaxed);
        }
        worker.join().unwrap();
    });
}

#[test]
fn two_readers_race_with_publishing() {
    model(|| {
        let mut publisher = Publisher::new(Canary::new(1));
        let mut first = publisher.reader();
        let mut second = publisher.reader();
        let refreshing = thread::spawn(move || {
            first.get().read();
            first.refresh();
            first.get().read();
        });
        let sleeping = thread::spawn(move || {
            second.offline(|| ());
            second.get().read();
        });
        publisher.publish(Canary::new(2));
        publisher.reclaim();
        refreshing.join().unwrap();
        sleeping.join().unwrap();
    });
}

#[test]
fn a_cell_is_used_again_while_its_last_value_is_reclaimed() {
    model(|| {
        let mut publisher = Publisher::new(Canary::new(1));
        let reader = publisher.reader();
        let worker = thread::spawn(move || {
            reader.get().read();
        });
        publisher.publish(Canary::new(2));
        let other = publisher.reader();
        publisher.reclaim();
        assert_eq!(other.get().read(), 2);
        worker.join().unwrap();
    });
}

#[test]
fn the_publisher_goes_first() {
    model(|| {
        let mut publisher = Publisher::new(Canary::new(1));
        let mut reader = publisher.reader();
        let worker = thread::spawn(move || {
            reader.get().read();
            reader.refresh();
            reader.get().read();
        });
        publisher.publish(Canary::new(2));
        drop(publisher);
        worker.join().unwrap();
    });
}

/// What a hook's object goes through: it is handed over before the order that names it is
/// published, and freed only when the reader has given it back. A reader refreshes and then looks
/// for what was handed over.
#[test]
fn what_is_handed_over_first_is_there_when_it_is_named_and_not_after_it_is_given_back() {
    use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};

    const NONE: u64 = 0;
    const GIVEN: u64 = 1;
    const FREED: u64 = 2;

    model(|| {
        let object = loom::sync::Arc::new(AtomicU64::new(NONE));
        let mut publisher = Publisher::new(Box::new(false));
        let mut reader = publisher.reader();
        let seen = object.clone();
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                reader.refresh();
                if *reader.get() {
                    // Not ordered by itself: publishing and refreshing order it.
                    assert_eq!(seen.load(Relaxed), GIVEN);
                }
            }
            reader.offline(|| ());
        });
        object.store(GIVEN, Relaxed);
        publisher.publish(Box::new(true));
        let without = publisher.publish(Box::new(false));
        if publisher.adopted(without) {
            object.store(FREED, Relaxed);
        }
        worker.join().unwrap();
    });
}
