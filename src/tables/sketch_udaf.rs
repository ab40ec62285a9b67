//! `sketch_percentile(sketch, p)` for SQL: percentiles over windows whose samples are gone, to within 0.4 %.

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use crate::stats::sketch::Sketch;

use super::percentile_udaf::quantile_of;

pub const NAME: &str = "sketch_percentile";

/// Returns the function, to be registered in a session.
pub fn sketch_percentile() -> AggregateUDF {
    AggregateUDF::from(SketchPercentile { signature: Signature::any(2, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SketchPercentile {
    signature: Signature,
}

impl AggregateUDFImpl for SketchPercentile {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format_state_name(arguments.name, "sketch");
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Merged { p: quantile_of(NAME, &arguments)?, sketch: Sketch::default() }))
    }
}

#[derive(Debug)]
struct Merged {
    p: f64,
    sketch: Sketch,
}

impl Accumulator for Merged {
    fn update_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        self.merge_batch(arguments)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.sketch.quantile(self.p)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + size_of_val(self.sketch.buckets())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(std::mem::take(&mut self.sketch).to_bytes()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sketches = cast(&states[0], &DataType::Binary)?;
        for bytes in sketches.as_binary::<i32>().iter().flatten() {
            self.sketch.merge_bytes(bytes).map_err(|error| exec_datafusion_err!("{NAME}: {error}"))?;
        }
        Ok(())
    }
}
