// One test that three k6 processes share by execution segments, as the k6 operator's pods do.
import http from 'k6/http';
import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';

const BASE = 'http://127.0.0.1:18480';
const reportLatency = new Trend('report_latency', true);
const reports = new Counter('reports');

export const options = {
  scenarios: {
    arrivals: {
      executor: 'constant-arrival-rate',
      exec: 'arrive',
      rate: 12,
      timeUnit: '1s',
      duration: '8s',
      preAllocatedVUs: 9,
      maxVUs: 18,
    },
    // Four VUs over three pods: they can not be split evenly.
    residents: { executor: 'constant-vus', exec: 'reside', vus: 4, duration: '8s' },
  },
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99)', 'count'],
  thresholds: {
    http_req_duration: ['p(95)<2000'],
    'http_req_duration{scenario:arrivals}': ['p(99)<2000'],
    // A pod sees a third of the requests: each pod fails this, the test as a whole passes it.
    'http_reqs{scenario:arrivals}': ['count>80'],
    checks: ['rate>0.9'],
  },
};

export function arrive(): void {
  const res = http.get(`${BASE}/search?q=lamp`, { tags: { name: 'GET /search' } });
  check(res, { 'search: status 200': (r) => r.status === 200 });
}

export function reside(): void {
  const res = http.get(`${BASE}/report`, { tags: { name: 'GET /report' } });
  check(res, { 'report: status 200': (r) => r.status === 200 });
  reportLatency.add(res.timings.duration);
  reports.add(1);
  sleep(0.5);
}
