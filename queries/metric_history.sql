-- One metric over the kept runs, oldest first.
-- Parameters: $metric (text, default http_req_duration), $test (text, default none), $environment (text, default none)
-- Returns: run_id text, started_at timestamp, test text, environment text, commit text, verdict text, samples_count bigint, avg, med, p95, p99, max, rate, per_second, value double (in the metric's unit; which are there depends on its kind); ordered by started_at.
-- A sub-metric is named as k6 names it: http_req_duration{expected_response:true}. No test given: the runs of all tests.
SELECT
  runs.run_id,
  runs.started_at,
  runs.test,
  runs.environment,
  runs.commit,
  runs.verdict,
  metrics.samples_count,
  metrics.avg,
  metrics.med,
  metrics.p95,
  metrics.p99,
  metrics.max,
  metrics.rate,
  metrics.per_second,
  metrics.value
FROM metrics
JOIN runs ON runs.run_id = metrics.run_id
WHERE metrics.metric = $metric
  AND ($test IS NULL OR runs.test = $test)
  AND ($environment IS NULL OR runs.environment = $environment)
ORDER BY runs.started_at, runs.run_id
