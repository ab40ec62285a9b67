// One test, run again for each release of the system under test.
import http from 'k6/http';
import { check, group, sleep } from 'k6';

const BASE = 'http://127.0.0.1:18480';

export const options = {
  vus: 4,
  duration: '6s',
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99)', 'count'],
  thresholds: {
    'http_req_duration{name:GET /report}': ['p(95)<250'],
    http_req_failed: ['rate<0.01'],
  },
};

export default function (): void {
  group('dashboard', () => {
    const list = http.get(`${BASE}/products`, { tags: { name: 'GET /products' } });
    check(list, { 'products: status 200': (r) => r.status === 200 });
    const report = http.get(`${BASE}/report`, { tags: { name: 'GET /report' } });
    check(report, { 'report: status 200': (r) => r.status === 200 });
  });
  sleep(0.25);
}
