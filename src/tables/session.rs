//! SQL over the kept runs: a DataFusion session in which they can be read, within limits, and nothing else can be done.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, ParamValues, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use object_store::ObjectStore;

use super::percentile_udaf::k6_percentile;
use super::query_error::{QueryError, explain};
use super::run_table::{LookUp, RunFiles, RunTable};
use super::runs::{self, RunFacts};
use super::schemas::{self, RUN_ID};
use super::sketch_udaf::sketch_percentile;

/// Enough for the exact percentiles of some ten million samples; sorts and joins beyond it go to the disk.
const MEMORY_BYTES: usize = 256 << 20;
/// Groups of consumers that an error about memory names.
const CONSUMERS_NAMED: std::num::NonZeroUsize = std::num::NonZeroUsize::new(3).expect("three is not zero");
/// Batches that wait for a slow reader of the answer.
const BATCHES_WAITING: usize = 2;
/// Where the engine finds the store's objects; nobody sees this address.
const OBJECTS_URL: &str = "tidemark://store";

/// A kept run: what its manifest says of it, and where its tables lie.
#[derive(Debug, Clone)]
pub struct KeptRun {
    pub facts: RunFacts,
    pub files: RunFiles,
}

/// A query with the values of its parameters.
#[derive(Debug, Clone)]
pub struct Query {
    pub sql: String,
    /// By name, without `$`.
    pub parameters: HashMap<String, ScalarValue>,
    /// Rows that are answered at most.
    pub rows_max: Option<usize>,
    /// From the start of the query; the time in which the answer's reader keeps it waiting does not count.
    pub timeout: Duration,
}

/// Whether all rows of the answer were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    All,
    /// There are more rows than `rows_max`.
    Cut,
}

/// Answers one query over `runs`.
///
/// `each` is called with every batch of the answer; the first one is empty and tells the columns.
pub fn answer(
    objects: Arc<dyn ObjectStore>,
    runs: Vec<KeptRun>,
    query: &Query,
    each: &mut dyn FnMut(&RecordBatch) -> io::Result<()>,
) -> Result<Rows, QueryError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_all().build();
    let runtime = runtime.map_err(QueryError::Start)?;
    let (sender, receiver) = sync_channel(BATCHES_WAITING);
    let (task_query, task_sender) = (query.clone(), sender);
    // Planning and execution run there, so that whatever they do, the time can be kept here.
    runtime.spawn(async move {
        let end = match open(objects, runs, cores) {
            Ok((context, tables)) => {
                let result = execute(&context, &task_query, &task_sender).await;
                result.map_err(|error| explain(error, &task_query.sql, &tables, MEMORY_BYTES))
            }
            Err(error) => Err(explain(error, &task_query.sql, &[], MEMORY_BYTES)),
        };
        // The one who asked went away when this fails: nobody is left to be told.
        let _ = tokio::task::block_in_place(|| task_sender.send(Message::End(end)));
    });
    let mut time_left = query.timeout;
    let result = loop {
        let began = Instant::now();
        match receiver.recv_timeout(time_left) {
            Ok(Message::Batch(batch)) => {
                time_left = time_left.saturating_sub(began.elapsed());
                if let Err(error) = each(&batch) {
                    break Err(QueryError::Answer(error));
                }
            }
            Ok(Message::End(end)) => break end,
            Err(RecvTimeoutError::Timeout) => {
                break Err(QueryError::TimedOut { seconds: query.timeout.as_secs_f64() });
            }
            Err(RecvTimeoutError::Disconnected) => break Err(QueryError::NoAnswer),
        }
    };
    // What still runs is of no use to anybody; waiting for it would make a timeout none.
    runtime.shutdown_background();
    result
}

enum Message {
    Batch(RecordBatch),
    End(Result<Rows, QueryError>),
}

/// Returns a session with all tables, and their names.
fn open(
    objects: Arc<dyn ObjectStore>,
    runs: Vec<KeptRun>,
    cores: usize,
) -> Result<(SessionContext, Vec<String>), DataFusionError> {
    let mut config = SessionConfig::new().with_information_schema(true).with_target_partitions(cores);
    // Row groups hold one metric each: what passes by its statistics alone is not looked at row by row.
    config.options_mut().execution.parquet.pushdown_filters = true;
    let pool = TrackConsumersPool::new(GreedyMemoryPool::new(MEMORY_BYTES), CONSUMERS_NAMED);
    let environment = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc()?;
    let context = SessionContext::new_with_config_rt(config, environment);
    let url = ObjectStoreUrl::parse(OBJECTS_URL)?;
    context.register_object_store(url.as_ref(), objects.clone());
    context.register_udaf(k6_percentile());
    context.register_udaf(sketch_percentile());

    let (facts, files): (Vec<RunFacts>, Vec<RunFiles>) = runs.into_iter().map(|run| (run.facts, run.files)).unzip();
    let files = Arc::new(files);
    let mut names = vec!["runs".to_owned()];
    let rows = runs::rows(&facts)?;
    context.register_table("runs", Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))?;
    for (name, schema, look_up, order) in tables() {
        let own: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let order: Vec<&str> = if order.is_empty() { own.iter().map(String::as_str).collect() } else { order.to_vec() };
        let table = RunTable::new(name, schema, look_up, &order, (objects.clone(), url.clone()), files.clone())?;
        context.register_table(name, Arc::new(table))?;
        names.push(name.to_owned());
    }
    Ok((context, names))
}

