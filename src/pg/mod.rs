//! `PostgreSQL` servers: connecting as libpq users expect, sessions with fixed settings, COPY in
//! both directions with its end proven, names and literals.

pub mod big;
pub mod catalog;
pub mod conninfo;
pub mod copy_in;
pub mod copy_out;
pub mod dump;
pub mod empty;
pub mod error;
pub mod ident;
mod options;
pub mod params;
pub mod passfile;
mod ping;
pub mod plan;
mod psql;
mod query;
pub mod service;
pub mod session;
pub mod snapshot;
pub mod throwaway;
pub mod tls;
pub mod tuple;

pub use big::{BigField, BigRow, BigRows};
pub use catalog::{Catalog, read_catalog, read_properties, read_sequences};
pub use copy_in::CopyIn;
pub use copy_out::CopyOut;
pub use dump::{DumpError, SchemaText, dump_schema};
pub use empty::contents;
pub use error::PgError;
pub use ident::{ident, literal, qualified};
pub use params::{Params, Secret};
pub use ping::ping;
pub use plan::{Part, PartRows, copy_sql, count_sql, plan};
pub use session::{Canceller, Session};
pub use snapshot::Snapshot;
