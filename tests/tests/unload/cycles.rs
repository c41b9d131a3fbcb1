//! Loads and unloads again and again: nothing stays, neither in the maps nor in the heap.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use mshost_core::ids::{GenerationId, PluginName};
use mshost_core::metrics::Metrics;
use mshost_plugin_host::{Generation, LoadOptions, ShadowCopy};
use mshost_tests::fixtures::fixture;
use mshost_tests::footprint::Footprint;
use mshost_tests::plugin_runner::{FakeHost, PATIENCE, handle, on_lane, start};
use serde_json::json;

/// Twice as many as a process has keys for thread-locals, of which each copy of `std` takes one: every other plugin panics,
/// which brings that about on another thread.
const CYCLES: u64 = 2_200;
const JOBS: u32 = 20_000;

fn footprint() -> Footprint {
    Footprint::of(std::process::id()).unwrap()
}

#[tokio::test]
async fn cycles_leave_nothing_mapped_and_no_memory_behind() {
    let _alone = super::whole_process().await;
    let state = tempfile::tempdir().unwrap();
    let file = fixture("echo");
    let options = LoadOptions::new(Metrics::new().unwrap());
    let (mut early, mut loading, mut per_job) = (Footprint::default(), std::time::Duration::ZERO, 0);
    for cycle in 0..CYCLES {
        let shadow = ShadowCopy::make(&file, state.path()).unwrap();
        let begun = Instant::now();
        let generation =
            Generation::load(GenerationId(cycle), PluginName::new("echo"), shadow, options.clone()).await.unwrap();
        loading += begun.elapsed();
        for kind in ["EC", "EB"] {
            let host = FakeHost::new(kind);
            let jobs = if cycle == 0 && kind == "EC" { JOBS } else { 3 };
            let panics = cycle % 2 == 0;
            let took = on_lane(&generation, move |lane| async move {
                let instance = start(&lane, json!({}), &host).await.unwrap();
                let order = json!({"do": "ok"});
                let begun = Instant::now();
                for _ in 0..jobs {
                    assert_eq!(handle(&instance, &host, &order).await, Ok(()));
                }
                let took = begun.elapsed();
                if panics {
                    assert!(handle(&instance, &host, &json!({"do": "panic"})).await.unwrap_err().panicked);
                }
                instance.stop().await;
                took
            })
            .await;
            if jobs == JOBS {
                per_job = took.as_nanos() / u128::from(JOBS);
            }
        }
        let retired = Arc::clone(&generation).retire(PATIENCE).await;
        assert!(retired.unmapped, "cycle {cycle}: {retired:?}");
        if cycle == 20 {
            early = footprint();
        }
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("fixture_echo"), "{maps}");
    let (late, mean) = (footprint(), loading / u32::try_from(CYCLES).unwrap());
    assert_eq!(late.descriptors, early.descriptors, "a file descriptor stays open each time");
    let (early, late) = (early.rss_kib, late.rss_kib);
    eprint_figures(&format!("per ready job {per_job} ns, load {mean:?}, RSS {early} to {late} KiB"));
    // About half a KiB each is usual: the allocator's own growth. A static of 6 KiB that is left behind each time fails here.
    assert!(late < early + 4 * CYCLES, "RSS grew from {early} to {late} KiB in {} cycles", CYCLES - 20);
}

#[allow(clippy::print_stderr)] // figures, for whoever runs it with `--nocapture`
fn eprint_figures(text: &str) {
    eprintln!("{text}");
}
