-- The endpoints with the slowest 95th percentile.
-- Parameters: $run (run, default last), $top (integer, default 10)
-- Returns: endpoint text, method text, requests_count bigint, failed_requests_rate double (fraction), latency_ms_p50, latency_ms_p95, latency_ms_p99, latency_ms_max double; ordered by latency_ms_p95, slowest first.
-- Latency is of the requests that k6 expected to succeed; where there is none, it is null and comes last.
SELECT
  endpoint,
  method,
  count(*) AS requests_count,
  avg(CASE WHEN expected_response = false THEN 1.0 ELSE 0.0 END) AS failed_requests_rate,
  k6_percentile(value, 0.5) FILTER (WHERE expected_response IS DISTINCT FROM false) AS latency_ms_p50,
  k6_percentile(value, 0.95) FILTER (WHERE expected_response IS DISTINCT FROM false) AS latency_ms_p95,
  k6_percentile(value, 0.99) FILTER (WHERE expected_response IS DISTINCT FROM false) AS latency_ms_p99,
  max(value) FILTER (WHERE expected_response IS DISTINCT FROM false) AS latency_ms_max
FROM samples
WHERE run_id = $run
  AND metric = 'http_req_duration'
GROUP BY endpoint, method
ORDER BY latency_ms_p95 DESC NULLS LAST, endpoint, method
LIMIT $top
