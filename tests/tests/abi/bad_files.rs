//! Every kind of bad plugin file gives its one line, and the host lives on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mshost_plugin_host::{LoadError, ShadowCopy, probe, set_probe_program};
use mshost_tests::fixtures::{fixture, mshost_binary, panic_abort_plugin, with_mode};

/// The message without the file's path, and the label for metrics.
async fn refused(file: &Path) -> (String, &'static str) {
    set_probe_program(mshost_binary());
    let state = tempfile::tempdir().unwrap();
    let tried = async {
        let shadow = ShadowCopy::make(file, state.path())?;
        probe(&shadow, Duration::from_millis(1_500)).await
    };
    let error: LoadError = tried.await.expect_err("a bad file is refused");
    let left = fs::read_dir(state.path().join("shadow")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the copy is gone");
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    let line = line.strip_prefix(&format!("{}: ", file.display())).expect("it names the file first").to_owned();
    (line, error.kind())
}

fn write(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let file = folder.path().join("libx.so");
    fs::write(&file, bytes).unwrap();
    file
}

#[tokio::test]
async fn files_that_are_no_library() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[u8], &str); 5] = [
        (b"", "expected a shared library, found an empty file"),
        (b"hello there\n", "expected a shared library, found a text file"),
        (b"#!/bin/sh\n", "expected a shared library, found a script"),
        (&[0x9c; 4096], "expected a shared library, found data of another kind"),
        (b"!<arch>\n", "expected a shared library, found a static library (`.a`)"),
    ];
    for (bytes, line) in cases {
        assert_eq!(refused(&write(&folder, bytes)).await, (line.to_owned(), "not_a_library"));
    }
    let (line, kind) = refused(&mshost_binary()).await;
    assert_eq!((&*line, kind), ("expected a shared library, found a program", "not_a_library"));
    let (line, kind) = refused(folder.path()).await;
    assert_eq!((&*line, kind), ("expected a shared library, found a directory", "not_a_library"));
    let (line, kind) = refused(&folder.path().join("none.so")).await;
    assert_eq!((&*line, kind), ("cannot open it: No such file or directory (os error 2)", "io"));
}

#[tokio::test]
async fn files_that_are_cut_off_or_for_another_machine() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(fixture("not-a-plugin")).unwrap();
    for length in [5, 64, 4_096, 65_536, whole.len() - 1] {
        let (line, kind) = refused(&write(&folder, &whole[..length])).await;
        assert!(line.starts_with("the file is cut off: ") && kind == "truncated", "{length}: {line}");
        assert!(line.contains(&format!("{length} are there")), "{line}");
    }
    let mut foreign = whole;
    foreign[18..20].copy_from_slice(&243_u16.to_le_bytes());
    let (line, kind) = refused(&write(&folder, &foreign)).await;
    assert!(line.starts_with("it is built for RISC-V, and this host needs ") && kind == "wrong_architecture", "{line}");
}

#[tokio::test]
async fn libraries_that_crash_or_hang_do_so_in_the_probe() {
    let folder = tempfile::tempdir().unwrap();
    let (line, kind) = refused(&write(&folder, &with_mode("bad-constructor", "segfault"))).await;
    assert!(line.starts_with("it crashed with SIGSEGV as a child process loaded it") && kind == "crashed", "{line}");
    let (line, kind) = refused(&write(&folder, &with_mode("bad-constructor", "panic"))).await;
    assert!(line.starts_with("it crashed with SIGABRT as a child process loaded it") && kind == "crashed", "{line}");
    assert!(line.contains("; it said: thread ") && line.contains("a constructor panics"), "{line}");
    let (line, kind) = refused(&write(&folder, &with_mode("bad-constructor", "hang"))).await;
    assert!(line.starts_with("a child process did not load it within 1s 500ms") && kind == "timed_out", "{line}");
}

#[tokio::test]
async fn a_process_that_a_library_has_started_does_not_keep_the_probe() {
    let folder = tempfile::tempdir().unwrap();
    let (line, kind) = refused(&write(&folder, &with_mode("bad-constructor", "helper"))).await;
    assert_eq!(kind, "not_a_plugin", "{line}");
}

#[tokio::test]
async fn libraries_that_are_no_plugin_or_of_another_abi() {
    let (line, kind) = refused(&fixture("not-a-plugin")).await;
    assert!(line.starts_with("it is a library but not an mshost plugin") && kind == "not_a_plugin", "{line}");
    let (line, kind) = refused(&fixture("other-layout")).await;
    assert!(kind == "abi" && line.len() < 300, "{line}");
    assert!(line.contains("it is one of the crate `mshost-fixture-other-layout`"), "{line}");
}

#[tokio::test]
async fn a_plugin_whose_panics_abort_is_refused() {
    let (line, kind) = refused(&panic_abort_plugin()).await;
    assert_eq!(kind, "panic_abort", "{line}");
    assert!(line.ends_with("build it with `panic = \"unwind\"`"), "{line}");
}

#[test]
fn copies_of_dead_hosts_are_removed_and_those_of_living_ones_are_not() {
    let state = tempfile::tempdir().unwrap();
    let living = ShadowCopy::make(&fixture("not-a-plugin"), state.path()).unwrap();
    let stale = state.path().join("shadow/dead.1.1.so");
    fs::write(&stale, b"left behind").unwrap();
    assert_eq!(ShadowCopy::remove_stale(state.path()), 1);
    assert!(!stale.exists() && living.path().exists());
}
