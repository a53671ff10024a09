use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ThreadId};

use super::*;

/// A value that notices when it is read after its end, and where it ends.
struct Canary {
    number: u64,
    check: u64,
    dropped: Arc<Dropped>,
}

#[derive(Default)]
struct Dropped {
    count: AtomicUsize,
    by: Mutex<Vec<ThreadId>>,
}

const ALIVE: u64 = 0x5a5a_1234_5678_a5a5;

impl Canary {
    fn new(number: u64, dropped: &Arc<Dropped>) -> Box<Canary> {
        Box::new(Canary { number, check: ALIVE ^ number, dropped: dropped.clone() })
    }

    fn read(&self) -> u64 {
        assert_eq!(self.check ^ self.number, ALIVE, "read after it was freed");
        self.number
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.check = 0;
        self.dropped.count.fetch_add(1, Ordering::Relaxed);
        self.dropped.by.lock().unwrap().push(thread::current().id());
    }
}

#[test]
fn a_reader_keeps_its_value_until_it_refreshes() {
    let dropped = Arc::default();
    let mut publisher = Publisher::new(Canary::new(1, &dropped));
    let mut reader = publisher.reader();
    let second = publisher.publish(Canary::new(2, &dropped));

    assert_eq!(reader.get().read(), 1);
    assert_eq!(publisher.current().read(), 2);
    assert!(!publisher.adopted(second));
    assert_eq!(publisher.waiting(second), [0]);
    assert_eq!((publisher.reclaim(), publisher.retired()), (0, 1));

    reader.refresh();
    assert_eq!(reader.get().read(), 2);
    assert_eq!(reader.epoch(), second);
    assert!(publisher.adopted(second));
    assert_eq!(publisher.waiting(second), []);
    assert_eq!((publisher.reclaim(), publisher.retired()), (1, 0));
    assert_eq!(dropped.count.load(Ordering::Relaxed), 1);
}

#[test]
fn the_slowest_reader_decides() {
    let mut publisher = Publisher::new(Box::new(1));
    let mut readers = [publisher.reader(), publisher.reader(), publisher.reader()];
    publisher.publish(Box::new(2));
    readers[0].refresh();
    readers[2].refresh();
    let third = publisher.publish(Box::new(3));
    readers[2].refresh();

    assert_eq!(publisher.waiting(third), [0, 1]);
    assert_eq!(publisher.reclaim(), 0);
    readers[1].refresh();
    assert_eq!(publisher.reclaim(), 1);
    readers[0].refresh();
    assert_eq!(publisher.reclaim(), 1);
    assert!(publisher.adopted(third));
}

#[test]
fn nobody_waits_for_a_reader_that_is_offline() {
    let mut publisher = Publisher::new(Box::new(1));
    let mut reader = publisher.reader();
    let answer = reader.offline(|| {
        let second = publisher.publish(Box::new(2));
        assert!(publisher.adopted(second));
        assert_eq!(publisher.reclaim(), 1);
        "woken"
    });
    assert_eq!(answer, "woken");
    assert_eq!(*reader.get(), 2, "adopted before anything else");
}

#[test]
fn a_reader_is_back_online_after_a_panic() {
    let mut publisher = Publisher::new(Box::new(1));
    let mut reader = publisher.reader();
    let result = catch_unwind(AssertUnwindSafe(|| {
        reader.offline(|| {
            publisher.publish(Box::new(2));
            publisher.reclaim();
            panic!("expected");
        })
    }));
    assert!(result.is_err());
    assert_eq!(*reader.get(), 2);
    let third = publisher.publish(Box::new(3));
    assert!(!publisher.adopted(third));
}

#[test]
fn nobody_waits_for_a_reader_that_is_gone_and_its_cell_is_used_again() {
    let mut publisher = Publisher::new(Box::new(1));
    let first = publisher.reader();
    let second = publisher.reader();
    drop(first);
    let epoch = publisher.publish(Box::new(2));
    assert_eq!(publisher.waiting(epoch), [1]);
    let third = publisher.reader();
    assert_eq!(*third.get(), 2);
    assert_eq!(publisher.cells.len(), 2);
    drop(second);
    assert_eq!(publisher.reclaim(), 1);
    assert!(publisher.adopted(epoch));
}

#[test]
fn readers_outlive_their_publisher() {
    let dropped = Arc::<Dropped>::default();
    let mut publisher = Publisher::new(Canary::new(1, &dropped));
    let mut old = publisher.reader();
    publisher.publish(Canary::new(2, &dropped));
    let new = publisher.reader();
    drop(publisher);

    assert_eq!((old.get().read(), new.get().read()), (1, 2));
    old.refresh();
    assert_eq!(old.get().read(), 2);
    drop(old);
    assert_eq!(new.get().read(), 2);
    drop(new);
    assert_eq!(dropped.count.load(Ordering::Relaxed), 2, "nothing leaks");
}

#[test]
fn values_are_dropped_on_the_publishers_thread() {
    let dropped = Arc::<Dropped>::default();
    let mut publisher = Publisher::new(Canary::new(0, &dropped));
    thread::scope(|scope| {
        let mut reader = publisher.reader();
        let worker = scope.spawn(move || {
            while reader.get().read() < 50 {
                reader.refresh();
                reader.offline(thread::yield_now);
            }
        });
        for number in 1..=50 {
            publisher.publish(Canary::new(number, &dropped));
            publisher.reclaim();
        }
        worker.join().unwrap();
    });
    publisher.reclaim();
    drop(publisher);
    let by = dropped.by.lock().unwrap();
    assert_eq!(by.len(), 51);
    assert!(by.iter().all(|&id| id == thread::current().id()));
}

/// Ends the readers of a test whose publisher fails: the scope waits for them.
struct StopOnUnwind<'a>(&'a AtomicBool);

impl Drop for StopOnUnwind<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_that_come_and_go_never_see_a_freed_value() {
    const LAST: u64 = 20_000;
    let dropped = Arc::<Dropped>::default();
    let stop = AtomicBool::new(false);
    let mut publisher = Publisher::new(Canary::new(0, &dropped));
    thread::scope(|scope| {
        let _stop = StopOnUnwind(&stop);
        for worker in 0..3_u64 {
            let mut reader = publisher.reader();
            let stop = &stop;
            scope.spawn(move || {
                let mut turns = worker;
                let mut seen = 0;
                while !stop.load(Ordering::Relaxed) {
                    reader.refresh();
                    for _ in 0..4 {
                        let number = reader.get().read();
                        assert!(number >= seen, "values go forward only");
                        seen = number;
                    }
                    turns += 1;
                    if turns.is_multiple_of(3) {
                        reader.offline(|| {
                            if turns.is_multiple_of(2) {
                                thread::yield_now()
                            }
                        });
                    }
                }
                reader.refresh();
                assert_eq!(reader.get().read(), LAST);
            });
        }
        for number in 1..=LAST {
            let epoch = publisher.publish(Canary::new(number, &dropped));
            publisher.reclaim();
            if number.is_multiple_of(64) {
                while !publisher.adopted(epoch) {
                    thread::yield_now();
                }
                // A reader that was offline and is just coming back holds everything for a moment.
                while publisher.retired() > 0 {
                    thread::yield_now();
                    publisher.reclaim();
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    publisher.reclaim();
    assert_eq!(dropped.count.load(Ordering::Relaxed) as u64, LAST);
}
