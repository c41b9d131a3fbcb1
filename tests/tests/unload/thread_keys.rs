//! A plugin that is unloaded gives back its key for thread-locals.

use std::sync::Arc;

use mshost_core::ids::{GenerationId, PluginName};
use mshost_core::metrics::Metrics;
use mshost_plugin_host::{Generation, LoadOptions, ShadowCopy, free_thread_keys};
use mshost_tests::fixtures::fixture;
use mshost_tests::plugin_runner::{FakeHost, PATIENCE, handle, on_lane, start};
use serde_json::json;

const CYCLES: u64 = 12;

#[tokio::test]
async fn a_plugin_that_logs_nothing_gives_its_key_back() {
    let _alone = super::whole_process().await;
    let state = tempfile::tempdir().unwrap();
    let file = fixture("echo");
    let options = LoadOptions::new(Metrics::new().unwrap());
    let mut free = Vec::new();
    for cycle in 0..CYCLES {
        let shadow = ShadowCopy::make(&file, state.path()).unwrap();
        let generation =
            Generation::load(GenerationId(cycle), PluginName::new("echo"), shadow, options.clone()).await.unwrap();
        for kind in ["EC", "EB"] {
            let host = FakeHost::new(kind);
            on_lane(&generation, move |lane| async move {
                let instance = start(&lane, json!({}), &host).await.unwrap();
                assert_eq!(handle(&instance, &host, &json!({"do": "ok"})).await, Ok(()));
                instance.stop().await;
            })
            .await;
        }
        let retired = Arc::clone(&generation).retire(PATIENCE).await;
        assert!(retired.unmapped, "cycle {cycle}: {retired:?}");
        free.push(free_thread_keys());
    }
    // The host itself may take some in the first cycle.
    assert_eq!(free[1], free[free.len() - 1], "each cycle keeps a key: {free:?}");
    let counted = options.metrics.thread_keys_free.get();
    assert_eq!(usize::try_from(counted).unwrap(), free[free.len() - 2]);
    assert!(counted > 0, "{free:?}");
}
