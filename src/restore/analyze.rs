//! The planner's statistics. `pg_restore` leaves them to whoever thinks of it.

use super::{RestoreError, RestoreFinding};
use crate::pg::{PgError, Session};
use crate::progress::Progress;

/// Gathers them, table by table: one that fails (a partition on a foreign server that is not
/// there) is told, and the others have theirs.
pub(super) async fn analyze(
    lead: &Session,
    progress: &dyn Progress,
) -> Result<Vec<RestoreFinding>, RestoreError> {
    const DOING: &str = "looking for tables to analyze";
    // What is in a relation that cannot be read is no business of ours.
    let sql = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), \
                      pg_catalog.concat_ws('.', n.nspname, c.relname) \
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p', 'm') AND c.relispopulated AND c.oid >= 16384 \
                 AND n.nspname !~ '^pg_' ORDER BY 1";
    let mut findings = Vec::new();
    for row in lead.rows(DOING, sql, &[]).await? {
        let wrong = |error| PgError::server(DOING, error);
        let quoted: String = row.try_get(0).map_err(wrong)?;
        let name: String = row.try_get(1).map_err(wrong)?;
        progress.on(&name);
        let statement = format!("ANALYZE {quoted}");
        if let Err(error) = lead.run(&format!("analyzing {name}"), &statement).await {
            if matches!(error, PgError::Lost { .. }) {
                return Err(error.into());
            }
            findings.push(RestoreFinding {
                kind: "statistics".into(),
                object: name,
                message: error.to_string(),
                statement: Some(format!("{statement};")),
            });
        }
    }
    Ok(findings)
}
