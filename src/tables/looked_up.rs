//! Columns that a table's file holds as an id alone: endpoint, status and tags of a sample, the metric of a window.
//!
//! A run's `tag_sets` and `series` are lists in the order of their ids, so a column of text is the list's views taken by
//! the id column: 16 bytes a row, no text copied, no join. Views and not dictionaries, because the engine groups by views
//! without converting rows, and because different tag sets have equal endpoints, which a dictionary must not.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatchReader, StringArray, StringViewArray};
use arrow::compute::{TakeOptions, concat_batches, take};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, UInt32Type};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{CardinalityEffect, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::future::{BoxFuture, FutureExt, Shared};
use futures::stream::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::schemas::RUN_ID;

/// One run's list, read once, when the first of its rows comes by.
type List = Shared<BoxFuture<'static, Result<Arc<Vec<ArrayRef>>, Arc<DataFusionError>>>>;

/// The lists of all runs of a scan.
pub struct Lists {
    by_run: HashMap<String, List>,
}

impl Lists {
    /// `paths`: of the list's file, by run. `id`: the file's column of ids, 0, 1, 2, ... `columns`: those to be read.
    pub fn new(
        objects: &Arc<dyn ObjectStore>,
        paths: impl IntoIterator<Item = (String, Path)>,
        id: &'static str,
        columns: &[FieldRef],
    ) -> Lists {
        let columns: Arc<[FieldRef]> = columns.into();
        let by_run = paths.into_iter().map(|(run_id, path)| {
            let read = read_list(objects.clone(), path, id, columns.clone());
            (run_id, read.map(|list| list.map(Arc::new).map_err(Arc::new)).boxed().shared())
        });
        Lists { by_run: by_run.collect() }
    }

    fn of(&self, run_id: &str) -> Result<List> {
        self.by_run.get(run_id).cloned().ok_or_else(|| damaged(format!("run {run_id} lacks the table of its ids")))
    }
}

impl fmt::Debug for Lists {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Lists of {} runs", self.by_run.len())
    }
}

fn damaged(what: String) -> DataFusionError {
    DataFusionError::ParquetError(Box::new(parquet::errors::ParquetError::General(what)))
}

async fn read_list(
    objects: Arc<dyn ObjectStore>,
    path: Path,
    id: &'static str,
    columns: Arc<[FieldRef]>,
) -> Result<Vec<ArrayRef>> {
    let bytes = objects.get(&path).await?.bytes().await?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let names = std::iter::once(id).chain(columns.iter().map(|column| column.name().as_str()));
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    let reader = builder.with_projection(mask).build()?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    let list = concat_batches(&schema, &batches)?;
    let ids = list.column_by_name(id).and_then(|ids| ids.as_primitive_opt::<UInt32Type>());
    let in_order = ids.is_some_and(|ids| ids.values().iter().enumerate().all(|(row, id)| row == *id as usize));
    if !in_order {
        return Err(damaged(format!("{path} is damaged: its rows are not in the order of {id}")));
    }
    let column = |field: &FieldRef| -> Result<ArrayRef> {
        // A file from before the column existed.
        let Some(values) = list.column_by_name(field.name()) else {
            return Ok(arrow::array::new_null_array(field.data_type(), list.num_rows()));
        };
        Ok(match values.as_any().downcast_ref::<StringArray>() {
            Some(text) => Arc::new(StringViewArray::from(text)),
            None => values.clone(),
        })
    };
    columns.iter().map(column).collect()
}

/// Where a column of the output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Index into the columns of the input.
    Input(usize),
    /// Index into the columns of the lists.
    List(usize),
}

/// Adds the columns of lists to batches of which each is of one run.
#[derive(Debug, Clone)]
pub struct LookedUpExec {
    input: Arc<dyn ExecutionPlan>,
    lists: Arc<Lists>,
    columns: Arc<[From]>,
    /// Of the id and the run in the input.
    id_index: usize,
    run_index: usize,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl LookedUpExec {
    /// `columns`: with `schema`'s fields. The input has the column `id` and the run's id.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        lists: Arc<Lists>,
        columns: Arc<[From]>,
        schema: SchemaRef,
        id: &str,
    ) -> Result<LookedUpExec> {
        let (id_index, run_index) = (input.schema().index_of(id)?, input.schema().index_of(RUN_ID)?);
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            input.boundedness(),
        ));
        Ok(LookedUpExec { input, lists, columns, id_index, run_index, schema, properties })
    }
}

impl DisplayAs for LookedUpExec {
    fn fmt_as(&self, _: DisplayFormatType, formatter: &mut fmt::Formatter) -> fmt::Result {
        let looked_up = self.schema.fields().iter().zip(self.columns.iter());
        let names: Vec<&str> = looked_up
            .filter(|(_, from)| matches!(from, From::List(_)))
            .map(|(field, _)| field.name().as_str())
            .collect();
        let id = self.input.schema().field(self.id_index).name().clone();
        write!(formatter, "LookedUpExec: [{}] by {id}", names.join(", "))
    }
}

impl ExecutionPlan for LookedUpExec {
    fn name(&self) -> &'static str {
        "LookedUpExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else { return internal_err!("LookedUpExec has one input") };
        let id = self.input.schema().field(self.id_index).name().clone();
        let (lists, columns, schema) = (self.lists.clone(), self.columns.clone(), self.schema.clone());
        Ok(Arc::new(LookedUpExec::new(input, lists, columns, schema, &id)?))
    }

    // The trait asks for it still; nothing calls it.
    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    // Said to be lost, though it is not: the optimizer would sort below, and a batch would hold rows of several runs.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    // Rows dealt out below would mix the runs, too.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        for (column, from) in statistics.column_statistics.iter_mut().zip(self.columns.iter()) {
            if let (From::Input(index), Some(input)) = (from, inputs.first())
                && let Some(known) = input.column_statistics.get(*index)
            {
                *column = known.clone();
            }
        }
        if let Some(input) = inputs.first() {
            statistics.num_rows = input.num_rows;
        }
        Ok(Arc::new(statistics))
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        // Columns of the file keep their names, and no list has a column of such a name.
        let all = (0..self.schema.fields().len()).collect();
        let child = ChildFilterDescription::from_child_with_allowed_indices(&filters, all, &self.input)?;
        Ok(FilterDescription::new().with_child(child))
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let this = self.clone();
        let batches = input.try_filter(|batch| std::future::ready(batch.num_rows() > 0));
        let batches = batches.and_then(move |batch| {
            let this = this.clone();
            async move { this.look_up(&batch).await }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches)))
    }
}

impl LookedUpExec {
    async fn look_up(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let runs = batch.column(self.run_index).as_string_view();
        let (first, last) = (runs.value(0), runs.value(runs.len() - 1));
        if first != last {
            return internal_err!("a batch holds rows of the runs {first} and {last}");
        }
        let list = self.lists.of(first)?.await.map_err(DataFusionError::Shared)?;
        let ids = batch.column(self.id_index);
        let column = |from: &From| match from {
            From::Input(index) => Ok(batch.column(*index).clone()),
            // Checked, so that a damaged file is an error.
            From::List(index) => take(&list[*index], ids, Some(TakeOptions { check_bounds: true })),
        };
        let columns = self.columns.iter().map(column).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// Returns how a list's column is seen in a table: text as views.
pub fn seen(schema: &Schema, name: &str) -> Result<FieldRef> {
    let field = schema.field_with_name(name)?.clone().with_nullable(true);
    let kind = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        other => other.clone(),
    };
    Ok(Arc::new(field.with_data_type(kind)))
}
