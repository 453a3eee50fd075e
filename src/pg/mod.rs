//! `PostgreSQL` servers: connecting as libpq users expect, sessions with fixed settings, COPY in
//! both directions with its end proven, names and literals.

pub mod conninfo;
pub mod copy_in;
pub mod copy_out;
pub mod error;
pub mod ident;
pub mod params;
pub mod passfile;
pub mod service;
pub mod session;
pub mod tls;
pub mod tuple;

pub use copy_in::CopyIn;
pub use copy_out::CopyOut;
pub use error::PgError;
pub use ident::{ident, literal, qualified};
pub use params::Params;
pub use session::{Canceller, Session};
