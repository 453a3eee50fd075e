//! An archive as what another is compared with.

use super::rows::Collector;
use super::schema::SchemaTexts;
use super::{CompareError, There, Wanted, What};
use crate::format::digest::Digest;
use crate::format::manifest::{Sequence, Table, TableData};
use crate::format::reader::{Archive, Section};
use crate::progress::Progress;

impl There for Archive {
    fn tables(&self) -> &[Table] {
        &self.manifest().tables
    }

    fn schema(&mut self, _: &dyn Progress) -> Result<SchemaTexts, CompareError> {
        texts(self)
    }

    fn sums(
        &mut self,
        wanted: &[Wanted],
        _: &std::sync::Arc<dyn Progress>,
    ) -> Result<Vec<Option<(u64, Digest)>>, CompareError> {
        let sum = |data: TableData| (data.rows, data.digest);
        Ok(wanted
            .iter()
            .map(|wanted| match wanted.what {
                What::LargeObjects => self.manifest().large_objects.map(sum),
                What::Table(number) => {
                    let table = self.manifest().tables.get(number)?;
                    let names = table.stored_columns().map(|column| &column.name);
                    // In another order rows have another text.
                    table.data.map(sum).filter(|_| names.eq(&wanted.columns))
                }
            })
            .collect())
    }

    fn rows(
        &mut self,
        wanted: &Wanted,
        make: &dyn Fn(Option<Vec<usize>>) -> Result<Collector, CompareError>,
        progress: &std::sync::Arc<dyn Progress>,
    ) -> Result<Collector, CompareError> {
        let (fields, data) = match wanted.what {
            What::LargeObjects => (None, self.manifest().large_objects),
            What::Table(number) => match self.manifest().tables.get(number) {
                Some(table) => (fields(table, &wanted.columns), table.data),
                None => (None, None),
            },
        };
        let mut collector = make(fields)?;
        collect(self, data, &mut collector, progress.as_ref())?;
        Ok(collector)
    }

    fn count(&mut self, table: usize, _: &dyn Progress) -> Result<u64, CompareError> {
        let data = self.manifest().tables.get(table).and_then(|table| table.data);
        Ok(data.map_or(0, |data| data.rows))
    }

    fn has_large_objects(&self) -> bool {
        self.manifest().large_objects.is_some()
    }

    fn sequences(&mut self, _: &dyn Progress) -> Result<Vec<Sequence>, CompareError> {
        Ok(self.manifest().sequences.clone())
    }

    fn finish(&mut self, _: &dyn Progress) -> Result<(), CompareError> {
        Ok(())
    }
}

/// Both SQL files and their objects.
pub(super) fn texts(archive: &Archive) -> Result<SchemaTexts, CompareError> {
    Ok(SchemaTexts {
        schema: archive.manifest().schema.clone(),
        pre: archive.schema_sql(Section::PreData)?,
        post: archive.schema_sql(Section::PostData)?,
        pg_dump_version: archive.manifest().source.pg_dump_version.clone(),
    })
}

/// Where the columns of these names are in the rows of `table`; none if these are all, in order.
pub(super) fn fields(table: &Table, columns: &[String]) -> Option<Vec<usize>> {
    let stored: Vec<&String> = table.stored_columns().map(|column| &column.name).collect();
    if stored.iter().copied().eq(columns) {
        return None;
    }
    Some(
        columns
            .iter()
            .filter_map(|name| stored.iter().position(|stored| *stored == name))
            .collect(),
    )
}

/// Gives all rows to `collector`.
pub(super) fn collect(
    archive: &Archive,
    data: Option<TableData>,
    collector: &mut Collector,
    progress: &dyn Progress,
) -> Result<(), CompareError> {
    let Some(data) = data else { return Ok(()) };
    let before = collector.rows();
    for number in data.first_segment..data.first_segment.saturating_add(data.segments) {
        if progress.interrupted() {
            return Err(CompareError::Interrupted);
        }
        let text = archive.segment(number)?;
        let rows = collector.rows();
        collector.take(&text).map_err(CompareError::Scratch)?;
        progress.rows(collector.rows() - rows);
        progress.bytes(u64::try_from(text.len()).unwrap_or(0));
    }
    let read = collector.rows() - before;
    if read == data.rows { Ok(()) } else { Err(CompareError::Rows { read, sealed: data.rows }) }
}
