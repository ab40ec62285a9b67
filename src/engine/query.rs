//! A question to the kept runs: the store says where their tables lie, `tables` reads them by SQL.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;

use crate::store::manifest::Manifest;
use crate::store::{Store, StoreError, resolve};
use crate::tables::queries::{NamedQuery, ParameterKind};
use crate::tables::query_error::{QueryError, nearest};
use crate::tables::run_table::{RunFile, RunFiles};
use crate::tables::runs::RunFacts;
use crate::tables::session::{KeptRun, Query, Rows, answer};

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// A run that the question names is not there, or not the only one.
    #[error(transparent)]
    Run(StoreError),
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// What is asked.
#[derive(Debug, Clone)]
pub enum Asked {
    Sql(String),
    Named(NamedQuery),
}

#[derive(Debug, Clone)]
pub struct Question {
    pub asked: Asked,
    /// By name, without `$`.
    pub parameters: Vec<(String, String)>,
    /// Ids, unique starts of ids, `last`, `last~2`; none: all runs.
    pub runs: Vec<String>,
    pub rows_max: Option<usize>,
    pub timeout: Duration,
}

/// What is known of an answer when it is there.
#[derive(Debug)]
pub struct Answered {
    pub rows: Rows,
    /// The runs that the parameters of a named query stood for: each parameter's name and the run's id.
    pub runs: Vec<(String, String)>,
}

/// Asks the runs of a store; `each` gets the answer batch by batch, the first one empty, for the columns.
///
/// A manifest that cannot be read is left out and handed to `unreadable`.
pub fn ask(
    store: &Store,
    question: &Question,
    unreadable: &mut dyn FnMut(&str),
    each: &mut dyn FnMut(&RecordBatch) -> io::Result<()>,
) -> Result<Answered, AskError> {
    let (mut manifests, faulty) = store.manifests().map_err(AskError::Store)?;
    faulty.iter().for_each(|manifest| unreadable(manifest));
    if !question.runs.is_empty() {
        let named = question.runs.iter().map(|name| resolve(&manifests, name).map(|run| run.run_id.clone()));
        let named = named.collect::<Result<Vec<String>, _>>().map_err(AskError::Run)?;
        manifests.retain(|manifest| named.contains(&manifest.run_id));
    }
    let mut asked_runs = Vec::new();
    let (sql, parameters) = match &question.asked {
        Asked::Sql(sql) => {
            let guessed = question.parameters.iter().map(|(name, text)| (name.clone(), guess(text)));
            (sql.clone(), guessed.collect())
        }
        Asked::Named(query) => {
            (query.sql.to_owned(), values(query, &question.parameters, &manifests, &mut asked_runs)?)
        }
    };
    let query = Query { sql, parameters, rows_max: question.rows_max, timeout: question.timeout };
    let runs = manifests.iter().map(|manifest| kept_run(store, manifest)).collect();
    Ok(Answered { rows: answer(store.objects(), runs, &query, each)?, runs: asked_runs })
}

fn kept_run(store: &Store, manifest: &Manifest) -> KeptRun {
    let file = |table| RunFile { path: store.table_path(manifest, table), bytes: table.bytes, rows: table.rows };
    let tables = manifest.tables.iter().map(|table| (table.table.clone(), file(table))).collect();
    let samples = manifest.tables.iter().find(|table| table.table == "samples");
    let facts = RunFacts {
        run_id: manifest.run_id.clone(),
        test: manifest.test.clone(),
        environment: manifest.environment.clone(),
        commit: manifest.commit.clone(),
        started_at: manifest.started_at,
        ended_at: manifest.ended_at,
        duration_seconds: manifest.duration_seconds,
        verdict: manifest.verdict,
        partial: manifest.partial,
        totals: manifest.totals.clone(),
        latency_p95_ms: manifest.latency_p95_ms,
        samples_count: samples.map_or(0, |samples| samples.rows),
        kept_at: manifest.kept_at,
    };
    KeptRun { facts, files: RunFiles { run_id: manifest.run_id.clone(), tables } }
}

/// Returns the values of a named query's parameters: those given, else the defaults; names the runs among them.
fn values(
    query: &NamedQuery,
    given: &[(String, String)],
    manifests: &[Manifest],
    asked_runs: &mut Vec<(String, String)>,
) -> Result<HashMap<String, ScalarValue>, AskError> {
    let names = || query.parameters.iter().map(|parameter| parameter.name.as_str());
    if let Some((name, _)) = given.iter().find(|(name, _)| !names().any(|known| known == name)) {
        let known: Vec<&str> = names().collect();
        let nearest = nearest(name, names());
        let takes = if known.is_empty() { "takes none".to_owned() } else { format!("takes {}", known.join(", ")) };
        let message = format!("{} has no parameter {name:?}{nearest}; it {takes}", query.name);
        return Err(QueryError::Parameter { message }.into());
    }
    let mut values = HashMap::new();
    for parameter in &query.parameters {
        let given = given.iter().rev().find(|(name, _)| *name == parameter.name).map(|(_, text)| text.as_str());
        let Some(text) = given.or(parameter.default.as_deref()) else {
            let (query, name, kind) = (query.name, &parameter.name, parameter.kind.name());
            let message = format!("{query} needs --param {name}=VALUE ({kind})");
            return Err(QueryError::Parameter { message }.into());
        };
        let value = match parameter.kind {
            _ if given.is_none() && text == "none" => parameter.kind.none(),
            ParameterKind::Run => {
                let run_id = &resolve(manifests, text).map_err(AskError::Run)?.run_id;
                asked_runs.push((parameter.name.clone(), run_id.clone()));
                ScalarValue::from(run_id.as_str())
            }
            kind => kind.value(&parameter.name, text)?,
        };
        values.insert(parameter.name.clone(), value);
    }
    Ok(values)
}

/// Returns the value of a parameter of which no header tells the type.
fn guess(text: &str) -> ScalarValue {
    // A run's id may be digits alone, or look like `12e45`: what would not be written so is text.
    match text.parse::<i64>() {
        Ok(integer) if integer.to_string() == text => return ScalarValue::Int64(Some(integer)),
        _ => {}
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && text.contains('.') => ScalarValue::Float64(Some(number)),
        _ => ScalarValue::from(text),
    }
}
