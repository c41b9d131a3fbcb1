//! The movie loop on the embedded bus, against a bare hyper server that returns the same bytes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use mshost_tests::baseline::http;
use mshost_tests::bench_table::Table;
use mshost_tests::load::HttpLoad;

use crate::host::BenchHost;
use crate::turns::compare;
use crate::{BenchResult, PATH, summary};

pub async fn figures(table: &mut Table, each: Duration) -> BenchResult {
    let host = BenchHost::start("embedded").await?;
    let bare = bare_server(host.get(PATH).await?.into())?;
    for connections in [1, 64] {
        let load = async |address, turn| Ok(summary(&HttpLoad::new(address, PATH, connections).run_for(turn).await));
        let what = format!("movie loop, embedded bus, {connections} connections");
        let (ours, baseline) = (async |turn| load(host.http, turn).await, async |turn| load(bare, turn).await);
        compare(table, &what, "requests/s", each, ours, baseline).await?;
    }
    Ok(())
}

/// On a runtime of its own, as the host is; it ends with the process.
fn bare_server(body: Bytes) -> BenchResult<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async { http::serve(tokio::net::TcpListener::from_std(listener)?, body).await })
    });
    Ok(address)
}
