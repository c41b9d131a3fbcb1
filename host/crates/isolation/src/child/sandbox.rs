//! Sandbox of the child: which files it may write and which TCP ports it may use, enforced by the kernel (Landlock). Set by
//! itself before it loads anything, and irrevocable.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use mshost_topology::Sandbox;

/// Files and TCP ports. An older kernel cannot enforce what the topology says.
const REQUIRED: ABI = ABI::V4;
/// Signals and abstract sockets, which the topology does not name.
const BEST_EFFORT: ABI = ABI::V6;

pub(super) fn apply(sandbox: &Sandbox) -> Result<(), String> {
    restrict(sandbox).map_err(|error| {
        format!("`sandbox` cannot be kept: {error}. It needs Linux 6.7 or newer with Landlock; leave it out elsewhere")
    })
}

fn restrict(sandbox: &Sandbox) -> Result<(), Box<dyn std::error::Error>> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_write(REQUIRED))?
        .handle_access(AccessNet::from_all(REQUIRED))?
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::from_all(BEST_EFFORT))?
        .create()?
        .set_compatibility(CompatLevel::HardRequirement);
    // Programs write there what they discard.
    for path in sandbox.write.iter().map(|path| path.as_path()).chain([Path::new("/dev/null")]) {
        rules = rules.add_rule(beneath(path)?)?;
    }
    for port in &sandbox.connect {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    for port in &sandbox.bind {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    rules.restrict_self()?;
    Ok(())
}

fn beneath(path: &Path) -> Result<PathBeneath<PathFd>, Box<dyn std::error::Error>> {
    let failed = |error: &dyn std::fmt::Display| format!("{} in `write`: {error}", path.display());
    let is_folder = path.metadata().map_err(|error| failed(&error))?.is_dir();
    let all = AccessFs::from_write(REQUIRED);
    let access = if is_folder { all } else { all & AccessFs::from_file(REQUIRED) };
    Ok(PathBeneath::new(PathFd::new(path).map_err(|error| failed(&error))?, access))
}
