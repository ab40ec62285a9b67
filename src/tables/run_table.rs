//! One table over all kept runs: a Parquet file per run, read as one, with the run's id as a column.
//!
//! The manifests tell every file's place, size and rows, so planning opens nothing: a filter on `run_id` leaves runs out
//! here, one on the file's own columns goes to the Parquet reader, which leaves out row groups by their statistics.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType, ident};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::ObjectStore;
use object_store::path::Path;

use super::looked_up::{From, Lists, LookedUpExec, seen};
use super::schemas::RUN_ID;

/// What one request at a file's end most likely holds: its footer.
const FOOTER_BYTES: usize = 64 << 10;

/// A file below this is read by one core: opening it twice would cost more than the second core brings.
const SPLIT_BYTES_MIN: u64 = 2 << 20;

/// Pieces of files for each core, so that a core that is done early takes over from another.
const PIECES_A_CORE: usize = 4;

/// A file of one table of one run, as its manifest says.
#[derive(Debug, Clone)]
pub struct RunFile {
    pub path: Path,
    pub bytes: u64,
    pub rows: u64,
}

/// One run's files, by table.
#[derive(Debug, Clone)]
pub struct RunFiles {
    pub run_id: String,
    pub tables: BTreeMap<String, RunFile>,
}

/// The columns that a table takes from another by an id.
#[derive(Debug, Clone)]
pub struct LookUp {
    /// The table that is a list of what the ids mean.
    pub table: &'static str,
    pub id: &'static str,
    pub schema: SchemaRef,
}

#[derive(Debug)]
pub struct RunTable {
    name: &'static str,
    objects: Arc<dyn ObjectStore>,
    objects_url: ObjectStoreUrl,
    runs: Arc<Vec<RunFiles>>,
    look_up: Option<LookUp>,
    /// The files' columns, then the run's id.
    file_schema: TableSchema,
    /// The columns that people see, and where each comes from.
    schema: SchemaRef,
    columns: Vec<From>,
    list_fields: Vec<FieldRef>,
}

