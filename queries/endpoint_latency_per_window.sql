-- Latency of each endpoint, per window.
-- Parameters: $run (run, default last), $window (interval, default 10 seconds)
-- Returns: endpoint text, method text, window_start timestamp, requests_count bigint, latency_ms_p50, latency_ms_p95, latency_ms_p99, latency_ms_max double; ordered by endpoint, method, window_start.
-- Only requests that k6 expected to succeed: a fast 500 would flatter the percentiles.
-- Percentiles are exact, from the samples. A window without requests has no row.
SELECT
  endpoint,
  method,
  date_bin($window, time) AS window_start,
  count(*) AS requests_count,
  k6_percentile(value, 0.5) AS latency_ms_p50,
  k6_percentile(value, 0.95) AS latency_ms_p95,
  k6_percentile(value, 0.99) AS latency_ms_p99,
  max(value) AS latency_ms_max
FROM samples
WHERE run_id = $run
  AND metric = 'http_req_duration'
  AND expected_response IS DISTINCT FROM false
GROUP BY endpoint, method, window_start
ORDER BY endpoint, method, window_start
