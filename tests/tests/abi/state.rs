//! State across the ABI: what one version tells, another goes on with.

use std::path::Path;
use std::sync::Arc;

use mshost_plugin_api::Retry;
use mshost_plugin_host::{Generation, HandlerError, StateSnapshot};
use mshost_tests::fixtures::fixture;
use mshost_tests::plugin_runner::{FakeHost, PATIENCE, handle, load, on_lane, start};
use serde_json::{Value, json};

const LIMIT: u64 = 10_000;
const KINDS: [&str; 2] = ["CA", "CB"];

async fn counter(name: &str, state: &Path) -> Arc<Generation> {
    load(&fixture(name), state).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn ends_clean(generation: Arc<Generation>) {
    let retired = generation.retire(PATIENCE).await;
    assert!(retired.unmapped && retired.abandoned_threads == 0, "{retired:?}");
}

/// Has a fresh worker count these jobs and tell its state.
async fn told_after(
    generation: &Generation,
    kind: &str,
    config: Value,
    numbers: Vec<u64>,
) -> Result<StateSnapshot, HandlerError> {
    let host = FakeHost::new(kind);
    on_lane(generation, move |lane| async move {
        let instance = start(&lane, config, &host).await.unwrap();
        for number in numbers {
            handle(&instance, &host, &json!(number)).await.unwrap();
        }
        let told = instance.snapshot(LIMIT).await;
        instance.stop().await;
        told
    })
    .await
}

/// Has a fresh worker go on with a state; what it then knows.
async fn gone_on(generation: &Generation, kind: &str, config: Value, from: StateSnapshot) -> Result<f64, HandlerError> {
    let host = FakeHost::new(kind);
    on_lane(generation, move |lane| async move {
        let instance = start(&lane, config, &host).await.unwrap();
        let restored = instance.restore(from).await;
        instance.stop().await;
        restored.map(|()| host.value("count").unwrap())
    })
    .await
}

#[tokio::test]
async fn a_state_goes_from_one_generation_to_the_next_and_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let (first, again, second) = (
        counter("counter", folder.path()).await,
        counter("counter", folder.path()).await,
        counter("counter-2", folder.path()).await,
    );
    assert_eq!(
        first.info().workers.iter().map(|worker| worker.state).collect::<Vec<_>>(),
        [Some(1), Some(1), None, None]
    );
    for kind in KINDS {
        let told = told_after(&first, kind, json!({}), vec![1, 2, 3, u64::MAX]).await.unwrap();
        assert_eq!(told.schema, 1);
        assert_eq!(gone_on(&again, kind, json!({}), told.clone()).await, Ok(4.0), "{kind}");
        assert_eq!(gone_on(&second, kind, json!({}), told).await, Ok(4.0), "{kind} migrated");
        let told = told_after(&second, kind, json!({}), vec![1]).await.unwrap();
        assert_eq!(told.schema, 2);
        let error = gone_on(&first, kind, json!({}), told).await.unwrap_err();
        assert_eq!((error.message.as_str(), error.retry), ("schema 2 is from the future", Retry::Never), "{kind}");
    }
    for generation in [first, again, second] {
        ends_clean(generation).await;
    }
}

#[tokio::test]
async fn both_ends_of_a_handover_may_fail_or_panic_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let generation = counter("counter", folder.path()).await;
    for kind in KINDS {
        for (config, message, panicked) in [
            (json!({"snapshot": "fail"}), "told to fail in snapshot", false),
            (json!({"snapshot": "panic"}), "told to panic in snapshot", true),
            (json!({"snapshot": "large"}), "larger than 10000 bytes (`snapshot_limit`)", false),
        ] {
            let error = told_after(&generation, kind, config, vec![]).await.unwrap_err();
            assert!(error.message.contains(message) && error.panicked == panicked, "{kind}: {error:?}");
        }
        let told = told_after(&generation, kind, json!({}), vec![7]).await.unwrap();
        for (config, message, panicked) in [
            (json!({"restore": "fail"}), "told to fail in restore", false),
            (json!({"restore": "panic"}), "told to panic in restore", true),
        ] {
            let error = gone_on(&generation, kind, config, told.clone()).await.unwrap_err();
            assert!(error.message.contains(message) && error.panicked == panicked, "{kind}: {error:?}");
        }
        let garbage = StateSnapshot { schema: 1, bytes: vec![0xc1; 9] };
        let error = gone_on(&generation, kind, json!({}), garbage).await.unwrap_err();
        assert!(error.message.starts_with("the snapshot does not fit: "), "{kind}: {error}");
    }
    ends_clean(generation).await;
}

#[tokio::test]
async fn a_worker_without_state_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let generation = counter("counter", folder.path()).await;
    let error = told_after(&generation, "CP", json!({}), vec![]).await.unwrap_err();
    assert_eq!(error.message, "the worker keeps no state");
    ends_clean(generation).await;
}
