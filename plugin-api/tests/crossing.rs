//! A plugin and a host in one program, who know each other by the ABI alone: what `make miri` runs, which cannot load a
//! library. Each value that crosses is made on one side and dropped on the other, in every order that there is.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // what it prints is shown where it fails

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Polling, Poll, Waker};

use mshost_plugin_api::__private::{CrateFacts, Registration, init};
use mshost_plugin_api::abi::{
    AbiBytes, AbiError, AbiFailure, AbiHeader, AbiRecord, AbiRoute, AbiSend, AbiSendError, AbiSent, Exported,
    FfiFuture, Host, HostObject, LibHeader, PluginObject, ROption, RResult, RStr, RString, Scope, ScopeObject,
    Services, ServicesObject, TD_Opaque, error_kind, lib_header, open, send_error_kind,
};
use mshost_plugin_api::{BlockingStateful, BlockingWorker, Context, Error, Job, JobError, NoConfig, Stateful, Worker};
use tokio::sync::oneshot;

const FACTS: CrateFacts = CrateFacts { name: "crossing", version: "0.1.0", aborts: false, never_unload: false };

struct Plugin;

impl Exported for Plugin {
    fn describe() -> String {
        FACTS.describe(&workers())
    }

    fn init(host: HostObject) -> Result<PluginObject, String> {
        init(&FACTS, workers(), host)
    }
}

fn workers() -> Vec<Registration> {
    vec![Registration::stateful::<Clerk>("CA"), Registration::blocking_stateful::<Clerk>("CB")]
}

static HEADER: LibHeader = lib_header::<Plugin>();

/// Does what its jobs say, and remembers them.
struct Clerk(Mutex<Vec<String>>);

impl Clerk {
    fn note(&self, order: &str) -> Result<(), Error> {
        self.0.lock().unwrap().push(order.to_owned());
        match order {
            "fail" => Err(Error::permanent("told to fail")),
            "panic" => panic!("told to panic"),
            _ => Ok(()),
        }
    }
}

/// Part of a handler.
struct Guard {
    panics: bool,
}

static DROPPED_GUARDS: AtomicUsize = AtomicUsize::new(0);

impl Drop for Guard {
    fn drop(&mut self) {
        DROPPED_GUARDS.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "told to panic in drop");
    }
}

impl Worker for Clerk {
    type Config = NoConfig;

    async fn start(_: NoConfig, ctx: &Context) -> Result<Self, Error> {
        tracing::info!(codec = ?ctx.codec(), "started");
        Ok(Self(Mutex::default()))
    }

    async fn handle(&self, job: Job, ctx: &Context) -> Result<(), Error> {
        let order: String = job.data()?;
        self.note(&order)?;
        let _guard = Guard { panics: order == "drop" };
        match order.as_str() {
            "send" => drop(ctx.send(["HB:*"], &order).await?),
            "forward" => drop(job.forward(&order).await?),
            "wait" | "drop" => pending().await,
            _ => {}
        }
        Ok(())
    }

    async fn on_error(&self, error: JobError, _: &Context) {
        let data: String = error.data().unwrap();
        self.0.lock().unwrap().push(format!("{} {data}", error.error));
        assert_ne!(error.error, "panic", "told to panic in on_error");
    }
}

impl Stateful for Clerk {
    type State = Vec<String>;

    async fn snapshot(&self, _: &Context) -> Result<Vec<String>, Error> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn restore(&self, state: Vec<String>, _: &Context) -> Result<(), Error> {
        *self.0.lock().unwrap() = state;
        Ok(())
    }
}

impl BlockingWorker for Clerk {
    type Config = NoConfig;

    fn start(_: NoConfig, _: &Context) -> Result<Self, Error> {
        Ok(Self(Mutex::default()))
    }

    fn handle(&self, job: Job, ctx: &Context) -> Result<(), Error> {
        let order: String = job.data()?;
        self.note(&order)?;
        let _guard = Guard { panics: order == "drop" };
        match order.as_str() {
            "send" => drop(ctx.blocking_send(["HB:*"], &order)?),
            "forward" => drop(job.blocking_forward(&order)?),
            _ => {}
        }
        Ok(())
    }
}

impl BlockingStateful for Clerk {
    type State = Vec<String>;

    fn snapshot(&self, _: &Context) -> Result<Vec<String>, Error> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn restore(&self, state: Vec<String>, _: &Context) -> Result<(), Error> {
        *self.0.lock().unwrap() = state;
        Ok(())
    }
}

/// Takes the plugin's log.
struct Log(Arc<Mutex<Vec<String>>>);

impl Host for Log {
    fn max_level(&self) -> u8 {
        3
    }

