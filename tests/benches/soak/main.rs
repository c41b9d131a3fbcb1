//! `make soak`: one host that serves the movie example and runs the history's pipeline is reloaded thousands of times, then
//! everything is done to it that operators and plugins do wrong. No request fails, no accepted job is lost
//! (`mshost_tests::history` and `mshost_tests::http_clients` state the rules), and what the host holds stays as it is.
//!
//! | variable | what it sets | default |
//! |---|---|---|
//! | `MSHOST_SOAK_RELOADS` | how many reloads: each plugin replaced and each topology changed counts as one | 10,000 |
//! | `MSHOST_SOAK_SECONDS` | how long faults strike after that | 600 |
//! | `MSHOST_SOAK_SEED` | what is reloaded, which faults strike, and when | another each time |

mod faults;
mod reloads;
mod rig;
mod shape;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use faults::OperatorFault;
use mshost_tests::env_settings::{number, say};
use mshost_tests::growth_curve::Curve;
use mshost_tests::seeded_rng::{SeededRng, random_seed};
use rig::SoakRig;

/// The pause between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 0..2_000;

/// How much of the log is shown where something goes wrong.
const LOG_LINES: usize = 100;

struct SoakSettings {
    reloads: u64,
    duration: Duration,
    seed: u64,
}

fn main() -> ExitCode {
    // Whatever happens, there is a verdict.
    match settings().and_then(|settings| unless_it_panics(|| run(&settings))) {
        Ok(()) => {
            say("verdict: passed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("{error}\nverdict: FAILED"));
            ExitCode::FAILURE
        }
    }
}

fn settings() -> Result<SoakSettings, String> {
    let duration = Duration::from_secs(number("MSHOST_SOAK_SECONDS", 600)?);
    let reloads = number("MSHOST_SOAK_RELOADS", 10_000)?;
    Ok(SoakSettings { reloads, duration, seed: number("MSHOST_SOAK_SEED", random_seed())? })
}

fn run(settings: &SoakSettings) -> Result<(), String> {
    let SoakSettings { reloads, duration, seed } = *settings;
    say(&format!("{reloads} reloads, then faults for {} s, MSHOST_SOAK_SEED={seed}", duration.as_secs()));
    let (mut rig, mut rng, mut curve) = (SoakRig::start()?, SeededRng::new(seed), Curve::default());
    let mut wrong: Vec<String> = Vec::new();
    // The figures are wanted all the same where a host does not come back.
    let worked = unless_it_panics(|| {
        reloads::reload(&mut rig, reloads, &mut rng, &mut curve)?;
        break_things(&mut rig, &mut rng, duration)
    });
    if let Err(error) = worked {
        let log = rig.host.log();
        wrong.push(format!("{error}\n{}", log[log.len().saturating_sub(LOG_LINES)..].join("\n")));
    }
    wrong.extend(unless_it_panics(|| rig.end()).err());
    wrong.extend(curve.complaints());
    let history = match unless_it_panics(|| rig.judge()) {
        Ok((verdict, details)) => {
            if !verdict.violations.is_empty() {
                wrong.push("the history has violations".to_owned());
            }
            if verdict.reported + verdict.dead_letters > 0 {
                wrong.push("jobs of the history failed for good".to_owned());
            }
            format!("{verdict}\n{details}")
        }
        Err(error) => {
            wrong.push(error);
            "unknown".to_owned()
        }
    };
    let tally = rig.tally();
    say(&format!("\n{curve}"));
    say(&format!(
        "requests: {} answered on {} connections ({} were told to close, {} closed idle), none failed{}",
        tally.answered,
        tally.connections,
        tally.told_to_close,
        tally.closed_idle,
        if wrong.is_empty() { "" } else { " but for what is said below" }
    ));
    say(&format!("history: {history}"));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// The harness panics where a host does not come back.
fn unless_it_panics<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the harness panicked, see above".to_owned()))
}

fn break_things(rig: &mut SoakRig, rng: &mut SeededRng, duration: Duration) -> Result<(), String> {
    let began = Instant::now();
    let mut times = [0_u32; OperatorFault::ALL.len()];
    while began.elapsed() < duration {
        // The time between two faults is what is wanted here, not a condition.
        std::thread::park_timeout(Duration::from_millis(rng.within(PAUSE)));
        let index = rng.within(0..OperatorFault::ALL.len() as u64) as usize;
        let fault = OperatorFault::ALL[index];
        times[index] += 1;
        rig.strike(fault, rng).map_err(|error| format!("{fault}: {error}"))?;
        rig.are_clients_served().map_err(|error| format!("{fault}: {error}"))?;
        let seconds = began.elapsed().as_secs_f64();
        let pipelines = rig.history()?.executed();
        say(&format!("{seconds:>8.1} s  {fault:<30} {pipelines:>9} pipelines, {} requests", rig.answered()));
    }
    if !duration.is_zero() {
        let sums: Vec<_> =
            OperatorFault::ALL.iter().zip(times).map(|(fault, times)| format!("{times} × {fault}")).collect();
        say(&format!("\nfaults: {}", sums.join(", ")));
    }
    Ok(())
}
