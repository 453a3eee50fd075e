//! A live database as what an archive is compared with: in one snapshot, by the same reader as a
//! backup.

use std::sync::Arc;
use std::time::Duration;

use super::rows::Collector;
use super::schema::SchemaTexts;
use super::{CompareError, There, Wanted, What};
use crate::create::digesting::{self, DigestSink};
use crate::create::pump::{self, Mode, PumpError, Reading, Sink, Slices};
use crate::create::{interruptible, runtime};
use crate::format::batch::Batch;
use crate::format::digest::Digest;
use crate::format::manifest::{Column, Sequence, Table};
use crate::format::rows::Bytea;
use crate::format::writer::WriteError;
use crate::pg::{self, Catalog, Params, Part, PartRows, Snapshot, dump};
use crate::progress::{Phase, Progress};

/// How to read the database.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// The database.
    pub params: Params,
    /// Sessions that read at the same time; at least 1.
    pub jobs: usize,
    /// Bytes that may be on their way.
    pub memory: usize,
    /// How long to wait for a table that somebody else has locked.
    pub lock_timeout: Duration,
    /// The command that runs `pg_dump`; empty for the one that fits.
    pub pg_dump: String,
}

/// A database in a snapshot. Builds its own runtime, so it must not be used from within one.
pub struct Live {
    runtime: Option<tokio::runtime::Runtime>,
    snapshot: Arc<Snapshot>,
    catalog: Catalog,
    parts: Vec<Part>,
    options: LiveOptions,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Live {
    /// Takes a snapshot of the database and reads its catalog.
    ///
    /// # Errors
    /// [`CompareError::Server`], [`CompareError::Interrupted`].
    pub fn open(options: LiveOptions, progress: &dyn Progress) -> Result<Self, CompareError> {
        progress.begin(Phase::Schema, 0, 0);
        let runtime = runtime().map_err(|error| CompareError::Internal(error.to_string()))?;
        let taken = runtime.block_on(interruptible(progress, async {
            let snapshot = Snapshot::take(&options.params, options.lock_timeout).await?;
            let catalog = snapshot.read_catalog().await?;
            Ok::<_, CompareError>((snapshot, catalog))
        }));
        let taken = taken.unwrap_or(Err(CompareError::Interrupted));
        match taken {
            Ok((snapshot, catalog)) => {
                for note in &catalog.notes {
                    progress.note(note);
                }
                let parts = pg::plan(&catalog);
                let snapshot = Arc::new(snapshot);
                Ok(Self { runtime: Some(runtime), snapshot, catalog, parts, options })
            }
            Err(error) => {
                // A session that hangs must not hold this up.
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// The snapshot's identifier, for others that are to see the same. Valid as long as this lives.
    pub fn snapshot_id(&self) -> &str {
        self.snapshot.id()
    }

    /// Parameters that lead to the same server, whatever other hosts were given.
    pub fn params(&self) -> &Params {
        self.snapshot.params()
    }

    fn block<T>(
        &self,
        progress: &dyn Progress,
        work: impl Future<Output = Result<T, CompareError>>,
    ) -> Result<T, CompareError> {
        let none = || CompareError::Internal("the database was let go".into());
        let runtime = self.runtime.as_ref().ok_or_else(none)?;
        let done = runtime.block_on(interruptible(progress, work));
        done.unwrap_or(Err(CompareError::Interrupted))
    }

    /// What is wanted, as the pump reads it.
    fn reading(&self, wanted: &[Wanted], mode: Mode, progress: &Arc<dyn Progress>) -> Reading {
        let mut tables = Vec::new();
        let mut parts = Vec::new();
        for wanted in wanted {
            let What::Table(number) = wanted.what else { continue };
            let Some(theirs) = self.catalog.tables.get(number) else { continue };
            let table = narrowed(theirs, &wanted.columns);
            let bytea = table.stored_columns().any(Column::is_bytea);
            let own = self.parts.iter().filter(|part| part.table == number);
            for part in own.filter(|part| bytea || part.rows != PartRows::Big) {
                let mut part = Part { table: tables.len(), ..part.clone() };
                if !bytea {
                    // The columns that made rows big are not among those compared.
                    (part.rows, part.big_apart) = (PartRows::Text, false);
                }
                parts.push(part);
            }
            tables.push(table);
        }
        Reading {
            snapshot: Arc::clone(&self.snapshot),
            tables: Arc::new(tables),
            parts,
            large_objects: wanted.iter().any(|wanted| wanted.what == What::LargeObjects),
            jobs: self.options.jobs,
            memory: self.options.memory,
            progress: Arc::clone(progress),
            mode,
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The table with these columns alone, in this order.
fn narrowed(table: &Table, columns: &[String]) -> Table {
    let find = |name: &String| table.columns.iter().find(|column| column.name == *name).cloned();
    Table { columns: columns.iter().filter_map(find).collect(), ..table.clone() }
}

impl From<PumpError> for CompareError {
    fn from(error: PumpError) -> Self {
        match error {
            PumpError::Interrupted => Self::Interrupted,
            PumpError::Server(error) => Self::Server(error),
            // The only thing that is written here.
            PumpError::Write(WriteError::Io(error)) => Self::Scratch(error),
            error => Self::Pump(error),
        }
    }
}

impl There for Live {
    fn tables(&self) -> &[Table] {
        &self.catalog.tables
    }

    fn schema(&mut self, progress: &dyn Progress) -> Result<SchemaTexts, CompareError> {
        let text = self.block(progress, async {
            Ok(dump::dump_schema(&self.snapshot, &self.options.pg_dump).await?)
        })?;
        Ok(SchemaTexts {
            schema: text.schema,
            pre: text.pre,
            post: text.post,
            pg_dump_version: text.pg_dump_version,
        })
    }

    fn sums(
        &mut self,
        wanted: &[Wanted],
        progress: &Arc<dyn Progress>,
    ) -> Result<Vec<Option<(u64, Digest)>>, CompareError> {
        let reading = self.reading(wanted, Mode::Digest, progress);
        let estimate = reading.parts.iter().map(|part| part.estimate).sum();
        progress.begin(Phase::Compare, 0, estimate);
        let sink = self.block(progress.as_ref(), async {
            Ok(pump::pump(reading, DigestSink::default()).await?)
        })?;
        let mut sums = sink.sums.into_iter().map(|(_, sum)| Some((sum.rows, sum.digest())));
        // Delivered in the order asked for, large objects last as they are asked for last.
        Ok(wanted.iter().map(|_| sums.next().flatten()).collect())
    }

    fn rows(
        &mut self,
        wanted: &Wanted,
        make: &dyn Fn(Option<Vec<usize>>) -> Result<Collector, CompareError>,
        progress: &Arc<dyn Progress>,
    ) -> Result<Collector, CompareError> {
        let reading = self.reading(std::slice::from_ref(wanted), Mode::Text, progress);
        let sink = RowSink(make(None)?);
        let sink = self.block(progress.as_ref(), async { Ok(pump::pump(reading, sink).await?) })?;
        Ok(sink.0)
    }

    fn count(&mut self, table: usize, progress: &dyn Progress) -> Result<u64, CompareError> {
        let part = self.parts.iter().find(|part| part.table == table);
        let Some((table, part)) = self.catalog.tables.get(table).zip(part) else { return Ok(0) };
        let rows = PartRows::Text;
        let part = Part { pages: None, big_apart: false, rows, ..part.clone() };
        let doing = format!("counting the rows of {}", table.name);
        self.block(progress, async {
            let sql = pg::count_sql(table, &part);
            let rows = self.snapshot.lead().rows(&doing, &sql, &[]).await?;
            let count = rows.first().and_then(|row| row.try_get::<_, i64>(0).ok());
            count
                .and_then(|count| u64::try_from(count).ok())
                .ok_or_else(|| CompareError::Internal(format!("{doing}: no count came")))
        })
    }

    fn has_large_objects(&self) -> bool {
        self.catalog.large_objects > 0
    }

    fn sequences(&mut self, progress: &dyn Progress) -> Result<Vec<Sequence>, CompareError> {
        self.block(progress, async {
            Ok(pg::read_sequences(self.snapshot.lead(), &self.catalog.sequences).await?)
        })
    }

    fn finish(&mut self, progress: &dyn Progress) -> Result<(), CompareError> {
        self.block(progress, async { Ok(self.snapshot.check_rewrites().await?) })
    }
}

struct RowSink(Collector);

impl Sink for RowSink {
    fn begin(&mut self, _: pump::What) -> Result<(), WriteError> {
        Ok(())
    }

    fn batch(&mut self, batch: &Batch) -> Result<(), WriteError> {
        Ok(self.0.take(batch.text())?)
    }

    fn blob(&mut self, slices: &mut Slices<'_>) -> Result<Bytea, WriteError> {
        digesting::reference(slices)
    }

    fn end(&mut self, _: pump::What) -> Result<u64, WriteError> {
        Ok(self.0.rows())
    }
}