    fn log(&self, record: AbiRecord<'_>) {
        let fields: String = record.fields.iter().map(|field| format!(" {}={}", field.0, field.1)).collect();
        let line = format!("{}{fields}", record.message);
        println!("{line}");
        self.0.lock().unwrap().push(line);
    }
}

type Answer = RResult<RString, AbiSendError>;

/// Takes what is sent.
struct Bus {
    sent: Mutex<Vec<String>>,
    /// Who waits for an answer, unless each has it at once.
    waiting: Option<Mutex<Vec<oneshot::Sender<Answer>>>>,
}

impl Bus {
    fn take(&self, send: AbiSend<'_>) -> AbiSent {
        let data = String::from_utf8_lossy(send.payload.as_slice()).into_owned();
        self.sent.lock().unwrap().push(format!("{} {data}", send.route.addresses));
        let Some(waiting) = &self.waiting else { return AbiSent::Done(RResult::ROk("J-2".into())) };
        let (answer, answered) = oneshot::channel();
        waiting.lock().unwrap().push(answer);
        AbiSent::Waiting(FfiFuture::new(async move { answered.await.unwrap_or_else(|_| RResult::RErr(closed())) }))
    }

    fn longest_waiting(&self) -> oneshot::Sender<Answer> {
        self.waiting.as_ref().unwrap().lock().unwrap().remove(0)
    }
}

fn closed() -> AbiSendError {
    AbiSendError { kind: send_error_kind::UNAVAILABLE, text: "closed".into(), size: 0, limit: 0 }
}

/// What an instance is lent.
struct Lent(Arc<Bus>);

impl Services for Lent {
    fn codec(&self) -> u8 {
        0
    }

    fn worker_id(&self) -> RString {
        "CA:1460306476102".into()
    }

    fn send(&self, send: AbiSend<'_>) -> AbiSent {
        self.0.take(send)
    }

    fn listener(&self, name: RStr<'_>) -> RResult<i32, RString> {
        RResult::RErr(format!("no {name}").into())
    }

    fn observe(&self, _: RStr<'_>, _: u64) {}

    fn set_value(&self, _: RStr<'_>, _: f64) {}
}

/// One job.
struct Hands {
    bus: Arc<Bus>,
    payload: Vec<u8>,
}

impl Scope for Hands {
    fn header(&self) -> AbiHeader<'_> {
        AbiHeader {
            id: "J-1".into(),
            correlation: "J-1".into(),
            sender: "HA:1460306476102".into(),
            origin: "HA:1460306476102".into(),
            route: AbiRoute { addresses: "CA:*\nHB:*".into(), position: 0 },
            attempt: 1,
            redelivered: false,
        }
    }

    fn payload(&self) -> AbiBytes {
        AbiBytes::new(self.payload.clone().into())
    }

    fn send(&self, send: AbiSend<'_>) -> AbiSent {
        self.bus.take(send)
    }
}

/// A host that has opened the plugin and begun it.
struct Rig {
    plugin: PluginObject,
    log: Arc<Mutex<Vec<String>>>,
    bus: Arc<Bus>,
}

impl Rig {
    fn new(waiting: Option<Mutex<Vec<oneshot::Sender<Answer>>>>) -> Self {
        // SAFETY: the header is a static of this program.
        let module = unsafe { open((&raw const HEADER).cast()) }.unwrap();
        let manifest: mshost_plugin_api::Manifest = serde_json::from_str(&module.describe()()).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.workers.len()), ("crossing", 2));
        let log = Arc::default();
        let host = HostObject::from_value(Log(Arc::clone(&log)), TD_Opaque);
        let plugin = module.init()(host).into_result().unwrap();
        Self { plugin, log, bus: Arc::new(Bus { sent: Mutex::default(), waiting }) }
    }

    fn services(&self) -> ServicesObject {
        ServicesObject::from_value(Lent(Arc::clone(&self.bus)), TD_Opaque)
    }

    fn job(&self, order: &str) -> ScopeObject {
        let payload = format!("\"{order}\"").into_bytes();
        ScopeObject::from_value(Hands { bus: Arc::clone(&self.bus), payload }, TD_Opaque)
    }

    fn has_logged(&self, text: &str) -> bool {
        self.log.lock().unwrap().iter().any(|line| line.contains(text))
    }

    fn end(self) {
        assert!(self.plugin.shutdown(600_000));
        drop(self.plugin);
        assert_eq!(Arc::strong_count(&self.bus), 1, "something of an instance or a job is left");
        assert_eq!(Arc::strong_count(&self.log), 1, "something of the plugin is left");
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Polling::from_waker(Waker::noop()))
}

fn ready<F: Future + Unpin>(mut future: F) -> F::Output {
    match poll(&mut future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it should be ready"),
    }
}

