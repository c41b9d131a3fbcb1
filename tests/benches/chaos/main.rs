//! `make chaos`: a pipeline on two hosts and a broker, and one random fault after the other. At the end every accepted job has
//! to be accounted for (`mshost_tests::history` says how).
//!
//! | variable | what it sets | default |
//! |---|---|---|
//! | `MSHOST_CHAOS_PIPELINES` | how many pipelines are sent at most; each is three jobs | 1,000,000 |
//! | `MSHOST_CHAOS_SECONDS` | how long things break; what was accepted by then is still finished | 600 |
//! | `MSHOST_CHAOS_SEED` | which faults strike, and when | another each time |
//!
//! It ends in any case, and its last line is the verdict: no wait is longer than five minutes, and there are two of these at
//! most, one for a last fault to be over and one for the pipeline to run empty. What it has not accounted for by then is lost.

mod tally;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mshost_tests::env_settings::{number, say};
use mshost_tests::history::broker_faults::{BrokerFault, FaultRig};
use mshost_tests::history::scenario::PipelineSetup;
use mshost_tests::seeded_rng::{SeededRng, random_seed};
use tally::FaultTally;

/// The pause between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 1_000..8_000;

/// The longest wait: for a pipeline to run empty, with everything that was put into it by then.
const LIMIT: Duration = Duration::from_secs(300);
/// How many of a thousand attempts fail, and after how many a job has failed for good: about one job in a thousand becomes a
/// dead letter.
const FAILURES: u32 = 30;
const MAX_ATTEMPTS: u32 = 2;

/// How much of the logs is shown where a host does not come back.
const LOG_LINES: usize = 100;

struct ChaosSettings {
    pipelines: u64,
    duration: Duration,
    seed: u64,
}

fn main() -> ExitCode {
    let began = Instant::now();
    // Where a broker or a host does not even start, the harness panics.
    let outcome = settings().and_then(|settings| unless_it_panics(|| run(&settings)));
    let seconds = began.elapsed().as_secs();
    match outcome {
        Ok(()) => {
            say(&format!("verdict: passed after {seconds} s"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("{error}\nverdict: FAILED after {seconds} s"));
            ExitCode::FAILURE
        }
    }
}

fn settings() -> Result<ChaosSettings, String> {
    let duration = Duration::from_secs(number("MSHOST_CHAOS_SECONDS", 600)?);
    let pipelines = number("MSHOST_CHAOS_PIPELINES", 1_000_000)?;
    Ok(ChaosSettings { pipelines, duration, seed: number("MSHOST_CHAOS_SEED", random_seed())? })
}

fn run(settings: &ChaosSettings) -> Result<(), String> {
    let ChaosSettings { pipelines, duration, seed } = *settings;
    say(&format!("{pipelines} pipelines, faults for {} s, MSHOST_CHAOS_SEED={seed}", duration.as_secs()));
    let setup = PipelineSetup {
        pipelines,
        seed,
        failures: FAILURES,
        max_attempts: MAX_ATTEMPTS,
        limit: LIMIT,
        ..PipelineSetup::default()
    };
    let (mut rig, mut tally) = (FaultRig::start(&setup), FaultTally::default());
    let journals = rig.scenario.keep();
    let mut wrong: Vec<String> = Vec::new();
    if let Err(error) = make_chaos(&mut rig, &mut tally, duration, SeededRng::new(seed)) {
        wrong.push(format!("{error}\n{}", last_lines(&rig.scenario.logs())));
    }
    rig.scenario.stop();
    say("no more faults; what was accepted is finished");
    let so_far = rig.scenario.history().verdict();
    let verdict = unless_it_panics(|| Ok(rig.scenario.finish())).unwrap_or_else(|error| {
        wrong.push(format!("the pipeline was not ended in order: {error}"));
        so_far
    });
    say(&format!("\n{}\n{verdict}", tally.table(&verdict)));
    if !verdict.violations.is_empty() {
        wrong.push("the history has violations".to_owned());
    }
    if wrong.is_empty() {
        let _ = std::fs::remove_dir_all(journals);
        return Ok(());
    }
    wrong.push(format!("the journals and the hosts' logs are in {}", journals.display()));
    Err(wrong.join("\n"))
}

/// The harness panics where something does not come back; the table and the verdict are wanted all the same.
fn unless_it_panics<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the harness panicked, see above".to_owned()))
}

/// Breaks things until the time is over or all was sent.
fn make_chaos(
    rig: &mut FaultRig,
    tally: &mut FaultTally,
    duration: Duration,
    mut rng: SeededRng,
) -> Result<(), String> {
    let began = Instant::now();
    tally.begin(&rig.scenario.history().verdict());
    while began.elapsed() < duration && !rig.scenario.history().is_finished() {
        let pause = Duration::from_millis(rng.within(PAUSE));
        // The time between two faults is what is wanted here, not a condition.
        std::thread::park_timeout(pause);
        let fault = *rng.pick(&BrokerFault::ALL);
        say(&format!("{:>5.1} s  {fault}", began.elapsed().as_secs_f64()));
        let struck = unless_it_panics(|| rig.strike(fault));
        // Where the broker did not come back there are none to be seen.
        let _ = rig.scenario.look_for_dead_letters();
        tally.end(fault, &rig.scenario.history().verdict());
        struck.map_err(|error| format!("{fault}: {error}"))?;
    }
    Ok(())
}

/// The end of the hosts' logs, without what the handlers were told to do.
fn last_lines(logs: &str) -> String {
    let lines: Vec<_> = logs.lines().filter(|line| !line.contains("told to panic")).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
