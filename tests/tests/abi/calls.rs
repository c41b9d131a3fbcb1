//! Calls across the ABI: what an author's code does arrives in the host as it should, panics included.

use std::sync::Arc;
use std::time::Duration;

use mshost_bus::Failure;
use mshost_plugin_api::{Address, Codec, Payload, Retry, SendError};
use mshost_plugin_host::{Generation, HandlerError, SendOutcome};
use mshost_tests::fixtures::fixture;
use mshost_tests::plugin_runner::{FakeHost, PATIENCE, handle, header, job_id, load, on_lane, start, worker};
use serde_json::{Value, json};

struct LoadedFixture {
    generation: Arc<Generation>,
    _state: tempfile::TempDir,
}

async fn echo() -> LoadedFixture {
    let state = tempfile::tempdir().unwrap();
    let generation = load(&fixture("echo"), state.path()).await.unwrap_or_else(|error| panic!("{error}"));
    LoadedFixture { generation, _state: state }
}

impl LoadedFixture {
    /// Starts a worker, has it do one job, and stops it.
    async fn one_job(&self, host: &Arc<FakeHost>, order: Value) -> Result<(), HandlerError> {
        let host = Arc::clone(host);
        on_lane(&self.generation, move |lane| async move {
            let instance = start(&lane, json!({}), &host).await.unwrap();
            let result = handle(&instance, &host, &order).await;
            instance.stop().await;
            result
        })
        .await
    }

    /// Retires it; all tests end like this, so that each shows that what it did leaves nothing behind.
    async fn ends_clean(self) {
        let retired = self.generation.retire(PATIENCE).await;
        assert!(retired.unmapped && retired.abandoned_threads == 0, "{retired:?}");
    }
}

fn failure(message: &str, retry: Retry, panicked: bool) -> Result<(), HandlerError> {
    Err(HandlerError { message: message.to_owned(), retry, panicked })
}

#[tokio::test]
async fn both_kinds_of_workers_do_jobs_in_every_codec() {
    let loaded = echo().await;
    for kind in ["EC", "EB"] {
        for codec in Codec::ALL {
            let host = FakeHost::with_codec(kind, codec);
            assert_eq!(loaded.one_job(&host, json!({"do": "ok"})).await, Ok(()), "{kind} {codec}");
        }
    }
    loaded.ends_clean().await;
}

#[tokio::test]
async fn errors_keep_their_words_and_whether_they_may_pass() {
    let loaded = echo().await;
    for kind in ["EC", "EB"] {
        let host = FakeHost::new(kind);
        let result = loaded.one_job(&host, json!({"do": "fail"})).await;
        assert_eq!(result, failure("told to fail", Retry::Later, false));
        let result = loaded.one_job(&host, json!({"do": "fail_for_good"})).await;
        assert_eq!(result, failure("told to fail for good", Retry::Never, false));
        let error = loaded.one_job(&host, json!({"what": "is this"})).await.unwrap_err();
        assert_eq!((error.retry, error.panicked), (Retry::Never, false), "{error}");
        assert!(error.message.contains("missing field `do`"), "{error}");
    }
    loaded.ends_clean().await;
}

#[tokio::test]
async fn a_panic_anywhere_is_an_error_with_its_place_and_the_worker_goes_on() {
    let loaded = echo().await;
    for kind in ["EC", "EB"] {
        let host = FakeHost::new(kind);
        let inner = Arc::clone(&host);
        on_lane(&loaded.generation, move |lane| async move {
            let instance = start(&lane, json!({}), &inner).await.unwrap();
            for order in ["panic", "panic_payload", "panic_twice"] {
                if (kind, order) == ("EB", "panic_twice") {
                    continue;
                }
                let error = handle(&instance, &inner, &json!({"do": order})).await.unwrap_err();
                assert!(error.panicked, "{kind} {order}: {error}");
                assert!(error.message.contains("tests/fixtures/echo/src/lib.rs:"), "{kind} {order}: {error}");
            }
            assert_eq!(handle(&instance, &inner, &json!({"do": "ok"})).await, Ok(()));
            instance.stop().await;
        })
        .await;
    }
    loaded.ends_clean().await;
}

