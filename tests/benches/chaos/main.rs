//! `make chaos`: a pipeline on two hosts and a broker, and one random fault after the other. At the end every accepted job has
//! to be accounted for (`mshost_tests::history` says how).
//!
//! | variable | what it sets | default |
//! |---|---|---|
//! | `MSHOST_CHAOS_PIPELINES` | how many pipelines are sent at most; each is three jobs | 1,000,000 |
//! | `MSHOST_CHAOS_SECONDS` | how long things break; what was accepted by then is still finished | 600 |
//! | `MSHOST_CHAOS_SEED` | which faults strike, and when | another each time |

mod tally;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mshost_tests::dice::{Dice, any_seed};
use mshost_tests::history::faults::{Fault, Rig};
use mshost_tests::history::scenario::Setup;
use mshost_tests::knobs::{number, say};
use tally::Tally;

/// The pause between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 1_000..8_000;

/// How much of the logs is shown where a host does not come back.
const LOG_LINES: usize = 100;

struct Settings {
    pipelines: u64,
    duration: Duration,
    seed: u64,
}

fn main() -> ExitCode {
    match settings() {
        Ok(settings) => run(&settings),
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn settings() -> Result<Settings, String> {
    let duration = Duration::from_secs(number("MSHOST_CHAOS_SECONDS", 600)?);
    let pipelines = number("MSHOST_CHAOS_PIPELINES", 1_000_000)?;
    Ok(Settings { pipelines, duration, seed: number("MSHOST_CHAOS_SEED", any_seed())? })
}

fn run(settings: &Settings) -> ExitCode {
    let Settings { pipelines, duration, seed } = *settings;
    say(&format!("{pipelines} pipelines, faults for {} s, MSHOST_CHAOS_SEED={seed}", duration.as_secs()));
    let setup = Setup { pipelines, seed, ..Setup::default() };
    let mut rig = Rig::start(&setup);
    let mut tally = Tally::default();
    let broken = make_chaos(&mut rig, &mut tally, duration, Dice::new(seed));
    rig.scenario.stop();
    say("no more faults; what was accepted is finished");
    let logs = broken.is_err().then(|| rig.scenario.logs());
    let verdict = rig.scenario.finish();
    say(&format!("\n{}\n{verdict}", tally.table(&verdict)));
    match broken {
        Ok(()) if verdict.violations.is_empty() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("{error}\n{}", last_lines(&logs.unwrap_or_default())));
            ExitCode::FAILURE
        }
    }
}

/// Breaks things until the time is over or all was sent.
fn make_chaos(rig: &mut Rig, tally: &mut Tally, duration: Duration, mut dice: Dice) -> Result<(), String> {
    let began = Instant::now();
    tally.begin(&rig.scenario.history().verdict());
    while began.elapsed() < duration && !rig.scenario.history().is_finished() {
        let pause = Duration::from_millis(dice.within(PAUSE));
        // The time between two faults is what is wanted here, not a condition.
        std::thread::park_timeout(pause);
        let fault = *dice.pick(&Fault::ALL);
        say(&format!("{:>5.1} s  {fault}", began.elapsed().as_secs_f64()));
        // The harness panics where a broker or a host does not come back; the table is wanted all the same.
        let struck = catch_unwind(AssertUnwindSafe(|| rig.strike(fault)));
        // Where the broker did not come back there are none to be seen.
        let _ = rig.scenario.look_for_dead_letters();
        tally.end(fault, &rig.scenario.history().verdict());
        struck
            .unwrap_or_else(|_| Err("the harness panicked, see above".to_owned()))
            .map_err(|error| format!("{fault}: {error}"))?;
    }
    Ok(())
}

/// The end of the hosts' logs, without what the handlers were told to do.
fn last_lines(logs: &str) -> String {
    let lines: Vec<_> = logs.lines().filter(|line| !line.contains("told to panic")).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
