//! `k6_percentile(value, p)` for SQL: exact, by k6's own interpolation.
//!
//! The query engine's `percentile_cont` rounds the fraction between two values to six digits, so it is not k6's to the
//! last bit. All values of a group are kept until its end; the engine's memory limit bounds them.

use std::mem::{size_of, size_of_val};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{and, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use crate::stats::quantile::{interpolate, position};

pub const NAME: &str = "k6_percentile";

/// Returns the function, to be registered in a session.
pub fn k6_percentile() -> AggregateUDF {
    let signature = Signature::exact(vec![DataType::Float64, DataType::Float64], Volatility::Immutable);
    AggregateUDF::from(K6Percentile { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct K6Percentile {
    signature: Signature,
}

impl AggregateUDFImpl for K6Percentile {
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
        let name = format_state_name(arguments.name, "values");
        Ok(vec![Arc::new(Field::new(name, DataType::List(item()), true))])
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup { p: quantile_of(NAME, &arguments)?, values: Vec::new() }))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        !arguments.is_distinct
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups { p: quantile_of(NAME, &arguments)?, groups: Vec::new(), values_capacity: 0 }))
    }
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float64, false))
}

/// Returns the second argument: a constant from 0 to 1.
pub(super) fn quantile_of(function: &str, arguments: &AccumulatorArgs) -> Result<f64> {
    if arguments.is_distinct {
        return plan_err!("{function} counts every value: leave out DISTINCT");
    }
    let [_, p] = arguments.exprs else { return plan_err!("{function} takes a value and a number from 0 to 1") };
    let nothing = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
    let not_constant =
        || plan_datafusion_err!("the second argument of {function} must be a constant from 0 to 1: got {p}");
    match p.evaluate(&nothing).map_err(|_| not_constant())? {
        ColumnarValue::Scalar(ScalarValue::Float64(Some(p))) if (0.0..=1.0).contains(&p) => Ok(as_k6_divides(p)),
        ColumnarValue::Scalar(ScalarValue::Float64(Some(p))) if (1.0..=100.0).contains(&p) => {
            plan_err!("the second argument of {function} is a fraction from 0 to 1: for p{p} write {}", p / 100.0)
        }
        _ => Err(not_constant()),
    }
}

/// Returns `p` as k6 has it, who divides a percentage by 100: 99.9 / 100 is not 0.999 to the last bit.
fn as_k6_divides(p: f64) -> f64 {
    let divided = (p * 1e8).round() / 1e6 / 100.0;
    // With more digits than those of a percentage that anybody writes, `p` stays what it is.
    if (divided - p).abs() <= 2.0 * f64::EPSILON { divided } else { p }
}

/// Returns quantile `p` of the values, which it reorders; none of no values.
fn select(values: &mut [f64], p: f64) -> Option<f64> {
    let position = position(p, values.len() as u64)?;
    let (_, lower, above) = values.select_nth_unstable_by(position.lower_rank as usize, f64::total_cmp);
    let lower = *lower;
    let upper = if position.upper_rank == position.lower_rank {
        lower
    } else {
        above.iter().copied().min_by(f64::total_cmp).unwrap_or(lower)
    };
    Some(interpolate(lower, upper, position.fraction))
}

fn floats(array: &ArrayRef) -> Result<&Float64Array> {
    array.as_primitive_opt::<Float64Type>().ok_or_else(|| exec_datafusion_err!("{NAME}: values are no doubles"))
}

fn lists(array: &ArrayRef) -> Result<&ListArray> {
    array.as_list_opt::<i32>().ok_or_else(|| exec_datafusion_err!("{NAME}: a partial state is no list"))
}

/// The aggregation without GROUP BY.
#[derive(Debug)]
struct OneGroup {
    p: f64,
    values: Vec<f64>,
}

impl Accumulator for OneGroup {
    fn update_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        let values = floats(&arguments[0])?;
        if values.null_count() == 0 {
            self.values.extend_from_slice(values.values());
        } else {
            self.values.extend(values.iter().flatten());
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(select(&mut self.values, self.p)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = list_of(vec![std::mem::take(&mut self.values)])?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in lists(&states[0])?.iter().flatten() {
            self.values.extend_from_slice(floats(&list)?.values());
        }
        Ok(())
    }
}

/// The aggregation with GROUP BY.
#[derive(Debug)]
struct Groups {
    p: f64,
    groups: Vec<Vec<f64>>,
    /// Of all groups together: summing it up anew for each batch would cost more than the batch.
    values_capacity: usize,
}

impl Groups {
    fn push(&mut self, group: usize, value: f64) {
        let values = &mut self.groups[group];
        if values.len() == values.capacity() {
            let before = values.capacity();
            values.reserve(1);
            self.values_capacity += values.capacity() - before;
        }
        values.push(value);
    }

    fn extend(&mut self, group: usize, more: &[f64]) {
        let values = &mut self.groups[group];
        let before = values.capacity();
        values.extend_from_slice(more);
        self.values_capacity += values.capacity() - before;
    }

