//! What a directory gives back: after a clean end, after a bad one, and after somebody else's.

use std::fs;
use std::path::Path;

use sluice_control_api::CommitKind;
use sluice_policy::model::{Operation, Owner, Position, Route, RouteKey, Target};

use super::*;

/// The commit after `head`, with one route more.
fn next(store: &Store, head: &Head) -> (Head, Delta) {
    let generation = store.next_generation();
    let prefix = format!("10.{}.{}.0/24", generation / 256, generation % 256).parse().unwrap();
    let key = RouteKey::main("default", prefix, Owner::Cli);
    let position = Position { file: "cli".into(), line: 0, column: 0 };
    let route = Route::new(Target::Blackhole, &Owner::Cli, position);
    let delta = Delta { operations: vec![Operation::Route(key, Some(route))] };
    let header = Header {
        generation,
        author: "alice".into(),
        kind: CommitKind::Route { owners: Vec::new(), stale: Vec::new() },
        ..head.header.clone()
    };
    let policy = head.policy.apply_as(generation, &delta).unwrap();
    (Head::new(header, policy), delta)
}

fn commit(store: &mut Store, head: &mut Head) {
    let (next, delta) = next(store, head);
    store.intend(head, &next, &delta).unwrap();
    store.settle(&next);
    *head = next;
}

/// A directory with so many commits, and the last.
fn with_commits(directory: &Path, count: u64) -> (Store, Head) {
    let Loaded { mut store, mut head, .. } = Store::open(directory).unwrap();
    for _ in 0..count {
        commit(&mut store, &mut head);
    }
    (store, head)
}

fn file(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("commits/{generation:010}.ndjson"))
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_committed_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let (store, head) = with_commits(directory.path(), 50);
    let states: Vec<_> = (0..=50).map(|n| store.history().state(n).unwrap().unwrap()).collect();
    assert_eq!(states[50], *head.state());
    assert_eq!(states.iter().map(|state| state.routes.len()).collect::<Vec<_>>(), {
        (0..=50).collect::<Vec<_>>()
    });
    let whole = store.history().headers().iter().filter(|header| header.base.is_none()).count();
    assert!((2..50).contains(&whole), "{whole} of 50 are whole");
    drop(store);
    let loaded = Store::open(directory.path()).unwrap();
    assert_eq!(loaded.head.state(), head.state());
    assert_eq!(loaded.head.header, Header { base: loaded.head.header.base, ..head.header });
    assert_eq!(loaded.head.policy.generation(), 50);
    assert!(loaded.store.damaged().is_empty() && loaded.pending.is_none());
    assert_eq!(loaded.store.next_generation(), 51);
}

#[test]
fn old_commits_are_pruned_and_the_rest_stays_readable() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = with_commits(directory.path(), 400);
    let headers = store.history().headers();
    assert!((KEPT..=KEPT + LONGEST_CHAIN).contains(&headers.len()), "{} stay", headers.len());
    assert_eq!(headers.last().unwrap().generation, 400);
    for header in headers {
        let state = store.history().state(header.generation).unwrap().unwrap();
        assert_eq!(state.routes.len() as u64, header.generation);
    }
    let files = fs::read_dir(directory.path().join("commits")).unwrap().count();
    assert_eq!(files, headers.len());
    assert!(store.history().state(1).is_none(), "it is gone, and said to be");
}

#[test]
fn what_was_under_way_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, head) = with_commits(directory.path(), 3);
    let (next, delta) = next(&store, &head);
    store.intend(&head, &next, &delta).unwrap();
    drop(store);

    let loaded = Store::open(directory.path()).unwrap();
    assert_eq!(loaded.head.generation(), 3, "it is not committed");
    let pending = loaded.pending.unwrap();
    assert_eq!((pending.generation(), pending.state()), (4, next.state()));
    let mut store = loaded.store;
    store.settle(&pending);
    drop(store);
    let loaded = Store::open(directory.path()).unwrap();
    assert_eq!(loaded.head.generation(), 4, "now it is");
    assert!(loaded.pending.is_none());
}

#[test]
fn an_intent_that_is_torn_or_damaged_is_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, head) = with_commits(directory.path(), 3);
    let (next, delta) = next(&store, &head);
    store.intend(&head, &next, &delta).unwrap();
    drop(store);
    let pending = directory.path().join(PENDING);
    let bytes = fs::read(&pending).unwrap();
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&pending, &bytes[..length]).unwrap();
        let loaded = Store::open(directory.path()).unwrap();
        assert!(loaded.pending.is_none());
        assert_eq!(loaded.head.generation(), 3);
        assert!(loaded.store.damaged()[0].problem.contains("torn"), "{:?}", loaded.store.damaged());
        assert!(!pending.exists());
    }
}

