//! Names and strings on their way into SQL: see [`crate::format::sql`].

pub use crate::format::sql::{ident, literal, qualified};