#[tokio::test]
async fn a_start_that_fails_or_panics_or_gets_the_wrong_configuration_says_so() {
    let loaded = echo().await;
    for kind in ["EC", "EB"] {
        let host = FakeHost::new(kind);
        for (config, message, panicked) in [
            (json!({"start": "fail"}), "told to fail", false),
            (json!({"start": "panic"}), "told to panic", true),
            (json!({"strat": "well"}), "`worker.config` does not fit: unknown field `strat`", false),
        ] {
            let host = Arc::clone(&host);
            let started =
                on_lane(&loaded.generation, move |lane| async move { start(&lane, config, &host).await.map(drop) });
            let error = started.await.unwrap_err();
            assert!(error.message.contains(message) && error.panicked == panicked, "{kind}: {error:?}");
        }
    }
    let host = FakeHost::new("XX");
    let started =
        on_lane(&loaded.generation, move |lane| async move { start(&lane, json!({}), &host).await.map(drop) });
    assert_eq!(started.await.unwrap_err().message, "plugin mshost-fixture-echo has no worker XX");
    loaded.ends_clean().await;
}

#[tokio::test]
async fn what_is_sent_in_a_job_names_it_as_its_parent_and_what_is_forwarded_goes_one_on() {
    let loaded = echo().await;
    for kind in ["EC", "EB"] {
        let host = FakeHost::new(kind);
        assert_eq!(loaded.one_job(&host, json!({"do": "send", "to": ["WB", "WA:1460306476102"]})).await, Ok(()));
        assert_eq!(loaded.one_job(&host, json!({"do": "forward"})).await, Ok(()));
        let sent = host.sent();
        let routes: Vec<_> = sent.iter().map(|sent| (sent.route.addresses(), sent.route.position())).collect();
        let there = [Address::new("WB:*").unwrap(), Address::new("WA:1460306476102").unwrap()];
        assert_eq!(routes, [(&there[..], 0), (header().route.addresses(), 1)]);
        assert!(sent.iter().all(|sent| sent.parent.as_ref().is_some_and(|parent| parent.id == header().id)));
        assert_eq!(sent[0].payload.decode::<String>().unwrap(), "sent");
    }
    loaded.ends_clean().await;
}

#[tokio::test]
async fn a_task_that_an_author_spawned_can_send_too() {
    let loaded = echo().await;
    let host = FakeHost::new("EC");
    assert_eq!(loaded.one_job(&host, json!({"do": "spawn_send", "to": ["WB:*"]})).await, Ok(()));
    assert_eq!(host.sent().len(), 1);
    loaded.ends_clean().await;
}

#[tokio::test]
async fn a_refused_send_is_the_same_error_on_both_sides() {
    let loaded = echo().await;
    for kind in ["EC", "EB"] {
        for (error, retry) in [
            (SendError::NoWorker(Address::new("WB:*").unwrap()), Retry::Never),
            (SendError::TooLarge { size: 5, limit: 4 }, Retry::Never),
            (SendError::EndOfRoute(Address::new("WB:1460306476102").unwrap()), Retry::Never),
            (SendError::Unavailable("the broker is away".to_owned()), Retry::Later),
        ] {
            let host = FakeHost::new(kind);
            let answer = error.clone();
            host.answer(move |_| SendOutcome::Done(Err(answer.clone())));
            let result = loaded.one_job(&host, json!({"do": "send", "to": ["WB:*"]})).await;
            assert_eq!(result, failure(&error.to_string(), retry, false));
        }
    }
    loaded.ends_clean().await;
}