/// Returns every table with its columns, as people see them.
pub fn table_columns() -> Vec<(&'static str, Vec<String>)> {
    let names = |schema: &arrow::datatypes::Schema| schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut all: Vec<(&'static str, Vec<String>)> = vec![("runs", names(&schemas::runs()))];
    for (table, schema, _, order) in tables() {
        let columns: Vec<String> =
            if order.is_empty() { names(&schema) } else { order.iter().map(|name| (*name).to_owned()).collect() };
        all.push((table, std::iter::once(RUN_ID.to_owned()).chain(columns).collect()));
    }
    all
}

type TableShape = (&'static str, arrow::datatypes::SchemaRef, Option<LookUp>, &'static [&'static str]);

/// Returns every table that lies in files: its name, the files' schema, and what people see in which order; nothing
/// said, they see the file as it is.
fn tables() -> Vec<TableShape> {
    let by_tags = LookUp { table: "tag_sets", id: "tag_set_id", schema: schemas::tag_sets() };
    let by_series = LookUp { table: "series", id: "series_id", schema: schemas::series() };
    let samples: &[&str] = &[
        "time",
        "metric",
        "value",
        "endpoint",
        "method",
        "status",
        "scenario",
        "group",
        "expected_response",
        "check",
        "error_code",
        "tags",
        "metadata",
        "series_id",
        "tag_set_id",
    ];
    let windows: &[&str] = &[
        "window_start",
        "metric",
        "endpoint",
        "method",
        "scenario",
        "group",
        "expected_response",
        "check",
        "samples_count",
        "nonzero_count",
        "sum",
        "min",
        "max",
        "last",
        "p50",
        "p90",
        "p95",
        "p99",
        "sketch",
        "series_id",
    ];
    vec![
        ("samples", schemas::samples(), Some(by_tags), samples),
        ("windows", schemas::windows(), Some(by_series), windows),
        ("series", schemas::series(), None, &[]),
        ("tag_sets", schemas::tag_sets(), None, &[]),
        ("blocks", schemas::blocks(), None, &[]),
        ("metrics", schemas::metrics(), None, &[]),
        ("thresholds", schemas::thresholds(), None, &[]),
        ("host_metrics", schemas::host_metrics(), None, &[]),
        ("spans", schemas::spans(), None, &[]),
        ("profiles", schemas::profiles(), None, &[]),
        ("logs", schemas::logs(), None, &[]),
    ]
}

async fn execute(
    context: &SessionContext,
    query: &Query,
    sender: &SyncSender<Message>,
) -> Result<Rows, DataFusionError> {
    let state = context.state();
    let plan = state.create_logical_plan(&query.sql).await?;
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
    let plan = if query.parameters.is_empty() {
        plan
    } else {
        plan.with_param_values(ParamValues::from(query.parameters.clone()))?
    };
    let is_about_queries =
        matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_));
    let plan = match query.rows_max {
        // One more, to know whether there are more.
        Some(rows_max) if !is_about_queries => {
            LogicalPlanBuilder::from(plan).limit(0, Some(rows_max.saturating_add(1)))?.build()?
        }
        _ => plan,
    };
    let mut batches = context.execute_logical_plan(plan).await?.execute_stream().await?;
    let send = |batch: RecordBatch| tokio::task::block_in_place(|| sender.send(Message::Batch(batch)));
    // A failure to send means that the one who asked went away; then nothing more is wanted.
    if send(RecordBatch::new_empty(batches.schema())).is_err() {
        return Ok(Rows::All);
    }
    let mut rows_left = query.rows_max.unwrap_or(usize::MAX);
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let kept = batch.num_rows().min(rows_left);
        rows_left -= kept;
        if kept > 0 && send(batch.slice(0, kept)).is_err() {
            return Ok(Rows::All);
        }
        if kept < batch.num_rows() {
            return Ok(Rows::Cut);
        }
    }
    Ok(Rows::All)
}
