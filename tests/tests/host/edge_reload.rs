//! The HTTP edge itself, and what keeps the movies, are replaced while clients of every habit are there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, LIMIT, workers};
use mshost_tests::http_clients::HttpClients;
use mshost_tests::http_request::get;
use mshost_tests::movie_example::{self, MovieTopology};
use mshost_tests::wait::until;

const REPLACEMENTS: u32 = 100;

/// Short, so that connections are met idle at every replacement.
const LINGER: Duration = Duration::from_millis(300);

#[test]
fn a_hundred_versions_of_the_edge_cut_no_client_off() {
    let _turn = mshost_tests::heavy::turn();
    let topology = MovieTopology { edge_config: format!("linger = \"{LINGER:?}\""), ..MovieTopology::default() };
    let (mut host, rest) = movie_example::serve(&topology, &[]);
    let library = std::fs::read(fixtures::example("rest")).unwrap();
    let clients = HttpClients { address: rest, linger: LINGER, each: 4, think: Duration::from_millis(5) }.start();
    let mut serving = edge(&host);
    for number in 0..REPLACEMENTS {
        let mut version = library.clone();
        // The loader does not look behind the end of the ELF file.
        version.extend(number.to_le_bytes());
        host.site.plugin_bytes("librest.so", &version);
        serving = host.until_topology("another edge", |_| Some(edge(&host)).filter(|now| *now != serving));
    }
    let answered = clients.answered();
    let tally = clients.stop().unwrap_or_else(|complaints| panic!("{complaints}\n{}", host.log_text()));
    println!(
        "{answered} answers: {} told to close, {} closed idle, {} connections",
        tally.told_to_close, tally.closed_idle, tally.connections
    );
    // Each kind of end was met, or this proves nothing.
    assert!(tally.told_to_close >= u64::from(REPLACEMENTS) && tally.closed_idle > 10, "{tally:?}");
    assert_eq!(added(rest), tally.titles.iter().map(|title| (title.clone(), 1)).collect(), "each movie once");
    assert!(host.stop().success(), "{}", host.log_text());
}

/// Two versions of the database worker, each with its own SQLite, would destroy the file if both used it at a time.
#[test]
fn versions_of_the_database_worker_lose_no_movie() {
    let _turn = mshost_tests::heavy::turn();
    let (mut host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    let library = std::fs::read(fixtures::example("db")).unwrap();
    let clients =
        HttpClients { address: rest, linger: Duration::from_millis(20), each: 4, think: Duration::from_millis(5) }
            .start();
    let mut serving = only(&host, "WB");
    for number in 0..20_u32 {
        let mut version = library.clone();
        version.extend(number.to_le_bytes());
        let answered = clients.answered();
        host.site.plugin_bytes("libdb.so", &version);
        serving =
            host.until_topology("another database worker", |_| Some(only(&host, "WB")).filter(|now| *now != serving));
        until("answers from it", LIMIT, || {
            (clients.answered() > answered + 50 || !clients.are_content()).then_some(())
        });
    }
    let tally = clients.stop().unwrap_or_else(|complaints| panic!("{complaints}\n{}", host.log_text()));
    assert!(tally.titles.len() > 100, "{tally:?}");
    assert_eq!(added(rest), tally.titles.iter().map(|title| (title.clone(), 1)).collect(), "each movie once");
    assert!(host.stop().success(), "{}", host.log_text());
}

/// The id of the worker that is the edge.
fn edge(host: &HostProcess) -> String {
    only(host, "WA")
}

/// The id of the only worker of a type.
fn only(host: &HostProcess, kind: &str) -> String {
    let topology = host.topology();
    let ids: Vec<_> = workers(&topology, kind).filter_map(|worker| worker["id"].as_str()).collect();
    assert_eq!(ids.len(), 1, "{topology:#}");
    ids[0].to_owned()
}

/// The titles of the movies that clients have added, and how often each is there.
fn added(rest: SocketAddr) -> BTreeMap<String, usize> {
    let (mut titles, mut after) = (BTreeMap::new(), 0);
    loop {
        let page = get(rest, &format!("/movies/?after={after}")).unwrap().json();
        let movies = page.as_array().unwrap_or_else(|| panic!("{page}"));
        let Some(last) = movies.last() else { return titles };
        after = last["id"].as_i64().unwrap();
        for title in
            movies.iter().filter_map(|movie| movie["title"].as_str()).filter(|title| title.starts_with("idle "))
        {
            *titles.entry(title.to_owned()).or_default() += 1;
        }
    }
}
