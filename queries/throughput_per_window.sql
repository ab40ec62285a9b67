-- Requests, and how many of them failed, per window.
-- Parameters: $run (run, default last), $window (interval, default 10 seconds)
-- Returns: window_start timestamp, requests_count bigint, requests_per_second double, failed_requests_count bigint, failed_requests_rate double (fraction), received_bytes_per_second double; ordered by window_start.
-- The first and the last window are hardly ever full: their figures per second are too low. A window without requests has no row.
SELECT
  date_bin($window, window_start) AS window_start,
  CAST(sum(sum) FILTER (WHERE metric = 'http_reqs') AS BIGINT) AS requests_count,
  sum(sum) FILTER (WHERE metric = 'http_reqs') / date_part('epoch', $window) AS requests_per_second,
  CAST(sum(nonzero_count) FILTER (WHERE metric = 'http_req_failed') AS BIGINT) AS failed_requests_count,
  CAST(sum(nonzero_count) FILTER (WHERE metric = 'http_req_failed') AS DOUBLE)
    / CAST(sum(samples_count) FILTER (WHERE metric = 'http_req_failed') AS DOUBLE) AS failed_requests_rate,
  sum(sum) FILTER (WHERE metric = 'data_received') / date_part('epoch', $window) AS received_bytes_per_second
FROM windows
WHERE run_id = $run
  AND metric IN ('http_reqs', 'http_req_failed', 'data_received')
GROUP BY date_bin($window, windows.window_start)
HAVING sum(sum) FILTER (WHERE metric = 'http_reqs') > 0
ORDER BY date_bin($window, windows.window_start)
