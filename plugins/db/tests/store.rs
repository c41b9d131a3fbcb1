//! The store against real files: durability, identity, many users of one file.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::Path;

use db::movie::{Movie, NewMovie};
use db::schema::OpenError;
use db::store::{MAX_LIST_BYTES, Store};
use proptest::prelude::*;
use serde_json::{Value, json};

const SEEDS: usize = 3;

fn file(folder: &tempfile::TempDir) -> std::path::PathBuf {
    folder.path().join("some/folder/movies.db")
}

fn titled(title: &str) -> NewMovie {
    NewMovie::from_value(json!({ "title": title })).unwrap()
}

fn all(store: &Store) -> Vec<Movie> {
    store.list(0, u32::MAX).unwrap()
}

#[test]
fn a_new_file_has_a_few_movies_and_keeps_what_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::open(&file(&folder)).unwrap();
    assert_eq!(all(&first).len(), SEEDS);
    let added = first.insert(&titled("Alien"), "r1").unwrap();
    drop(first);

    let second = Store::open(&file(&folder)).unwrap();
    assert_eq!(second.get(added.id).unwrap(), Some(added));
    assert_eq!(all(&second).len(), SEEDS + 1, "opening again must not seed again");
}

#[test]
fn one_request_stores_one_movie_however_often_it_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&folder)).unwrap();
    let first = store.insert(&titled("Alien"), "r1").unwrap();
    let again = store.insert(&titled("Alien"), "r1").unwrap();
    let other = store.insert(&titled("Alien"), "r2").unwrap();
    assert_eq!(first, again);
    assert_ne!(first.id, other.id);
    assert_eq!(all(&store).len(), SEEDS + 2);
}

#[test]
fn pages_are_bounded_and_complete() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&folder)).unwrap();
    for n in 0..20 {
        store.insert(&titled(&n.to_string()), &n.to_string()).unwrap();
    }
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = store.list(after, 7).unwrap();
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        after = last.id;
        seen.extend(page);
    }
    assert_eq!(seen, all(&store));
}

#[test]
fn a_page_fits_into_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&folder)).unwrap();
    for n in 0..3 {
        let large = json!({"title": n.to_string(), "plot": "x".repeat(MAX_LIST_BYTES / 2)});
        store.insert(&NewMovie::from_value(large).unwrap(), &n.to_string()).unwrap();
    }
    assert_eq!(all(&store).len(), SEEDS + 1);
    let huge = json!({"title": "huge", "plot": "x".repeat(MAX_LIST_BYTES)});
    let huge = store.insert(&NewMovie::from_value(huge).unwrap(), "huge").unwrap();
    assert_eq!(store.list(huge.id - 1, 10).unwrap(), [huge], "a page is never empty while there is more");
}

/// Threads of two stores on one new file: the race to make the tables, then the race to write.
#[test]
fn two_stores_share_a_file() {
    const THREADS: usize = 4;
    const EACH: usize = 10;
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder);
        let ids: Vec<i64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn({
                        let path = &path;
                        move || write_some(path, thread, EACH)
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), THREADS * EACH, "ids are unique");
        assert_eq!(all(&Store::open(&path).unwrap()).len(), SEEDS + THREADS * EACH);
    }
}

fn write_some(path: &Path, thread: usize, count: usize) -> Vec<i64> {
    let store = Store::open(path).unwrap();
    (0..count)
        .map(|n| {
            let movie = store.insert(&titled("Alien"), &format!("{thread}/{n}")).unwrap();
            assert_eq!(store.get(movie.id).unwrap(), Some(movie.clone()), "what was stored can be read at once");
            movie.id
        })
        .collect()
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("movies.db");
    drop(Store::open(&path).unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let error = Store::open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 9, .. }), "{error}");
    assert!(error.to_string().contains("schema version 9"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("movies.db");
    std::fs::write(&path, "not a database, and long enough to have a header that SQLite can look at and refuse")
        .unwrap();
    let error = Store::open(&path).err().unwrap();
    assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
}

fn any_detail() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever JSON comes with a title goes in and out unchanged; a quote or a NUL in it is data.
    #[test]
    fn movies_come_back_as_they_went_in(title in "\\S.{0,40}", details in prop::collection::btree_map("[a-z]{1,8}", any_detail(), 0..5)) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&file(&folder)).unwrap();
        let mut sent: serde_json::Map<String, Value> = details.into_iter().filter(|(key, _)| key != "id").collect();
        sent.insert("title".into(), title.into());
        let stored = store.insert(&NewMovie::from_value(Value::Object(sent.clone())).unwrap(), "r").unwrap();
        sent.insert("id".into(), stored.id.into());
        prop_assert_eq!(serde_json::to_value(store.get(stored.id).unwrap()).unwrap(), Value::Object(sent));
    }
}
