-- What k6 measured beside what each service did, per window: requests, latency, processor, own time in traces, log lines.
-- Parameters: $run (run, default last), $window (interval, default 5 seconds), $service (text, default none)
-- Returns: window_start timestamp, service text, requests_per_second double, latency_ms_p95 double, cpu_cores double, own_ms_per_trace double, traces_count bigint, log_lines_count bigint, error_lines_count bigint; ordered by window_start, service.
-- Needs what the servers said about the run: analyze with --prometheus, --tempo and so on, with --capture, or tidemark capture. What they did not say is null.
-- Requests and latency are of the whole test, and stand beside every service. Traces are those that were asked for, not all.
WITH load AS (
  SELECT date_bin($window, window_start) AS start, sum(sum) / date_part('epoch', $window) AS requests_per_second
  FROM windows
  WHERE run_id = $run AND metric = 'http_reqs'
  GROUP BY date_bin($window, windows.window_start)
),
latency AS (
  SELECT date_bin($window, time) AS start, k6_percentile(value, 0.95) AS latency_ms_p95
  FROM samples
  WHERE run_id = $run AND metric = 'http_req_duration' AND expected_response IS DISTINCT FROM false
  GROUP BY date_bin($window, time)
),
-- Of several instances the sum; a service whose processor two metrics measure counts once.
cpu_by_metric AS (
  SELECT date_bin($window, time) AS start, service, metric, sum(rate_per_second) / count(DISTINCT time) AS cores
  FROM host_metrics
  WHERE run_id = $run
    AND metric IN ('process_cpu_seconds_total', 'process_cpu_time_seconds_total', 'container_cpu_usage_seconds_total')
    AND rate_per_second IS NOT NULL
  GROUP BY date_bin($window, time), service, metric
),
cpu AS (
  SELECT start, service, max(cores) AS cpu_cores FROM cpu_by_metric GROUP BY start, service
),
own AS (
  SELECT
    date_bin($window, start) AS start,
    service,
    sum(own_ms) / count(DISTINCT trace_id) AS own_ms_per_trace,
    count(DISTINCT trace_id) AS traces_count
  FROM spans
  WHERE run_id = $run
  GROUP BY date_bin($window, spans.start), service
),
lines AS (
  SELECT
    date_bin($window, time) AS start,
    service,
    count(*) AS log_lines_count,
    count(*) FILTER (WHERE lower(level) IN ('error', 'fatal', 'critical', 'panic')) AS error_lines_count
  FROM logs
  WHERE run_id = $run
  GROUP BY date_bin($window, time), service
),
places AS (
  SELECT start, service FROM cpu
  UNION
  SELECT start, service FROM own
  UNION
  SELECT start, service FROM lines
)
SELECT
  places.start AS window_start,
  places.service,
  requests_per_second,
  latency_ms_p95,
  cpu_cores,
  own_ms_per_trace,
  traces_count,
  log_lines_count,
  error_lines_count
FROM places
LEFT JOIN load ON load.start = places.start
LEFT JOIN latency ON latency.start = places.start
LEFT JOIN cpu ON cpu.start = places.start AND cpu.service = places.service
LEFT JOIN own ON own.start = places.start AND own.service = places.service
LEFT JOIN lines ON lines.start = places.start AND lines.service = places.service
WHERE $service IS NULL OR places.service = $service
ORDER BY places.start, places.service
