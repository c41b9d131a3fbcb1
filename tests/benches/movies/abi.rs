//! A job across the ABI and back, against reading the same data without a plugin.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use mshost_plugin_api::{Codec, Payload};
use mshost_tests::bench_table::Table;
use mshost_tests::plugin_runner::{FakeHost, header, load, on_lane, start};
use serde::Deserialize;
use serde_json::json;

use crate::BenchResult;

const CALLS: u32 = 200_000;

/// What the fixture's handler reads its data as, in the part that is used here.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum BenchOrder {
    Ok,
}

pub async fn figures(table: &mut Table) -> BenchResult {
    let copies = tempfile::tempdir()?;
    // Builds it with cargo, which blocks.
    let file = tokio::task::spawn_blocking(|| mshost_tests::fixtures::fixture("echo")).await?;
    let generation = load(&file, copies.path()).await?;
    let payload = Payload::encode(Codec::MsgPack, &json!({"do": "ok"}))?;

    let (job, host) = (payload.clone(), FakeHost::new("EC"));
    let ours = on_lane(&generation, move |lane| async move {
        let instance = start(&lane, json!({}), &host).await.map_err(|error| error.message)?;
        let header = Arc::new(header());
        let began = Instant::now();
        for _ in 0..CALLS {
            instance.handle(Arc::clone(&header), job.clone()).await.map_err(|error| error.message)?;
        }
        let took = began.elapsed();
        instance.stop().await;
        Ok::<_, String>(took)
    })
    .await?;

    let began = Instant::now();
    for _ in 0..CALLS {
        let BenchOrder::Ok = black_box(&payload).decode()?;
    }
    let baseline = began.elapsed();
    let each = |time: std::time::Duration| time.as_nanos() as f64 / f64::from(CALLS);
    table.row("ABI: a ready job, its data read", Some(each(ours)), Some(each(baseline)), "ns");
    Ok(())
}
