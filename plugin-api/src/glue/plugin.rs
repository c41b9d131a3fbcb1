//! The plugin object that the host gets from `init`.

use std::sync::Arc;
use std::time::Duration;

use super::{AsyncStarted, BlockingStarted, StartFn, abi_error, panicked};
use crate::abi::{
    AbiError, Guarded, HostObject, LocalFfiFuture, Plugin, PluginObject, RResult, RStr, ServicesObject, TD_Opaque,
    fenced,
};
use crate::export::{CrateFacts, Registration};
use crate::log;
use crate::runtime::PluginRuntime;
use crate::{Context, Error};

/// An initialised plugin: its runtime and its workers.
struct PluginAdapter {
    name: &'static str,
    runtime: PluginRuntime,
    workers: Vec<Registration>,
}

/// Starts a plugin: its log, then its runtime.
///
/// # Errors
/// Where the runtime's thread cannot be made.
pub fn init(facts: &CrateFacts, workers: Vec<Registration>, host: HostObject) -> Result<PluginObject, String> {
    log::install(&Arc::new(host));
    let name = facts.plugin_name();
    let runtime = PluginRuntime::start(name).map_err(|error| format!("its tokio runtime cannot start: {error}"))?;
    Ok(PluginObject::from_value(PluginAdapter { name, runtime, workers }, TD_Opaque))
}

impl PluginAdapter {
    fn prepare(&self, worker_type: &str, services: ServicesObject) -> Result<(&Registration, Context), Error> {
        let registration = self.workers.iter().find(|worker| worker.worker_type() == worker_type).ok_or_else(|| {
            let known: Vec<_> = self.workers.iter().map(Registration::worker_type).collect();
            Error::permanent(format!("plugin {} has no worker {worker_type}, it has {}", self.name, known.join(", ")))
        })?;
        Ok((registration, Context::new(services, self.runtime.handle().clone())?))
    }

    fn wrong_kind(&self, worker_type: &str) -> AbiError {
        abi_error(&Error::permanent(format!("worker {worker_type} of plugin {} is of the other kind", self.name)))
    }
}

impl Plugin for PluginAdapter {
    fn start(&self, worker_type: RStr<'_>, config: RStr<'_>, services: ServicesObject) -> LocalFfiFuture<AsyncStarted> {
        let started = fenced(|| match self.prepare(&worker_type, services) {
            Ok((registration, ctx)) => match registration.start() {
                StartFn::Async(start) => Ok(start(config.as_str().to_owned(), ctx)),
                StartFn::Blocking(_) => Err(self.wrong_kind(&worker_type)),
            },
            Err(error) => Err(abi_error(&error)),
        });
        started.unwrap_or_else(|message| Err(panicked(message))).unwrap_or_else(|error| {
            let runtime = self.runtime.handle().clone();
            LocalFfiFuture::new(Guarded::new(runtime, |message| RResult::RErr(panicked(message)), async move {
                RResult::RErr(error)
            }))
        })
    }

    fn start_blocking(&self, worker_type: RStr<'_>, config: RStr<'_>, services: ServicesObject) -> BlockingStarted {
        let _runtime = self.runtime.handle().enter();
        fenced(|| match self.prepare(&worker_type, services) {
            Ok((registration, ctx)) => match registration.start() {
                StartFn::Blocking(start) => start(&config, ctx),
                StartFn::Async(_) => RResult::RErr(self.wrong_kind(&worker_type)),
            },
            Err(error) => RResult::RErr(abi_error(&error)),
        })
        .unwrap_or_else(|message| RResult::RErr(panicked(message)))
    }

    fn shutdown(&self, limit_ms: u64) -> bool {
        fenced(|| {
            let ended = self.runtime.shutdown(Duration::from_millis(limit_ms));
            if ended {
                log::uninstall();
            }
            ended
        })
        .unwrap_or(false)
    }
}
