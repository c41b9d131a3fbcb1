//! What the declared keys say to people and to editors: `docs/configuration.md` and `docs/topology.schema.json`.

mod configuration_page;
mod json_schema;

pub use configuration_page::configuration_page;
pub use json_schema::topology_schema;
