-- How often each check passed and failed.
-- Parameters: $run (run, default last)
-- Returns: check text, group text, scenario text, passed_count bigint, failed_count bigint, passed_rate double (fraction); ordered by failed_count, most first.
SELECT
  "check",
  "group",
  scenario,
  CAST(sum(nonzero_count) AS BIGINT) AS passed_count,
  CAST(sum(samples_count) AS BIGINT) - CAST(sum(nonzero_count) AS BIGINT) AS failed_count,
  CAST(sum(nonzero_count) AS DOUBLE) / CAST(sum(samples_count) AS DOUBLE) AS passed_rate
FROM windows
WHERE run_id = $run
  AND metric = 'checks'
GROUP BY "check", "group", scenario
ORDER BY failed_count DESC, "check", "group", scenario
