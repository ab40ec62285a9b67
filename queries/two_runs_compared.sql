-- Each endpoint in two runs, side by side.
-- Parameters: $base (run, default last~1), $current (run, default last)
-- Returns: endpoint text, method text, base_requests_count, current_requests_count bigint, base_failed_requests_rate, current_failed_requests_rate double (fraction), base_latency_ms_p50, current_latency_ms_p50, base_latency_ms_p95, current_latency_ms_p95, latency_p95_ratio double (1.3: 30 % slower); ordered by latency_p95_ratio, worst first.
-- Latency is of the requests that k6 expected to succeed. Two runs alone do not tell a change from noise.
-- An endpoint that only one run has is null in the other, and comes last.
WITH endpoints AS (
  SELECT
    endpoint,
    method,
    count(*) FILTER (WHERE run_id = $base) AS base_requests_count,
    count(*) FILTER (WHERE run_id = $current) AS current_requests_count,
    avg(CASE WHEN expected_response = false THEN 1.0 ELSE 0.0 END) FILTER (WHERE run_id = $base)
      AS base_failed_requests_rate,
    avg(CASE WHEN expected_response = false THEN 1.0 ELSE 0.0 END) FILTER (WHERE run_id = $current)
      AS current_failed_requests_rate,
    k6_percentile(value, 0.5) FILTER (WHERE run_id = $base AND expected_response IS DISTINCT FROM false)
      AS base_latency_ms_p50,
    k6_percentile(value, 0.5) FILTER (WHERE run_id = $current AND expected_response IS DISTINCT FROM false)
      AS current_latency_ms_p50,
    k6_percentile(value, 0.95) FILTER (WHERE run_id = $base AND expected_response IS DISTINCT FROM false)
      AS base_latency_ms_p95,
    k6_percentile(value, 0.95) FILTER (WHERE run_id = $current AND expected_response IS DISTINCT FROM false)
      AS current_latency_ms_p95
  FROM samples
  WHERE run_id IN ($base, $current)
    AND metric = 'http_req_duration'
  GROUP BY endpoint, method
)
SELECT
  *,
  current_latency_ms_p95 / base_latency_ms_p95 AS latency_p95_ratio
FROM endpoints
ORDER BY latency_p95_ratio DESC NULLS LAST, endpoint, method
