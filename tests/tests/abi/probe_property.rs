//! Whatever a library is like, the probe answers in time, in one line.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mshost_plugin_host::{ShadowCopy, probe, set_probe_program};
use mshost_tests::fixtures::{c_library, mshost_binary};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// How long the probe may take for one file. A child that hangs takes it all, so it is short.
const LIMIT: Duration = Duration::from_secs(2);

/// What a busy machine may need on top.
const PATIENCE: Duration = Duration::from_secs(20);

/// The headers and the first tables of a library are in its first page.
const PAGE: usize = 4096;

#[test]
fn a_damaged_library_is_refused_in_time_and_in_one_line() {
    let _turn = mshost_tests::heavy::turn();
    set_probe_program(mshost_binary());
    let source = "#include <stdlib.h>\n#include <string.h>\n\
        static char *text; char *(*reach)(const char *) = getenv;\n\
        __attribute__((constructor)) static void begin(void) { text = strdup(\"text\"); }\n\
        __attribute__((destructor)) static void end(void) { free(text); }\n";
    let good = c_library(source, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libx.so");
    let refused = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let began = Instant::now();
        let tried = runtime.block_on(async {
            let shadow = ShadowCopy::make(&file, folder.path())?;
            probe(&shadow, LIMIT).await
        });
        let error = tried.expect_err("it is no plugin");
        assert!(began.elapsed() < LIMIT + PATIENCE, "{:?}", began.elapsed());
        let line = error.to_string();
        assert!(line.len() < 1_000 && !line.contains('\n'), "{line}");
        error.kind()
    };
    assert_eq!(refused(&good), "not_a_plugin");
    // The same cases each time: there is a process behind each, and what they find has to be found again.
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let mut runner =
        TestRunner::new_with_rng(config, proptest::test_runner::TestRng::deterministic_rng(Default::default()));
    let damage = prop::collection::vec((any::<Index>(), any::<bool>(), any::<u8>()), 1..6);
    let kinds = RefCell::new(BTreeSet::new());
    let tested = runner.run(&damage, |damage| {
        let mut bytes = good.clone();
        for (at, anywhere, byte) in damage {
            let room = if anywhere { bytes.len() } else { PAGE };
            bytes[at.index(room)] = byte;
        }
        kinds.borrow_mut().insert(refused(&bytes));
        Ok(())
    });
    tested.unwrap();
    let kinds = kinds.into_inner();
    assert!(kinds.len() > 2, "the damage is too much alike: {kinds:?}");
}
