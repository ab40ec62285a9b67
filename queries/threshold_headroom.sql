-- The thresholds of a run, the narrowest first.
-- Parameters: $run (run, default last)
-- Returns: metric text, expression text, passed boolean, observed double (in the metric's unit), headroom double (fraction of the limit; negative beyond it), abort_on_fail boolean, judged_by text (samples, or summary: k6 itself); ordered by passed, headroom.
SELECT
  metric,
  expression,
  passed,
  observed,
  headroom,
  abort_on_fail,
  judged_by
FROM thresholds
WHERE run_id = $run
ORDER BY passed, headroom NULLS LAST, metric, expression
