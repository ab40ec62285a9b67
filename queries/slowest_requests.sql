-- The slowest single requests, with what k6 knows of each.
-- Parameters: $run (run, default last), $top (integer, default 20)
-- Returns: time timestamp (the end of the request), latency_ms double, endpoint text, method text, status text, scenario text, group text, expected_response boolean, metadata text (JSON; trace_id, if the test sets one); ordered by latency_ms, slowest first.
-- Also requests that k6 did not expect to succeed: expected_response tells.
SELECT
  time,
  value AS latency_ms,
  endpoint,
  method,
  status,
  scenario,
  "group",
  expected_response,
  metadata
FROM samples
WHERE run_id = $run
  AND metric = 'http_req_duration'
ORDER BY latency_ms DESC, time
LIMIT $top
