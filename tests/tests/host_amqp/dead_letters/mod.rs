//! `mshost dead-letters`, as an operator uses it: jobs fail, are looked at, and are sent again once their cause is gone.

mod journal;
mod malformed;
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use mshost_tests::broker::Broker;
use mshost_tests::host_process::{HostSite, LIMIT, workers};
use mshost_tests::wait::until;
use nix::pty::openpty;
use serde_json::{Value, json};

use self::support::{FailingJobsHost, PIPELINES, command, mshost, topology};

fn dead_letters_are_seen_and_sent_again(bus: &str) {
    let failing = FailingJobsHost::with_dead_letters(bus);
    assert!(failing.host.ask("/metrics").body.contains("\nmshost_dead_letters 3\n"));

    let table = failing.letters(&["list"]).succeeded();
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("ID") && lines[0].ends_with("ERROR"), "{table}");
    assert_eq!(lines.iter().filter(|line| line.contains("HA:*") && line.contains("failed")).count(), 3, "{table}");
    let first = failing.letters(&["list", "--limit", "1", "--type", "HA", "--reason", "failed"]);
    assert_eq!(first.succeeded().lines().count(), 2);
    assert!(first.err.contains("the oldest 1 of 3"), "{}", first.err);
    let none = failing.letters(&["list", "--type", "HB"]);
    assert!(none.succeeded().is_empty() && none.err.contains("none of 3"), "{}", none.err);

    let ids = failing.ids();
    assert_eq!(ids.len(), 3);
    let shown = failing.letters(&["show", &ids[0]]).succeeded();
    for words in [&*ids[0], "told to", "[HA:*] → HB:* → HC:*", "tried by    HA:", "sender      HG:", "\"pipeline\": "]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let data: Value = serde_json::from_str(&failing.letters(&["show", &ids[0], "--raw"]).succeeded()).unwrap();
    let json: Value = serde_json::from_str(&failing.letters(&["show", &ids[0], "--json"]).succeeded()).unwrap();
    assert_eq!((&json["letters"][0]["job"]["data"], &json["letters"][0]["job"]["attempts"]), (&data, &json!(1)));

    // Too early: it fails again, and is the youngest now.
    let said = failing.letters(&["requeue", &ids[0], &ids[0], "nobody"]);
    let problems = said.failed();
    assert_eq!(said.out, format!("{}: sent again\n", ids[0]));
    assert!(
        problems.contains("nobody: no dead letter has this id") && problems.contains("1 sent again, 1 not"),
        "{problems}"
    );
    let again = [&ids[1..], &ids[..1]].concat();
    until("the job to fail again", LIMIT, || (failing.ids() == again).then_some(()));

    failing.repair();
    let sent = failing.letters(&["requeue", "--all", "--type", "HA"]).succeeded();
    assert_eq!(sent.lines().filter(|line| line.ends_with(": sent again")).count(), 3, "{sent}");
    failing.host.until_topology("the pipelines to end", |topology| {
        let done: u64 = workers(topology, "HC").filter_map(|worker| worker["done"].as_u64()).sum();
        (done == PIPELINES && topology["bus"]["dead_letters"] == 0).then_some(())
    });
    let empty = failing.letters(&["list"]);
    assert!(empty.succeeded().is_empty() && empty.err.contains("no dead letters on"), "{}", empty.err);
    assert!(failing.letters(&["show", &ids[0]]).failed().contains("mshost dead-letters list"));
    assert_eq!(failing.letters(&["requeue", "--all"]).succeeded(), "nothing to send again\n");
}

fn dead_letters_are_forgotten_once_somebody_says_so_twice(bus: &str) {
    let mut failing = FailingJobsHost::with_dead_letters(bus);
    assert!(failing.letters(&["purge"]).failed().contains("`--yes`"));
    let (asked, code) = at_a_terminal(&failing, "n\n");
    assert!(asked.contains("Forget all 3 dead letters on ") && code == Some(1), "{code:?} {asked}");
    assert_eq!(failing.ids().len(), 3);
    if bus != "embedded" {
        assert!(failing.host.stop().success(), "a broker is asked without a host");
        assert_eq!(failing.ids().len(), 3);
    }
    let (_, code) = at_a_terminal(&failing, "yes\n");
    assert_eq!((code, failing.ids().len()), (Some(0), 0));
    assert_eq!(failing.letters(&["purge", "--yes"]).succeeded(), "0 dead letters forgotten\n");
}

/// `mshost dead-letters purge`, with somebody who answers; what was asked, and the exit code.
fn at_a_terminal(failing: &FailingJobsHost, answer: &str) -> (String, Option<i32>) {
    let terminal = openpty(None, None).unwrap();
    let [option, value] = &failing.reach;
    let mut command = command(&failing.host.site, &["purge", option, value]);
    let mut child =
        command.stdin(File::from(terminal.slave)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    File::from(terminal.master.try_clone().unwrap()).write_all(answer.as_bytes()).unwrap();
    let mut asked = String::new();
    child.stderr.take().unwrap().read_to_string(&mut asked).unwrap();
    (asked, child.wait().unwrap().code())
}

#[test]
fn sent_again_on_the_embedded_bus() {
    dead_letters_are_seen_and_sent_again("embedded");
}

#[test]
fn sent_again_on_rabbitmq() {
    dead_letters_are_seen_and_sent_again(&Broker::shared().url_of("sent-again"));
}

#[test]
fn forgotten_on_the_embedded_bus() {
    dead_letters_are_forgotten_once_somebody_says_so_twice("embedded");
}

#[test]
fn forgotten_on_rabbitmq() {
    dead_letters_are_forgotten_once_somebody_says_so_twice(&Broker::shared().url_of("forgotten"));
}

#[test]
fn what_nobody_can_do_stays_a_dead_letter() {
    let failing = FailingJobsHost::with_dead_letters("embedded");
    let site = &failing.host.site;
    site.topology(&topology(site, "embedded", &[("HG", "count = 3\nin_flight = 1")]));
    failing.host.until_topology("no HA", |topology| workers(topology, "HA").next().is_none().then_some(()));
    let refused = failing.letters(&["requeue", "--all"]).failed();
    assert!(refused.contains("still a dead letter: no worker available for HA:*"), "{refused}");
    assert_eq!(failing.ids().len(), 3);
}

#[test]
fn what_cannot_be_reached_says_what_to_do() {
    let site = HostSite::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failed = |topology: &str| {
        site.topology(topology);
        mshost(&site, &["list"]).failed()
    };
    for (topology, words) in [
        (format!("[host]\nadmin = \"{nobody}\""), ["no host answers at", "--admin HOST:PORT"]),
        ("[host]\nadmin = \"127.0.0.1:0\"".to_owned(), ["any free port", "--admin HOST:PORT"]),
        ("[host]\nadmin = \"off\"".to_owned(), ["set `host.admin`", "restart"]),
        (format!("[bus]\nurl = \"amqp://guest:s3cr3t@{nobody}\""), ["cannot use the broker", "refused"]),
    ] {
        let said = failed(&topology);
        assert!(words.iter().all(|words| said.contains(words)) && !said.contains("s3cr3t"), "{topology}: {said}");
    }
}
