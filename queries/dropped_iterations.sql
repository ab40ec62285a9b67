-- Iterations that k6 could not start in time, per window and scenario.
-- Parameters: $run (run, default last), $window (interval, default 10 seconds)
-- Returns: window_start timestamp, scenario text, dropped_iterations_count bigint, dropped_iterations_per_second double; ordered by window_start, scenario.
-- Any row means that the load was less than the test asked for: too few VUs, or a system that held them up.
SELECT
  date_bin($window, window_start) AS window_start,
  scenario,
  CAST(sum(sum) AS BIGINT) AS dropped_iterations_count,
  sum(sum) / date_part('epoch', $window) AS dropped_iterations_per_second
FROM windows
WHERE run_id = $run
  AND metric = 'dropped_iterations'
GROUP BY date_bin($window, windows.window_start), scenario
ORDER BY date_bin($window, windows.window_start), scenario
