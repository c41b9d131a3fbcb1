//! A hop to a worker in a process of its own and back, against the same hop within the host.

use mshost_tests::bench_table::Table;
use mshost_tests::socket_hop::{SocketHops, measure};

use crate::BenchResult;

pub async fn figures(table: &mut Table) -> BenchResult {
    for (in_flight, jobs) in [(1, 20_000), (64, 200_000), (512, 200_000)] {
        // It brings its own runtimes.
        let SocketHops { in_host, over_socket } = tokio::task::spawn_blocking(move || measure(jobs, in_flight)).await?;
        table.row(format!("hop to a process and back, {in_flight} in flight"), Some(over_socket), Some(in_host), "ns");
    }
    Ok(())
}
