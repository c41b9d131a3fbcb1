//! The mshost binary.

use std::path::Path;
use std::process::exit;

fn main() {
    let arguments: Vec<_> = std::env::args_os().collect();
    // A child that tries a plugin file is nothing else: no command line, no log, no runtime.
    if let [_, option, file] = &arguments[..]
        && option == mshost::plugin::PROBE_OPTION
    {
        exit(mshost::plugin::probe_main(Path::new(file)));
    }
}
