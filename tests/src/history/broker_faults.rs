//! What can happen to a pipeline on RabbitMQ, and the rig that it happens to.

use std::fmt;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::scenario::{HostPlacement, PipelineSetup, Scenario};
use crate::broker::Broker;
use crate::host_process::HostProcess;
use crate::tcp_proxy::Proxy;
use crate::wait::poll;

/// A broker may have to start, and a host to find out that it is back.
const LIMIT: Duration = Duration::from_secs(120);
/// Short, so that a network that says nothing is noticed soon.
const HEARTBEAT_SECONDS: u32 = 2;
/// What the host logs when the broker takes no messages.
const BLOCKED: &str = "takes no messages for now";

/// A fault. Each is over when its `strike` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerFault {
    /// SIGKILL of the broker, and a restart.
    BrokerKilled,
    /// Every connection is cut.
    Cut,
    /// The network keeps connections open and passes nothing on.
    Stalled,
    /// It passes on nothing of what hosts say.
    OneWay,
    /// Hosts read the end of their connections; the broker notices nothing.
    HalfClosed,
    /// The broker's memory alarm is set, and cleared once a host has noticed.
    MemoryAlarm,
    /// SIGKILL of the host with the generator and the first stage, and a restart.
    SendersKilled,
    /// SIGKILL of the host with the other stages, and a restart.
    TakersKilled,
    /// The queues of all stages are deleted. What waits in a queue when its operator deletes it is the operator's loss, and
    /// nobody could tell it from one of ours; so they are deleted when nothing is on its way, and the generator goes on
    /// at once, while the workers still find out.
    QueuesDeleted,
}

impl BrokerFault {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::BrokerKilled,
        Self::Cut,
        Self::Stalled,
        Self::OneWay,
        Self::HalfClosed,
        Self::MemoryAlarm,
        Self::SendersKilled,
        Self::TakersKilled,
        Self::QueuesDeleted,
    ];
}

impl fmt::Display for BrokerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BrokerKilled => "broker killed and restarted",
            Self::Cut => "connections cut",
            Self::Stalled => "network stalls",
            Self::OneWay => "network passes one way only",
            Self::HalfClosed => "connections half-closed",
            Self::MemoryAlarm => "memory alarm set and cleared",
            Self::SendersKilled => "host of the senders killed",
            Self::TakersKilled => "host of the takers killed",
            Self::QueuesDeleted => "queues deleted",
        })
    }
}

/// A pipeline on two hosts, each behind a proxy of its own, and their broker.
#[derive(Debug)]
pub struct FaultRig {
    /// The pipeline.
    pub scenario: Scenario,
    proxies: [Proxy; 2],
    broker: Broker,
    /// The proxies live on it.
    _runtime: Runtime,
}

impl FaultRig {
    /// Starts everything.
    #[must_use]
    pub fn start(setup: &PipelineSetup) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let broker = Broker::start();
        let proxies = [(); 2].map(|()| runtime.block_on(Proxy::start(broker.addr())));
        let url = |proxy: &Proxy| format!("amqp://guest:guest@{}?heartbeat={HEARTBEAT_SECONDS}", proxy.addr());
        let scenario = Scenario::start(setup, &HostPlacement::pair(proxies.each_ref().map(url)));
        Self { scenario, proxies, broker, _runtime: runtime }
    }

    /// Does its worst, and waits until it is over.
    ///
    /// # Errors
    /// Where the hosts do not come back.
    pub fn strike(&mut self, fault: BrokerFault) -> Result<(), String> {
        match fault {
            BrokerFault::BrokerKilled => self.while_away(FaultRig::kill_broker, |rig| rig.broker.restart()),
            BrokerFault::Cut => self.reconnecting(|rig| rig.proxies.iter().for_each(Proxy::cut)),
            BrokerFault::HalfClosed => self.reconnecting(|rig| rig.proxies.iter().for_each(Proxy::half_close)),
            BrokerFault::Stalled => self.while_away(|rig| rig.proxies.iter().for_each(Proxy::stall), FaultRig::heal),
            BrokerFault::OneWay => self.while_away(|rig| rig.proxies.iter().for_each(Proxy::one_way), FaultRig::heal),
            BrokerFault::MemoryAlarm => self.alarm(),
            BrokerFault::SendersKilled => self.restarting(0),
            BrokerFault::TakersKilled => self.restarting(1),
            BrokerFault::QueuesDeleted => self.delete_queues(),
        }
    }

    /// What the hosts did so far.
    #[must_use]
    pub fn reconnects(&self) -> Vec<u64> {
        self.scenario.hosts.iter().map(|host| metric(host, "mshost_bus_reconnects_total")).collect()
    }

    fn kill_broker(&mut self) {
        self.broker.kill();
    }

    fn heal(&mut self) {
        self.proxies.iter().for_each(Proxy::heal);
    }

    fn restarting(&mut self, host: usize) -> Result<(), String> {
        self.scenario.restart_host(host);
        Ok(())
    }

    /// A break that is noticed at once.
    fn reconnecting(&mut self, break_it: impl FnOnce(&mut Self)) -> Result<(), String> {
        let before = self.reconnects();
        break_it(self);
        self.wait("every host to reconnect", |rig| {
            rig.reconnects().iter().zip(&before).all(|(now, before)| now > before)
        })
    }

    /// A break that lasts until every host has noticed.
    fn while_away(&mut self, break_it: impl FnOnce(&mut Self), mend: impl FnOnce(&mut Self)) -> Result<(), String> {
        break_it(self);
        let away = self.wait("every host to find its bus away", |rig| rig.connected().all(|connected| connected == 0));
        mend(self);
        away?;
        self.wait("every host to reconnect", |rig| rig.connected().all(|connected| connected == 1))
    }

    fn alarm(&mut self) -> Result<(), String> {
        let blocked = |rig: &Self| rig.scenario.logs().matches(BLOCKED).count();
        let before = blocked(self);
        self.broker.set_memory_alarm(true);
        let noticed = self.wait("a host to say that its broker takes nothing", |rig| blocked(rig) > before);
        self.broker.set_memory_alarm(false);
        noticed
    }

    fn delete_queues(&mut self) -> Result<(), String> {
        let quiet = self.scenario.pause().map_err(|verdict| format!("the pipeline does not run empty: {verdict}"));
        if quiet.is_ok() {
            for stage in ["HA", "HB", "HC"] {
                self.broker.ctl(["delete_queue", &format!("mshost.job.{stage}")]);
            }
        }
        self.scenario.resume();
        quiet
    }

    fn connected(&self) -> impl Iterator<Item = u64> {
        self.scenario.hosts.iter().map(|host| metric(host, "mshost_bus_connected"))
    }

    fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) -> Result<(), String> {
        poll(LIMIT, || condition(self).then_some(()))
            .ok_or_else(|| format!("waited {LIMIT:?} in vain for {what}\n{}", self.scenario.logs()))
    }
}

fn metric(host: &HostProcess, name: &str) -> u64 {
    let text = host.ask("/metrics").body;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}
