//! What RabbitMQ's refusals mean, for the people who have to act on them.

use lapin::ErrorKind;
use mshost_bus::BusError;

/// The object is declared with other properties.
pub(super) const PRECONDITION_FAILED: u16 = 406;
/// The object does not exist.
pub(super) const NOT_FOUND: u16 = 404;
/// The user may not do that, or the login is wrong.
pub(super) const ACCESS_REFUSED: u16 = 403;

/// The AMQP reply code of an error, where the broker sent one.
pub(super) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// An error as text, with the broker's own words, which name the object and the argument that differ.
pub(super) fn text(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::IOError(error) | ErrorKind::RuntimeShutdownError(error) => error.to_string(),
        _ => error.to_string(),
    }
}

/// What a failed operation means to its caller. `what` completes "cannot …".
pub(super) fn explain(what: &str, error: &lapin::Error) -> BusError {
    let advice = match code(error) {
        Some(PRECONDITION_FAILED) => {
            "it exists with other properties. Nothing was deleted or changed. Let it drain and delete it \
             (`rabbitmqctl delete_queue NAME`), or set what differs by a policy, or use another virtual host"
        }
        Some(ACCESS_REFUSED) => {
            "the user needs configure, write and read permission on `^(mshost[.].*|notifications|polling|amq[.]gen.*)$`"
        }
        _ => return BusError::Unavailable(format!("cannot {what}: {}", text(error))),
    };
    BusError::Refused { what: format!("cannot {what}"), reason: format!("{} ({advice})", text(error)) }
}
