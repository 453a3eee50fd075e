//! Whether a server answers.

use std::time::Duration;

use super::error::PgError;
use super::params::Params;
use super::session::Session;

/// How long one try may take.
const TRY: Duration = Duration::from_secs(10);

/// Connects, and leaves again.
///
/// # Errors
/// [`PgError`] as from connecting, also of a server that is still starting up or does not answer
/// within ten seconds.
pub fn ping(params: &Params) -> Result<(), PgError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let doing = || "connecting".to_owned();
    let runtime = runtime
        .map_err(|error| PgError::Protocol { doing: doing(), problem: error.to_string() })?;
    runtime.block_on(async {
        let opened = tokio::time::timeout(TRY, Session::open(params)).await;
        let silent = PgError::Silent { doing: doing(), limit: TRY };
        opened.map_err(|_| silent)??.close().await;
        Ok(())
    })
}