#[tokio::test]
async fn a_send_that_waits_is_driven_by_the_lane_and_ends_with_the_bus() {
    let loaded = echo().await;
    for (kind, order) in [("EC", "send"), ("EC", "spawn_send"), ("EB", "send")] {
        let host = FakeHost::new(kind);
        // The bus answers from a thread that is none of the generation's, as a broker's connection does.
        host.answer(|_| {
            let (done, answer) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || {
                // Long enough that the caller waits; nothing depends on how long.
                std::thread::park_timeout(Duration::from_millis(20));
                done.send(Ok(job_id("J1460306476109")))
            });
            SendOutcome::Pending(Box::pin(async move { answer.await.unwrap() }))
        });
        assert_eq!(loaded.one_job(&host, json!({"do": order, "to": ["WB:*"]})).await, Ok(()), "{kind} {order}");
    }
    loaded.ends_clean().await;
}

#[tokio::test]
async fn a_blocking_send_in_an_async_handler_is_refused_and_does_not_hang() {
    let loaded = echo().await;
    let host = FakeHost::new("EC");
    host.answer(|_| SendOutcome::Pending(Box::pin(std::future::pending())));
    let error = loaded.one_job(&host, json!({"do": "blocking_send", "to": ["WB:*"]})).await.unwrap_err();
    assert!(error.message.contains("use `send(…).await`"), "{error}");
    loaded.ends_clean().await;
}

#[tokio::test]
async fn a_dropped_future_cancels_the_handler_where_it_is() {
    let loaded = echo().await;
    let host = FakeHost::new("EC");
    let inner = Arc::clone(&host);
    on_lane(&loaded.generation, move |lane| async move {
        let instance = start(&lane, json!({}), &inner).await.unwrap();
        let running = handle(&instance, &inner, &json!({"do": "sleep", "ms": 60_000}));
        let mut running = Box::pin(running);
        tokio::select! {
            result = &mut running => panic!("it ended: {result:?}"),
            () = inner.until("sleeping", 1.0) => {}
        }
        drop(running);
        assert_eq!(inner.value("sleeping"), Some(3.0));
        instance.stop().await;
    })
    .await;
    loaded.ends_clean().await;
}

#[tokio::test]
async fn blocking_jobs_overlap_up_to_their_concurrency() {
    let loaded = echo().await;
    let host = FakeHost::new("EB");
    let inner = Arc::clone(&host);
    let took = on_lane(&loaded.generation, move |lane| async move {
        let instance = start(&lane, json!({}), &inner).await.unwrap();
        let begun = std::time::Instant::now();
        let jobs = (0..4).map(|_| handle(&instance, &inner, &json!({"do": "block", "ms": 500})));
        for result in futures::future::join_all(jobs).await {
            assert_eq!(result, Ok(()));
        }
        let took = begun.elapsed();
        instance.stop().await;
        took
    })
    .await;
    // The harness starts it with a concurrency of 2: two rounds at least, and less than the four that one thread takes.
    assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&took), "{took:?}");
    loaded.ends_clean().await;
}

#[tokio::test]
async fn an_abandoned_blocking_handler_is_counted_replaced_and_keeps_the_library() {
    let loaded = echo().await;
    let host = FakeHost::new("EB");
    let inner = Arc::clone(&host);
    on_lane(&loaded.generation, move |lane| async move {
        let instance = start(&lane, json!({}), &inner).await.unwrap();
        for _ in 0..3 {
            let overrun = handle(&instance, &inner, &json!({"do": "sleep", "ms": 3_000}));
            assert!(tokio::time::timeout(Duration::from_millis(50), overrun).await.is_err());
        }
        // All of its two threads are taken, and yet:
        assert_eq!(handle(&instance, &inner, &json!({"do": "ok"})).await, Ok(()));
    })
    .await;
    let LoadedFixture { generation, _state } = loaded;
    let retired = generation.retire(Duration::from_millis(200)).await;
    assert_eq!((retired.unmapped, retired.abandoned_threads), (false, 3));
    // The code is still there for the threads to return to.
    host.until("sleeping", 2.0).await;
}

