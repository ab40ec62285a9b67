-- Failed requests of each endpoint, by status and k6's error code.
-- Parameters: $run (run, default last)
-- Returns: endpoint text, method text, status text (0: no answer), error_code text (k6's), failed_requests_count bigint, requests_count bigint (of the endpoint), failed_requests_rate double (fraction of the endpoint's requests), first_at, last_at timestamp; ordered by failed_requests_count, most first.
-- Failed is what k6 did not expect: a 404 that the script expects is none.
WITH statuses AS (
  SELECT
    endpoint,
    method,
    status,
    error_code,
    count(*) FILTER (WHERE expected_response = false) AS failed_requests_count,
    count(*) AS all_count,
    min(time) FILTER (WHERE expected_response = false) AS first_at,
    max(time) FILTER (WHERE expected_response = false) AS last_at
  FROM samples
  WHERE run_id = $run
    AND metric = 'http_reqs'
  GROUP BY endpoint, method, status, error_code
),
shares AS (
  SELECT
    *,
    CAST(sum(all_count) OVER (PARTITION BY endpoint, method) AS BIGINT) AS requests_count
  FROM statuses
)
SELECT
  endpoint,
  method,
  status,
  error_code,
  failed_requests_count,
  requests_count,
  CAST(failed_requests_count AS DOUBLE) / requests_count AS failed_requests_rate,
  first_at,
  last_at
FROM shares
WHERE failed_requests_count > 0
ORDER BY failed_requests_count DESC, endpoint, method, status, error_code
