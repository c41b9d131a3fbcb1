//! The mshost binary: see [`mshost::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mshost::cli::main()
}