    fn emit(&mut self, emit_to: EmitTo) -> Vec<Vec<f64>> {
        let emitted = emit_to.take_needed(&mut self.groups);
        self.values_capacity -= emitted.iter().map(Vec::capacity).sum::<usize>();
        emitted
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        arguments: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups_count: usize,
    ) -> Result<()> {
        self.groups.resize_with(groups_count, Vec::new);
        let values = floats(&arguments[0])?;
        match taken(values, filter)? {
            None => {
                for (group, value) in group_indices.iter().zip(values.values()) {
                    self.push(*group, *value);
                }
            }
            Some(taken) => {
                for row in taken.values().set_indices() {
                    self.push(group_indices[row], values.value(row));
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let p = self.p;
        let quantiles = self.emit(emit_to).into_iter().map(|mut values| select(&mut values, p));
        Ok(Arc::new(quantiles.collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(list_of(self.emit(emit_to))?)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], groups_count: usize) -> Result<()> {
        self.groups.resize_with(groups_count, Vec::new);
        let lists = lists(&states[0])?;
        let values = floats(lists.values())?.values();
        for (row, group) in group_indices.iter().enumerate().filter(|(row, _)| lists.is_valid(*row)) {
            let (from, until) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
            self.extend(*group, &values[from..until]);
        }
        Ok(())
    }

    fn convert_to_state(&self, arguments: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = floats(&arguments[0])?;
        let is_taken = taken(values, filter)?;
        let lengths = (0..values.len()).map(|row| usize::from(is_taken.as_ref().is_none_or(|taken| taken.value(row))));
        let offsets = OffsetBuffer::from_lengths(lengths);
        let kept: ScalarBuffer<f64> = match &is_taken {
            None => values.values().clone(),
            Some(taken) => taken.values().set_indices().map(|row| values.value(row)).collect(),
        };
        Ok(vec![Arc::new(ListArray::try_new(item(), offsets, Arc::new(Float64Array::new(kept, None)), None)?)])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.groups.capacity() * size_of::<Vec<f64>>() + self.values_capacity * size_of::<f64>()
    }
}

/// Returns which rows count; none when all do.
fn taken(values: &Float64Array, filter: Option<&BooleanArray>) -> Result<Option<BooleanArray>> {
    let valid = values.nulls().filter(|nulls| nulls.null_count() > 0).map(NullBuffer::inner);
    let valid = valid.map(|bits| BooleanArray::new(bits.clone(), None));
    // A filter that is null excludes the row.
    let filter =
        filter.map(|filter| if filter.null_count() > 0 { prep_null_mask_filter(filter) } else { filter.clone() });
    Ok(match (valid, filter) {
        (Some(valid), Some(filter)) => Some(and(&valid, &filter)?),
        (one, other) => one.or(other),
    })
}

/// Returns one list a group.
fn list_of(groups: Vec<Vec<f64>>) -> Result<ListArray> {
    let total: usize = groups.iter().map(Vec::len).sum();
    if i32::try_from(total).is_err() {
        return Err(exec_datafusion_err!("{NAME}: {total} values at once are more than a list holds; group finer"));
    }
    let offsets = OffsetBuffer::from_lengths(groups.iter().map(Vec::len));
    let values = match <[Vec<f64>; 1]>::try_from(groups) {
        Ok([one]) => one,
        Err(groups) => groups.concat(),
    };
    Ok(ListArray::try_new(item(), offsets, Arc::new(Float64Array::from(values)), None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::quantile::of_sorted;

    #[test]
    fn a_fraction_is_the_percentage_that_k6_divides() {
        for percentage in [0.0, 50.0, 57.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999, 100.0] {
            let written: f64 = format!("{:.7}", percentage / 100.0).parse().unwrap();
            assert_eq!(as_k6_divides(written).to_bits(), (percentage / 100.0_f64).to_bits(), "{percentage}");
        }
        assert_eq!(as_k6_divides(1.0 / 3.0), 1.0 / 3.0);
    }

    #[test]
    fn selection_equals_sorting() {
        let values: Vec<f64> = (0..1001_u64).map(|i| (i.wrapping_mul(2_654_435_761) % 977) as f64 / 7.0).collect();
        for count in [1, 2, 3, 10, 100, 1001] {
            let mut sorted = values[..count].to_vec();
            sorted.sort_by(f64::total_cmp);
            for p in [0.0, 0.001, 0.25, 0.5, 0.95, 0.999, 1.0] {
                assert_eq!(select(&mut values[..count].to_vec(), p), of_sorted(&sorted, p), "{count} {p}");
            }
        }
        assert_eq!(select(&mut [], 0.5), None);
    }

    fn answers(groups: &mut Groups) -> Vec<Option<f64>> {
        groups.evaluate(EmitTo::All).unwrap().as_primitive::<Float64Type>().iter().collect()
    }

    fn median() -> Groups {
        Groups { p: 0.5, groups: Vec::new(), values_capacity: 0 }
    }

    #[test]
    fn nulls_and_filtered_rows_do_not_count_and_states_merge() {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0), Some(100.0), Some(5.0)]));
        let filter = BooleanArray::from(vec![Some(true), Some(true), Some(true), None, Some(true)]);
        let group_indices = [0, 0, 0, 0, 1];
        let mut whole = median();
        whole.update_batch(std::slice::from_ref(&values), &group_indices, Some(&filter), 3).unwrap();

        let mut merged = median();
        let mut part = median();
        part.update_batch(std::slice::from_ref(&values), &group_indices, Some(&filter), 3).unwrap();
        let state = part.state(EmitTo::First(1)).unwrap();
        merged.merge_batch(&state, &[0], 1).unwrap();
        merged.merge_batch(&part.state(EmitTo::All).unwrap(), &[1, 2], 3).unwrap();

        let mut row_by_row = median();
        let states = median().convert_to_state(&[values], Some(&filter)).unwrap();
        row_by_row.merge_batch(&states, &group_indices, 3).unwrap();

        let expected = [Some(2.0), Some(5.0), None];
        for groups in [&mut whole, &mut merged, &mut row_by_row] {
            assert!(groups.size() >= 3 * size_of::<f64>());
            assert_eq!(answers(groups), expected);
            assert_eq!(groups.values_capacity, 0);
        }
    }
}
