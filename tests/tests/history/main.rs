//! 20,000 pipelines under each fault alone: whatever was accepted is accounted for, and nothing else was done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod alone;
mod journaled;
mod without;