#[test]
fn the_last_commit_that_can_be_read_counts() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = with_commits(directory.path(), 3);
    drop(store);
    damage(&file(directory.path(), 3));
    let loaded = Store::open(directory.path()).unwrap();
    assert_eq!(loaded.head.generation(), 2);
    assert_eq!(loaded.store.next_generation(), 4, "no number is given twice");
    let damaged = loaded.store.damaged();
    assert_eq!(damaged.len(), 1);
    assert!(damaged[0].file.ends_with("commits/0000000003.ndjson.damaged"), "{damaged:?}");
    assert!(fs::exists(&damaged[0].file).unwrap());
    assert!(!file(directory.path(), 3).exists());
    drop(loaded);
    let loaded = Store::open(directory.path()).unwrap();
    assert_eq!(loaded.store.damaged().len(), 1, "it is named until somebody removes it");
}

#[test]
fn what_starts_from_a_damaged_commit_cannot_be_read_either() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = with_commits(directory.path(), 12);
    let headers = store.history().headers().to_vec();
    drop(store);
    let last = headers.iter().rposition(|header| header.base.is_none()).unwrap();
    assert!(last > 1 && last < 11, "a whole record is among them: {last}");
    damage(&file(directory.path(), headers[last].generation));
    let loaded = Store::open(directory.path()).unwrap();
    assert_eq!(loaded.head.generation(), headers[last].generation - 1);
    assert_eq!(loaded.store.damaged().len(), 12 - last);
    assert!(loaded.store.damaged()[1].problem.contains("starts from commit"));
}

#[test]
fn a_file_of_a_later_release_and_one_under_a_wrong_name_are_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = with_commits(directory.path(), 2);
    drop(store);
    fs::write(file(directory.path(), 3), "{\"format\":9,\"what\":\"ever\"}\nelse\n").unwrap();
    fs::copy(file(directory.path(), 1), file(directory.path(), 4)).unwrap();
    let loaded = Store::open(directory.path()).unwrap();
    assert_eq!(loaded.head.generation(), 2);
    let problems: Vec<_> = loaded.store.damaged().iter().map(|file| &file.problem).collect();
    assert!(problems[0].contains("later release (format 9"), "{problems:?}");
    assert!(problems[1].contains("holds commit 1"), "{problems:?}");
}

#[test]
fn nothing_readable_is_nothing_committed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = with_commits(directory.path(), 2);
    drop(store);
    for generation in 1..=2 {
        fs::write(file(directory.path(), generation), "").unwrap();
    }
    let loaded = Store::open(directory.path()).unwrap();
    assert_eq!((loaded.head.generation(), loaded.store.damaged().len()), (0, 2));
    assert_eq!(loaded.store.next_generation(), 3);
}

#[test]
fn what_a_killed_writer_left_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = with_commits(directory.path(), 2);
    drop(store);
    let left = directory.path().join("commits/0000000003.tmp");
    fs::write(&left, "half").unwrap();
    let loaded = Store::open(directory.path()).unwrap();
    assert!(!left.exists() && loaded.store.damaged().is_empty());
    assert_eq!(loaded.head.generation(), 2);
}

#[test]
fn one_process_has_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = Store::open(directory.path()).unwrap();
    let refused = Store::open(directory.path()).unwrap_err().to_string();
    assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
    drop(first);
    Store::open(directory.path()).unwrap();
}

#[test]
fn what_could_not_be_written_is_written_when_it_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, head) = with_commits(directory.path(), 1);
    // A file where a directory should be fails for root as well.
    let commits = directory.path().join(COMMITS);
    let away = directory.path().join("away");
    fs::rename(&commits, &away).unwrap();
    fs::write(&commits, "").unwrap();
    let (next, delta) = next(&store, &head);
    store.intend(&head, &next, &delta).unwrap();
    store.settle(&next);
    let problem = store.problem().unwrap().to_owned();
    assert!(problem.contains("commits/0000000002.ndjson"), "{problem}");
    let (after, delta) = self::next(&store, &next);
    store.intend(&next, &after, &delta).unwrap_err();

    fs::remove_file(&commits).unwrap();
    fs::rename(&away, &commits).unwrap();
    store.retry = Instant::now();
    store.tend(&next);
    assert_eq!(store.problem(), None);
    store.intend(&next, &after, &delta).unwrap();
    store.settle(&after);
    drop(store);
    let loaded = Store::open(directory.path()).unwrap();
    assert_eq!((loaded.head.generation(), loaded.head.state()), (3, after.state()));
}