impl RunTable {
    /// `order`: the columns that people see, but the run's id, which is the first.
    pub fn new(
        name: &'static str,
        file_schema: SchemaRef,
        look_up: Option<LookUp>,
        order: &[&str],
        (objects, objects_url): (Arc<dyn ObjectStore>, ObjectStoreUrl),
        runs: Arc<Vec<RunFiles>>,
    ) -> Result<RunTable> {
        let run_id: FieldRef = Arc::new(Field::new(RUN_ID, DataType::Utf8View, false));
        let file_schema = TableSchema::builder(file_schema).with_table_partition_cols(vec![run_id]).build();
        let (mut fields, mut columns, mut list_fields) = (Vec::new(), Vec::new(), Vec::new());
        for column in std::iter::once(&RUN_ID).chain(order) {
            match (file_schema.table_schema().index_of(column), &look_up) {
                (Err(_), Some(look_up)) => {
                    columns.push(From::List(list_fields.len()));
                    list_fields.push(seen(&look_up.schema, column)?);
                    fields.push(list_fields[list_fields.len() - 1].clone());
                }
                (index, _) => {
                    let index = index?;
                    columns.push(From::Input(index));
                    fields.push(file_schema.table_schema().fields()[index].clone());
                }
            }
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(RunTable { name, objects, objects_url, runs, look_up, file_schema, schema, columns, list_fields })
    }

    fn reads_run_id_alone(&self, filter: &Expr) -> bool {
        let columns = filter.column_refs();
        !columns.is_empty() && columns.iter().all(|column| column.name == RUN_ID) && !filter.is_volatile()
    }

    /// Returns the runs that have this table and that the filters on the run's id alone let through.
    fn runs_for(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<&RunFiles>> {
        let runs: Vec<&RunFiles> = self.runs.iter().filter(|run| run.tables.contains_key(self.name)).collect();
        let ids: StringViewArray = runs.iter().map(|run| Some(run.run_id.as_str())).collect();
        let schema = Arc::new(Schema::new(vec![Field::new(RUN_ID, DataType::Utf8View, false)]));
        let table = RecordBatch::try_new(schema.clone(), vec![Arc::new(ids)])?;
        let schema = DFSchema::try_from(schema)?;
        let mut kept = BooleanArray::from(vec![true; runs.len()]);
        for filter in filters.iter().filter(|filter| self.reads_run_id_alone(filter)) {
            let physical = state.create_physical_expr(unqualified(filter.clone())?, &schema)?;
            let passes = physical.evaluate(&table)?.into_array(runs.len())?;
            kept = arrow::compute::and_kleene(&kept, passes.as_boolean())?;
        }
        let is_kept = |index: &usize| kept.is_valid(*index) && kept.value(*index);
        Ok((0..runs.len()).filter(is_kept).map(|index| runs[index]).collect())
    }

    async fn scan_runs(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let wanted = projection.unwrap_or(&all);
        let schema = Arc::new(self.schema.project(wanted)?);
        let runs = self.runs_for(state, filters)?;
        if runs.is_empty() {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let columns: Vec<From> = wanted.iter().map(|index| self.columns[*index]).collect();
        let looks_up = columns.iter().any(|from| matches!(from, From::List(_)));
        let mut read: Vec<usize> = columns
            .iter()
            .filter_map(|from| match from {
                From::Input(index) => Some(*index),
                From::List(_) => None,
            })
            .collect();
        let (Some(look_up), true) = (&self.look_up, looks_up) else {
            return self.scan_files(state, &runs, read, limit);
        };
        let full = self.file_schema.table_schema();
        for needed in [full.index_of(look_up.id)?, full.index_of(RUN_ID)?] {
            if !read.contains(&needed) {
                read.push(needed);
            }
        }
        // From here on the columns are those of the scan and of the lists, not of the whole files.
        let (mut list_fields, mut rebased) = (Vec::new(), Vec::new());
        for from in columns {
            rebased.push(match from {
                From::Input(index) => From::Input(read.iter().position(|one| *one == index).unwrap_or_default()),
                From::List(index) => {
                    list_fields.push(self.list_fields[index].clone());
                    From::List(list_fields.len() - 1)
                }
            });
        }
        let paths =
            runs.iter().filter_map(|run| Some((run.run_id.clone(), run.tables.get(look_up.table)?.path.clone())));
        let lists = Lists::new(&self.objects, paths, look_up.id, &list_fields);
        let input = self.scan_files(state, &runs, read, limit)?;
        Ok(Arc::new(LookedUpExec::new(input, Arc::new(lists), rebased.into(), schema, look_up.id)?))
    }

    /// Returns the scan of the runs' files; `read`: indices into the files' columns and the run's id.
    fn scan_files(
        &self,
        state: &dyn Session,
        runs: &[&RunFiles],
        read: Vec<usize>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let metadata = state.runtime_env().cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(self.objects.clone(), metadata);
        let source = ParquetSource::new(self.file_schema.clone())
            .with_table_parquet_options(state.default_table_options().parquet)
            .with_metadata_size_hint(FOOTER_BYTES)
            .with_parquet_file_reader_factory(Arc::new(reader));
        let files: Vec<PartitionedFile> = runs
            .iter()
            .map(|run| {
                let file = &run.tables[self.name];
                let mut partitioned = PartitionedFile::new(String::new(), file.bytes);
                partitioned.object_meta.location = file.path.clone();
                let run_id = ScalarValue::Utf8View(Some(run.run_id.clone()));
                partitioned.with_partition_values(vec![run_id])
            })
            .collect();
        let rows: u64 = runs.iter().map(|run| run.tables[self.name].rows).sum();
        let mut statistics = Statistics::new_unknown(self.file_schema.table_schema());
        statistics.num_rows = Precision::Exact(rows as usize);
        let scan = FileScanConfigBuilder::new(self.objects_url.clone(), Arc::new(source))
            .with_file_groups(pieces(files, state.config().target_partitions()))
            .with_statistics(statistics)
            .with_limit(limit)
            .with_projection_indices(Some(read))?
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

/// Deals files out to the cores, large ones in several pieces.
fn pieces(files: Vec<PartitionedFile>, cores: usize) -> Vec<FileGroup> {
    let total: u64 = files.iter().map(|file| file.object_meta.size).sum();
    let piece_bytes = (total / (cores * PIECES_A_CORE) as u64).max(SPLIT_BYTES_MIN);
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); cores.max(1)];
    for file in files {
        let bytes = file.object_meta.size;
        let pieces_count = bytes.div_ceil(piece_bytes).max(1);
        for piece in 0..pieces_count {
            let (from, until) = (bytes * piece / pieces_count, bytes * (piece + 1) / pieces_count);
            let least = groups.iter_mut().min_by_key(|(bytes, _)| *bytes).expect("there is at least one core");
            least.0 += (until - from).max(1);
            let piece =
                if pieces_count == 1 { file.clone() } else { file.clone().with_range(from as i64, until as i64) };
            least.1.push(piece);
        }
    }
    groups.into_iter().filter(|(_, files)| !files.is_empty()).map(|(_, files)| FileGroup::new(files)).collect()
}

/// Returns a filter whose columns do not name their table, as a table's own schema knows them.
fn unqualified(filter: Expr) -> Result<Expr> {
    let unqualified = filter.transform(|expression| {
        Ok(match expression {
            Expr::Column(column) => Transformed::yes(ident(column.name)),
            other => Transformed::no(other),
        })
    })?;
    Ok(unqualified.data)
}

type ScanFuture<'f> = Pin<Box<dyn Future<Output = Result<Arc<dyn ExecutionPlan>>> + Send + 'f>>;

impl TableProvider for RunTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// A filter on the run's id alone is decided here; those on other columns go on to the reader with the plan.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match self.reads_run_id_alone(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    // What `async_trait` makes of `async fn scan`: the trait is declared with it.
    fn scan<'this, 'state, 'projection, 'filters, 'all>(
        &'this self,
        state: &'state dyn Session,
        projection: Option<&'projection Vec<usize>>,
        filters: &'filters [Expr],
        limit: Option<usize>,
    ) -> ScanFuture<'all>
    where
        'this: 'all,
        'state: 'all,
        'projection: 'all,
        'filters: 'all,
        Self: 'all,
    {
        Box::pin(self.scan_runs(state, projection, filters, limit))
    }
}