fn failure(error: &'static str) -> AbiFailure<'static> {
    AbiFailure {
        error: error.into(),
        id: "J-1".into(),
        correlation: "J-1".into(),
        reporter: ROption::RSome("HB:1460306476102".into()),
        payload: ROption::RSome(AbiBytes::new(b"\"data\"".as_slice().into())),
    }
}

fn strings(state: &AbiBytes) -> Vec<String> {
    rmp_serde::from_slice(state.as_ref()).unwrap()
}

fn assert_panicked<T>(result: RResult<T, AbiError>, says: &str) {
    let error = result.into_result().err().expect("a panic");
    assert_eq!(error.kind, error_kind::PANICKED);
    assert!(error.message.contains(says), "{}", error.message);
}

/// One after the other, since a plugin's log is its program's.
#[test]
fn whatever_crosses_is_dropped_on_the_other_side_in_any_order() {
    async_worker();
    blocking_worker();
}

fn async_worker() {
    let rig = Rig::new(Some(Mutex::default()));
    let instance = ready(rig.plugin.start("CA".into(), "{}".into(), rig.services())).into_result().unwrap();
    assert!(rig.has_logged("started codec=Json"), "{:?}", rig.log);

    ready(instance.handle(rig.job("ok"))).into_result().unwrap();
    let failed = ready(instance.handle(rig.job("fail"))).into_result().err().unwrap();
    assert_eq!((failed.kind, failed.message.as_str()), (error_kind::NEVER, "told to fail"));
    assert_panicked(ready(instance.handle(rig.job("panic"))), "told to panic");

    // The host answers later; it never does, and the handler is cancelled.
    for order in ["send", "forward"] {
        let mut sending = instance.handle(rig.job(order));
        assert!(poll(&mut sending).is_pending());
        rig.bus.longest_waiting().send(RResult::ROk("J-2".into())).ok().unwrap();
        assert!(matches!(poll(&mut sending), Poll::Ready(RResult::ROk(_))));
        let mut cancelled = instance.handle(rig.job(order));
        assert!(poll(&mut cancelled).is_pending());
        drop(cancelled);
        assert!(rig.bus.longest_waiting().is_closed());
    }
    let before = DROPPED_GUARDS.load(Ordering::SeqCst);
    for order in ["wait", "drop"] {
        let mut cancelled = instance.handle(rig.job(order));
        assert!(poll(&mut cancelled).is_pending());
    }
    assert_eq!(DROPPED_GUARDS.load(Ordering::SeqCst), before + 2);
    assert!(rig.has_logged("told to panic in drop"), "{:?}", rig.log);

    let _ = ready(instance.on_error(failure("too bad")));
    let _ = ready(instance.on_error(failure("panic")));
    // What is never polled, too.
    drop((instance.handle(rig.job("ok")), instance.on_error(failure("ok")), instance.snapshot(0), instance.drain()));

    assert!(ready(instance.snapshot(4)).is_err(), "it is larger");
    let state = ready(instance.snapshot(4_096)).into_result().unwrap();
    let _ = ready(instance.drain());
    let _ = ready(instance.stop());
    drop(instance);
    // The bytes outlive the instance that made them.
    let told = strings(&state);
    assert_eq!((told[0].as_str(), told.last().map(String::as_str)), ("ok", Some("panic data")), "{told:?}");
    let next = ready(rig.plugin.start("CA".into(), "{}".into(), rig.services())).into_result().unwrap();
    ready(next.restore(1, state)).into_result().unwrap();
    assert_eq!(strings(&ready(next.snapshot(4_096)).into_result().unwrap()), told);
    drop(next);
    rig.end();
}

fn blocking_worker() {
    let rig = Rig::new(None);
    assert!(rig.plugin.start_blocking("CA".into(), "{}".into(), rig.services()).is_err(), "it is of the other kind");
    let instance = rig.plugin.start_blocking("CB".into(), "{}".into(), rig.services()).into_result().unwrap();
    std::thread::scope(|threads| {
        for order in ["ok", "send", "forward"] {
            let (instance, job) = (&instance, rig.job(order));
            threads.spawn(move || instance.handle(job).into_result().map(|_| ()).unwrap());
        }
    });
    assert_eq!(rig.bus.sent.lock().unwrap().len(), 2);
    assert_panicked(instance.handle(rig.job("panic")), "told to panic");
    assert_panicked(instance.handle(rig.job("drop")), "told to panic in drop");
    let state = instance.snapshot(4_096).into_result().unwrap();
    instance.begin_drain();
    instance.stop();
    drop(instance);
    let next = rig.plugin.start_blocking("CB".into(), "{}".into(), rig.services()).into_result().unwrap();
    next.restore(1, state).into_result().unwrap();
    assert_eq!(strings(&next.snapshot(4_096).into_result().unwrap()).len(), 5);
    std::thread::scope(|threads| _ = threads.spawn(move || drop(next)));
    rig.end();
}
