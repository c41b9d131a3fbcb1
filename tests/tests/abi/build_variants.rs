//! Plugins that were built in other ways than the host: by other optimisations, with another allocator, against an older or a
//! newer plugin-api. Whatever the difference, they load, do jobs, and leave the memory.
//!
//! Those that cost a build of all dependencies are run by `make variants` alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mshost_plugin_api::{Address, Codec, Retry, SendError};
use mshost_plugin_host::{HandlerError, SendOutcome};
use mshost_tests::fixtures::{Build, echo_of_another_api, fixture, fixture_built, released_echo};
use mshost_tests::plugin_runner::{FakeHost, PATIENCE, handle, header, job_id, load, on_lane, start};
use serde_json::json;

/// All that crosses between a host and a plugin, once: jobs of every codec, errors, panics, sends at once and later, what is
/// forwarded, cancelled, measured and reported, and the end.
async fn works(file: &Path) {
    let state = tempfile::tempdir().unwrap();
    let generation = load(file, state.path()).await.unwrap_or_else(|error| panic!("{error}"));
    for kind in ["EC", "EB"] {
        for codec in Codec::ALL {
            let host = FakeHost::with_codec(kind, codec);
            let inner = Arc::clone(&host);
            on_lane(&generation, move |lane| async move {
                let host = inner;
                let config = json!({"start": "spawn", "tell_stop": true});
                let instance = start(&lane, config, &host).await.unwrap();
                let order = async |order: serde_json::Value| handle(&instance, &host, &order).await;
                assert_eq!(order(json!({"do": "ok"})).await, Ok(()));
                let failed =
                    |message: &str, retry| Err(HandlerError { message: message.into(), retry, panicked: false });
                assert_eq!(order(json!({"do": "fail"})).await, failed("told to fail", Retry::Later));
                assert_eq!(order(json!({"do": "fail_for_good"})).await, failed("told to fail for good", Retry::Never));
                for panic in ["panic", "panic_payload"] {
                    let error = order(json!({"do": panic})).await.unwrap_err();
                    assert!(error.panicked && error.message.contains("src/lib.rs:"), "{error}");
                }
                assert_eq!(order(json!({"do": "forward"})).await, Ok(()));
                let no_worker = SendError::NoWorker(Address::new("WB:*").unwrap());
                let refused = no_worker.clone();
                host.answer(move |_| SendOutcome::Done(Err(refused.clone())));
                let sent = order(json!({"do": "send", "to": ["WB:*"]})).await;
                assert_eq!(sent, failed(&no_worker.to_string(), Retry::Never));
                host.answer(|_| {
                    SendOutcome::Pending(Box::pin(async {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        Ok(job_id("J1460306476109"))
                    }))
                });
                assert_eq!(order(json!({"do": "send", "to": ["WB:*"]})).await, Ok(()));
                assert_eq!(order(json!({"do": "listen"})).await, Ok(()));
                assert_eq!(order(json!({"do": "time"})).await, Ok(()));
                assert_eq!(order(json!({"do": "log"})).await, Ok(()));
                host.until("background", 1.0).await;
                instance.drain().await;
                instance.stop().await;
            })
            .await;
            let routes: Vec<_> =
                host.sent().iter().map(|sent| (sent.route.addresses().len(), sent.route.position())).collect();
            assert_eq!(routes, [(header().route.addresses().len(), 1), (1, 0), (1, 0)], "{kind} {codec}");
            assert_eq!(host.value("stopped"), Some(1.0), "{kind} {codec}");
            assert_eq!(host.value("port"), Some(f64::from(host.port())), "{kind} {codec}");
            assert_eq!(host.observed(), ["db_operation"], "{kind} {codec}");
        }
    }
    let retired = generation.retire(PATIENCE).await;
    assert!(retired.unmapped && retired.abandoned_threads == 0, "{retired:?}");
}

#[tokio::test]
async fn a_plugin_of_the_first_plugin_api() {
    works(&released_echo("0.1.0")).await;
}

/// What such a plugin would ask of its host has a default, and what it has more to give is not asked for.
#[tokio::test]
async fn a_plugin_of_a_newer_plugin_api_with_more_methods() {
    let file = echo_of_another_api("newer", "0.1.99", |traits| {
        let mut traits = traits.to_owned();
        for name in ["Host", "Services", "Scope", "Plugin", "AsyncInstance", "BlockingInstance"] {
            let begin = traits.find(&format!("pub trait {name}:")).unwrap();
            let end = begin + traits[begin..].find("\n}").unwrap();
            traits.insert_str(end, "\n    /// Of the future.\n    fn of_the_future(&self) -> u64 {\n        7\n    }");
        }
        traits
    });
    works(&file).await;
}

#[tokio::test]
async fn a_plugin_with_an_allocator_that_notices_memory_of_others() {
    works(&fixture("other-allocator")).await;
}

macro_rules! expensive {
    ($($name:ident: $how:expr),+ $(,)?) => {
        $(
            #[tokio::test]
            #[ignore = "builds all dependencies anew: make variants"]
            async fn $name() {
                works(&fixture_built("echo", $how)).await;
            }
        )+
    };
}

expensive! {
    a_plugin_of_another_optimisation: Build::Optimised,
    a_plugin_whose_fields_are_ordered_at_random: Build::RandomLayout,
    a_plugin_of_little_optimisation_without_debug_assertions: Build::LittleOptimised,
    a_plugin_with_fat_lto_in_one_unit_and_stripped: Build::Lto,
}
