//! Forwarding of the plugin's `tracing` events and panics to the host's log. A plugin has globals of its own for both.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::panic;
use std::sync::{Arc, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, Layered, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::abi::{AbiRecord, HostObject, RStr, Tuple2};

/// The host, as the receiver of the plugin's log.
pub(crate) type HostRef = Arc<HostObject>;

/// The most fields of one event that reach the host; the rest is left out.
const MAX_FIELDS: usize = 32;

/// The actual subscriber. `tracing` keeps its global one for ever, and a registry is tens of KiB that each reload of the
/// plugin would leave behind; so the global one is empty, and what it stands for is dropped by [`uninstall`].
static FORWARD: RwLock<Option<Layered<ForwardLayer, Registry>>> = RwLock::new(None);

/// Drops what [`install`] made. No thread of the plugin may be left.
pub(crate) fn uninstall() {
    drop(FORWARD.write().unwrap_or_else(PoisonError::into_inner).take());
}

fn forward<T>(body: impl FnOnce(&Layered<ForwardLayer, Registry>) -> T) -> Option<T> {
    FORWARD.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(body)
}

/// The global subscriber of `tracing` in the plugin, which passes everything to [`FORWARD`].
struct GlobalSubscriber;

impl Subscriber for GlobalSubscriber {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The host's level may change while the plugin runs, so each event asks.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        forward(|inner| inner.enabled(metadata)).unwrap_or(false)
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        forward(|inner| inner.new_span(attributes)).unwrap_or_else(|| span::Id::from_u64(u64::MAX))
    }

    fn record(&self, id: &span::Id, values: &span::Record<'_>) {
        forward(|inner| inner.record(id, values));
    }

    fn record_follows_from(&self, id: &span::Id, other: &span::Id) {
        forward(|inner| inner.record_follows_from(id, other));
    }

    fn event(&self, event: &Event<'_>) {
        forward(|inner| inner.event(event));
    }

    fn enter(&self, id: &span::Id) {
        forward(|inner| inner.enter(id));
    }

    fn exit(&self, id: &span::Id) {
        forward(|inner| inner.exit(id));
    }

    fn clone_span(&self, id: &span::Id) -> span::Id {
        forward(|inner| inner.clone_span(id)).unwrap_or_else(|| id.clone())
    }

    fn try_close(&self, id: span::Id) -> bool {
        forward(|inner| inner.try_close(id)).unwrap_or(false)
    }
}

/// Sends this plugin's events and panics to the host. The first call of a library's life counts.
pub(crate) fn install(host: &HostRef) {
    let subscriber = tracing_subscriber::registry().with(ForwardLayer(Arc::clone(host)));
    *FORWARD.write().unwrap_or_else(PoisonError::into_inner) = Some(subscriber);
    // An error means that the author has set a subscriber of their own in a constructor: theirs stays.
    let _ = tracing::subscriber::set_global_default(GlobalSubscriber);
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!("{}:{}:{}", place.file(), place.line(), place.column()));
        let text = info.payload_as_str().unwrap_or("(the panic carries no text)");
        let thread = std::thread::current();
        tracing::error!(
            target: "panic",
            // Threads of the host have no name here.
            thread = thread.name(),
            "panicked at {}: {text}", place.as_deref().unwrap_or("?"),
        );
        PANIC_PLACE.with(|slot| slot.replace(place));
    }));
}

thread_local! {
    static PANIC_PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes the place of this thread's last panic.
pub(crate) fn take_panic_place() -> Option<String> {
    PANIC_PLACE.with(RefCell::take)
}

/// The layer that forwards events, with the spans that they are in, to the host.
struct ForwardLayer(HostRef);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ForwardLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        level_number(*metadata.level()) <= self.0.max_level()
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut text = SpanText(span.name().to_owned());
        attributes.record(&mut text);
        span.extensions_mut().insert(text);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(text) = span.extensions_mut().get_mut::<SpanText>() {
            values.record(text);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = EventFields::default();
        event.record(&mut fields);
        let spans = context.event_scope(event).map(|scope| {
            let texts: Vec<_> = scope
                .from_root()
                .filter_map(|span| span.extensions().get::<SpanText>().map(|text| text.0.clone()))
                .collect();
            texts.join(":")
        });
        if let Some(spans) = spans.filter(|spans| !spans.is_empty()) {
            fields.others.push(("span", spans));
        }
        let others: Vec<_> =
            fields.others.iter().map(|(name, value)| Tuple2(RStr::from(*name), RStr::from(value.as_str()))).collect();
        self.0.log(AbiRecord {
            level: level_number(*event.metadata().level()),
            target: event.metadata().target().into(),
            message: fields.message.as_str().into(),
            fields: others.as_slice().into(),
        });
    }
}

fn level_number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// Collector of the fields of an event.
#[derive(Default)]
struct EventFields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for EventFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else if self.others.len() < MAX_FIELDS - 1 {
            self.others.push((field.name(), format!("{value:?}")));
        }
    }
}

/// The text of a span: `name key=value key=value`.
struct SpanText(String);

impl Visit for SpanText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}
