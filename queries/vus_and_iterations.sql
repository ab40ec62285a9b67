-- Virtual users, iterations and how long these took, per window.
-- Parameters: $run (run, default last), $window (interval, default 10 seconds)
-- Returns: window_start timestamp, vus_max double (active), vus_allocated_max double, iterations_count bigint, iterations_per_second double, iteration_ms_avg, iteration_ms_max double; ordered by window_start.
-- k6 samples VUs once a second. Of a run in several pods, VUs are those of the pod with the most.
SELECT
  date_bin($window, window_start) AS window_start,
  max(max) FILTER (WHERE metric = 'vus') AS vus_max,
  max(max) FILTER (WHERE metric = 'vus_max') AS vus_allocated_max,
  CAST(coalesce(sum(sum) FILTER (WHERE metric = 'iterations'), 0) AS BIGINT) AS iterations_count,
  coalesce(sum(sum) FILTER (WHERE metric = 'iterations'), 0) / date_part('epoch', $window) AS iterations_per_second,
  sum(sum) FILTER (WHERE metric = 'iteration_duration')
    / CAST(sum(samples_count) FILTER (WHERE metric = 'iteration_duration') AS DOUBLE) AS iteration_ms_avg,
  max(max) FILTER (WHERE metric = 'iteration_duration') AS iteration_ms_max
FROM windows
WHERE run_id = $run
  AND metric IN ('vus', 'vus_max', 'iterations', 'iteration_duration')
GROUP BY date_bin($window, windows.window_start)
ORDER BY date_bin($window, windows.window_start)
