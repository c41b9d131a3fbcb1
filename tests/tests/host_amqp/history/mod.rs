//! 20,000 pipelines under each fault alone: whatever was accepted is accounted for, and nothing else was done.
#![allow(clippy::print_stdout)]

mod embedded_journal;
mod no_faults;
mod single_faults;
