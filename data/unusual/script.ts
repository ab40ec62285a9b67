// What a reader must survive: escapes and Unicode in every place that takes a text, ids in URLs, metadata, odd numbers, errors.
import http from 'k6/http';
import { check, group, sleep } from 'k6';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
import exec from 'k6/execution';

const BASE = 'http://127.0.0.1:18480';

const renderTime = new Trend('render_time', true);
const payloadBytes = new Trend('payload_bytes');
const lateTrend = new Trend('late_trend', true);
const balance = new Gauge('balance');
const temperature = new Gauge('temperature');
const moved = new Counter('moved_kilograms');
const huge = new Counter('huge');
const flags = new Rate('flags');
const unbounded = new Trend('unbounded');

export const options = {
  scenarios: {
    'first-scenario': { executor: 'per-vu-iterations', vus: 2, iterations: 5, maxDuration: '30s' },
  },
  systemTags: [
    'proto', 'subproto', 'status', 'method', 'url', 'name', 'group', 'check', 'error', 'error_code',
    'tls_version', 'scenario', 'service', 'expected_response', 'ip', 'vu', 'iter',
  ],
  // Lost: a --tag on the command line replaces these, unless --features merge-run-tags.
  tags: { from_script: 'lost' },
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99.99)', 'count'],
  thresholds: {
    'http_req_duration{name:say "hi" \\ <b>&amp;</b>}': ['p(95)<3000'],
    // k6 strips the last quote of this sub-metric's tag, so no sample ever fits it.
    'checks{group:::Größe 📦::inner "quoted"}': ['rate>=0'],
    'http_req_duration{path:C:\\temp\\x}': ['max<5000'],
    balance: ['value<0'],
    late_trend: ['p(99.99)<1000'],
  },
};

const UUIDS = ['3f2b8c1e-9d47-4a6b-8e0f-1c2d3e4f5a6b', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'];

export default function (): void {
  const n = exec.scenario.iterationInTest;
  exec.vu.metrics.metadata['trace_id'] = `0af7651916cd43dd8448eb211c8031${10 + n}`;
  exec.vu.metrics.metadata['note'] = 'a "quoted", comma & ampersand = sign\nsecond line 🚀';
  exec.vu.metrics.tags['user tier'] = 'gold & "silver" = <both>';

  // Names with everything in them.
  http.get(`${BASE}/products`, { tags: { name: 'say "hi" \\ <b>&amp;</b>', path: 'C:\\temp\\x' } });
  http.get(`${BASE}/products`, { tags: { name: 'ligne 1\nligne 2\ttab', mixed: 'k=v&k2=v2' } });
  http.get(`${BASE}/products`, { tags: { name: 'カート 🛒 – é è ü', zero: '\u0000\u0007\u2028', blank: '' } });

  // Ids in the path and no name: url and name hold the address, a new one each time.
  http.get(`${BASE}/product/${10000 + n}`);
  http.get(`${BASE}/product/${UUIDS[n % 2]}/reviews/${n}?session=${(n + 1) * 48271}&q=%E2%82%AC%20a+b#part`);
  http.get(`${BASE}/product/${((n + 11) * 2654435761).toString(16)}`);
  // k6's own way to keep ids out: name AND url become the template, with ${} where the id was.
  http.get(http.url`http://127.0.0.1:18480/product/${n}/price`);

  group('Größe 📦', () => {
    check(n, { 'naïve ✓ "quoted" \\ back\nnext line <&>': (v) => v % 3 !== 0 });
    group('inner "quoted"', () => {
      check(null, { 'always': () => true, 'under\\inner/\u202ertl': () => n % 2 === 0 });
    });
  });

  renderTime.add(12.5 + n);
  payloadBytes.add(1048576 * (n + 1));
  balance.add(-10.25 * (n + 1));
  temperature.add(n - 20);
  moved.add(0.1);
  huge.add(1e21);
  // A rate counts what is not zero: the second sample is a hit, and the CSV's six decimals print it as 0.
  flags.add(n % 2 === 0);
  flags.add(0.0000001);

  if (n === 4) {
    // Nobody listens on port 1: no status, an error and its code.
    http.get('http://127.0.0.1:1/refused', { tags: { name: 'refused' } });
    http.get(`${BASE}/products?delay_ms=900`, { tags: { name: 'too slow' }, timeout: '200ms' });
    http.get(`${BASE}/status/503`, { tags: { name: 'unavailable' } });
    // JSON has no word for the two infinities: the stream lacks them, the summary counts them.
    unbounded.add(1);
    unbounded.add(Infinity);
    unbounded.add(-Infinity);
  }
  if (n >= 7) lateTrend.add(n * 1.0000000001);
  sleep(0.3);
}
