//! What RabbitMQ keeps as dead letters, seen by a client that knows nothing of the engine but the name of the queue.

use lapin::options::BasicGetOptions;
use lapin::{Connection, ConnectionProperties};

/// The queue of the dead letters.
const QUEUE: &str = "mshost.dead";

/// The ids of all dead letters of a bus. Each is taken and goes back, in its order, with the connection; what a host looks at
/// in that moment is not seen.
///
/// # Errors
/// Where the broker cannot be asked.
pub fn ids(url: &str) -> Result<Vec<String>, lapin::Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let mut ids = Vec::new();
        while let Some(message) = channel.basic_get(QUEUE.into(), BasicGetOptions::default()).await? {
            ids.extend(message.delivery.properties.message_id().as_ref().map(ToString::to_string));
        }
        connection.close(200, "looked".into()).await?;
        Ok(ids)
    })
}
