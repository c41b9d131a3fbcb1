//! The dead letters of an embedded bus whose host is down: in its journal.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use mshost_tests::host_process::{HostProcess, HostSite, LIMIT, workers};
use mshost_tests::wait::until;
use nix::pty::openpty;

use super::support::{FailingJobsHost, JOURNALED, PIPELINES, command, mshost, topology};

/// A host with dead letters in its journal, which was stopped. One that is killed may not have written the last of them: its
/// job comes again.
fn stopped() -> FailingJobsHost {
    let mut failing = FailingJobsHost::with_dead_letters(JOURNALED);
    assert!(failing.host.stop().success(), "{}", failing.host.log_text());
    failing
}

#[test]
fn sent_again_from_the_journal_of_a_host_that_is_down() {
    let mut failing = stopped();
    let table = failing.letters(&["list"]).succeeded();
    assert_eq!(table.lines().filter(|line| line.contains("HA:*") && line.contains("failed")).count(), 3, "{table}");
    let ids = failing.ids();
    assert!(failing.letters(&["show", &ids[0]]).succeeded().contains("told to"));
    assert_eq!(failing.letters(&["requeue", &ids[0]]).succeeded(), format!("{}: sent again\n", ids[0]));
    assert_eq!(failing.ids(), ids[1..]);
    let sent = failing.letters(&["requeue", "--all", "--type", "HA"]).succeeded();
    assert_eq!(sent.lines().count(), 2, "{sent}");
    let empty = failing.letters(&["list"]);
    assert!(empty.succeeded().is_empty(), "{}", empty.out);
    assert!(
        empty.err.contains("no dead letters on the journal in ") && empty.err.contains("state/bus"),
        "{}",
        empty.err
    );

    let site = &failing.host.site;
    let stages = [("HG", "count = 3\nin_flight = 1"), ("HA", ""), ("HB", ""), ("HC", "")];
    // A stage may start before the next one does.
    site.topology(&topology(site, JOURNALED, &stages).replace("max_attempts = 1", "max_attempts = 20"));
    failing.host.restart(&[]);
    failing.host.until_topology("the pipelines to end", |topology| {
        let done: u64 = workers(topology, "HC").filter_map(|worker| worker["done"].as_u64()).sum();
        (done >= PIPELINES && topology["bus"]["dead_letters"] == 0).then_some(())
    });
}

#[test]
fn forgotten_in_the_journal_of_a_host_that_is_down() {
    let mut failing = stopped();
    assert_eq!(failing.letters(&["purge", "--yes"]).succeeded(), "3 dead letters forgotten\n");
    assert!(failing.ids().is_empty());
    failing.host.restart(&[]);
    failing.until_dead(0);
}

/// The journal is closed while somebody thinks.
#[test]
fn a_host_can_start_while_somebody_is_asked() {
    let mut failing = stopped();
    let terminal = openpty(None, None).unwrap();
    let mut asking = command(&failing.host.site, &["purge"]);
    let mut asking =
        asking.stdin(File::from(terminal.slave)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = asking.stderr.take().unwrap();
    let mut question = String::new();
    while !question.contains("[y/N]") {
        let mut byte = [0];
        stderr.read_exact(&mut byte).unwrap();
        question.push(char::from(byte[0]));
    }
    assert!(question.contains("Forget all 3 dead letters on the journal in "), "{question}");
    failing.host.restart(&[]);
    File::from(terminal.master.try_clone().unwrap()).write_all(b"y\n").unwrap();
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(asking.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains(&format!("process {} (mshost) has it open", failing.host.pid())), "{said}");
    failing.until_dead(PIPELINES);
}

#[test]
fn a_host_that_runs_keeps_its_journal_to_itself() {
    let failing = FailingJobsHost::with_dead_letters(JOURNALED);
    let holder = format!("process {} (mshost) has it open; stop that host, or ask it with", failing.host.pid());
    for question in [&["list"][..], &["purge", "--yes"], &["requeue", "--all"]] {
        // The topology does not say where the host's admin server is.
        let said = mshost(&failing.host.site, question).failed();
        for words in ["state/bus/journal.sqlite", &holder, "`--admin HOST:PORT`", "any free port"] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    failing.until_dead(PIPELINES);
    let asked = mshost(&failing.host.site, &["list", "--admin", &failing.host.admin().to_string()]);
    assert_eq!(asked.succeeded().lines().count(), 4);
}

/// A second host on one journal ends with the same words.
#[test]
fn a_second_host_on_the_journal_hears_who_has_it() {
    let failing = FailingJobsHost::with_dead_letters(JOURNALED);
    let output = std::process::Command::new(mshost_tests::fixtures::mshost_binary())
        .current_dir(failing.host.site.path())
        .env_remove("BROKER_URL")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let holder = format!("process {} (mshost) has it open; stop that host", failing.host.pid());
    assert!(!output.status.success() && said.contains(&holder), "{said}");
}

#[test]
fn where_there_is_no_journal_none_is_made() {
    let site = HostSite::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for admin in [nobody.to_string(), "127.0.0.1:0".to_owned(), "off".to_owned()] {
        site.topology(&format!("[host]\nadmin = \"{admin}\"\n[bus]\njournal = \"state/bus\""));
        for question in [&["list"][..], &["purge", "--yes"], &["requeue", "J1"]] {
            let said = mshost(&site, question).failed();
            assert!(said.contains("state/bus/journal.sqlite: there is none"), "{said}");
            assert!(!site.path().join("state").exists(), "{question:?}");
        }
    }
}

/// A host whose admin server can be found is asked, whatever its journal.
#[test]
fn a_host_that_runs_is_asked_by_its_topology() {
    let site = HostSite::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site.topology(&format!("[host]\nadmin = \"{port}\"\n[bus]\njournal = \"state/bus\""));
    let mut host = HostProcess::start(site, &[]);
    let said = mshost(&host.site, &["list"]);
    assert!(said.succeeded().is_empty() && said.err.contains("no dead letters on the host at"), "{}", said.err);
    assert!(host.stop().success());
    let said = until("the journal to be free", LIMIT, || {
        let said = mshost(&host.site, &["list"]);
        (said.code == Some(0)).then_some(said)
    });
    assert!(said.err.contains("no dead letters on the journal in"), "{}", said.err);
}
