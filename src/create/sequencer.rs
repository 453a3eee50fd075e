//! The one that takes what readers have read, in the order of their tasks, and gives it to the
//! [`Sink`]: see [`super::pump`].

use std::sync::Arc;

use tokio::sync::mpsc;

use super::budget::Budget;
use super::pump::{Failed, Item, PumpError, Sink, Slice, What};
use crate::format::manifest::Table;
use crate::format::writer::WriteError;
use crate::progress::Progress;

pub(super) struct Sequencer {
    pub(super) tables: Arc<Vec<Table>>,
    pub(super) budget: Budget,
    pub(super) progress: Arc<dyn Progress>,
}

impl Sequencer {
    pub(super) fn run<S: Sink>(
        &self,
        steps: Vec<(What, usize)>,
        mut orders: mpsc::UnboundedReceiver<mpsc::UnboundedReceiver<Item>>,
        mut sink: S,
    ) -> Result<(S, Vec<(What, u64)>), Failed> {
        let mut number = 0;
        let mut read = Vec::with_capacity(steps.len());
        for (what, tasks) in steps {
            let name = match what {
                What::Table(table) => self.tables.get(table).map(|table| table.name.to_string()),
                What::LargeObjects => None,
            };
            let name = name.unwrap_or_else(|| "large objects".into());
            self.progress.on(&name);
            sink.begin(what).map_err(wrote)?;
            for _ in 0..tasks {
                let mut items = orders.blocking_recv().ok_or(Failed::Stopped)?;
                self.budget.advance(number);
                number += 1;
                loop {
                    match items.blocking_recv().ok_or(Failed::Stopped)? {
                        Item::End => break,
                        item => self.item(item, &name, &mut sink)?,
                    }
                }
            }
            read.push((what, sink.end(what).map_err(wrote)?));
        }
        Ok((sink, read))
    }

    fn item<S: Sink>(&self, item: Item, name: &str, sink: &mut S) -> Result<(), Failed> {
        match item {
            Item::Batch { permit, bytes, batch } => {
                let batch = batch
                    .blocking_recv()
                    .map_err(|_| Failed::Error(PumpError::Internal("a conversion panicked")))?
                    .map_err(|source| {
                        Failed::Error(PumpError::Rows { table: name.to_owned(), source })
                    })?;
                self.progress.rows(batch.sum().rows);
                self.progress.bytes(u64::try_from(bytes).unwrap_or(0));
                sink.batch(&batch).map_err(wrote)?;
                drop(permit);
            }
            Item::Blob { mut slices, answer } => {
                // A slice's bytes are given back when the next one is asked for: the sink has
                // taken it in by then.
                let mut held = None;
                let mut stopped = false;
                let mut next = || {
                    drop(held.take());
                    match slices.blocking_recv() {
                        Some(Slice::Data(permit, data)) => {
                            held = Some(permit);
                            self.progress.bytes(u64::try_from(data.len()).unwrap_or(0));
                            Ok(Some(data))
                        }
                        Some(Slice::End) => Ok(None),
                        None => {
                            stopped = true;
                            Err(WriteError::Internal("a value ended early"))
                        }
                    }
                };
                let value = sink.blob(&mut next);
                if stopped {
                    return Err(Failed::Stopped);
                }
                let _ = answer.send(value.map_err(wrote)?);
            }
            Item::End => {}
        }
        Ok(())
    }
}

fn wrote(error: WriteError) -> Failed {
    Failed::Error(error.into())
}