#[tokio::test]
async fn a_failed_job_is_heard_of_with_its_data() {
    let loaded = echo().await;
    for kind in ["EC", "EB"] {
        let host = FakeHost::new(kind);
        let inner = Arc::clone(&host);
        on_lane(&loaded.generation, move |lane| async move {
            let instance = start(&lane, json!({}), &inner).await.unwrap();
            let failure = Failure {
                target: worker("WA:1460306476102"),
                error: "no worker available for WB:*".to_owned(),
                id: job_id("J1460306476102"),
                correlation: job_id("J1460306476102"),
                reporter: Some(worker("WB:1460306476102")),
                payload: Some(Payload::encode(Codec::MsgPack, &json!({"do": "ok"})).unwrap()),
            };
            instance.on_error(failure).await;
            instance.stop().await;
        })
        .await;
        assert_eq!(host.value("errors"), Some(1.0), "{kind}");
    }
    loaded.ends_clean().await;
}

#[tokio::test]
async fn drain_stop_sockets_measurements_and_spawned_tasks_reach_the_host() {
    let loaded = echo().await;
    let host = FakeHost::new("EC");
    let inner = Arc::clone(&host);
    on_lane(&loaded.generation, move |lane| async move {
        let instance = start(&lane, json!({"start": "spawn", "tell_stop": true}), &inner).await.unwrap();
        assert_eq!(handle(&instance, &inner, &json!({"do": "listen"})).await, Ok(()));
        assert_eq!(handle(&instance, &inner, &json!({"do": "time"})).await, Ok(()));
        let waiting = handle(&instance, &inner, &json!({"do": "await_shutdown"}));
        let (result, ()) = futures::future::join(waiting, async {
            tokio::task::yield_now().await;
            instance.drain().await;
        })
        .await;
        assert_eq!(result, Ok(()));
        inner.until("background", 1.0).await;
        instance.stop().await;
    })
    .await;
    assert_eq!((host.value("stopped"), host.value("port")), (Some(1.0), Some(f64::from(host.port()))));
    assert_eq!(host.observed(), ["db_operation"]);
    // The task that `start` spawned is aborted with the instance; an abort takes effect at its next poll.
    while host.next_change(Duration::from_millis(100)).await {}
    loaded.ends_clean().await;
}

#[tokio::test]
async fn tasks_that_do_not_end_are_dropped_at_the_limit_and_nothing_stays() {
    let loaded = echo().await;
    let host = FakeHost::new("EC");
    let inner = Arc::clone(&host);
    let task = loaded.generation.spawn(move |lane| async move {
        let instance = start(&lane, json!({}), &inner).await.unwrap();
        let _ = handle(&instance, &inner, &json!({"do": "sleep", "ms": 60_000})).await;
    });
    host.until("sleeping", 1.0).await;
    let LoadedFixture { generation, _state } = loaded;
    let retired = generation.retire(Duration::from_millis(50)).await;
    assert!(retired.unmapped && retired.abandoned_threads == 0, "{retired:?}");
    assert_eq!(task.await.unwrap_err().to_string(), "the plugin's generation is retired");
    assert_eq!(host.value("sleeping"), Some(3.0));
}

#[tokio::test]
async fn a_task_of_the_host_that_panics_on_a_lane_is_told_and_the_lane_goes_on() {
    let loaded = echo().await;
    let task = loaded.generation.spawn(|_| async { panic!("by mistake") });
    assert_eq!(task.await.unwrap_err().to_string(), "the worker's task panicked: by mistake");
    assert_eq!(loaded.one_job(&FakeHost::new("EC"), json!({"do": "ok"})).await, Ok(()));
    loaded.ends_clean().await;
}

#[tokio::test]
async fn two_versions_of_one_file_run_side_by_side() {
    let (one, two) = (echo().await, echo().await);
    let host = FakeHost::new("EC");
    assert_eq!(one.one_job(&host, json!({"do": "ok"})).await, Ok(()));
    one.ends_clean().await;
    assert_eq!(two.one_job(&host, json!({"do": "ok"})).await, Ok(()));
    two.ends_clean().await;
    assert!(fixture("echo").exists());
}
