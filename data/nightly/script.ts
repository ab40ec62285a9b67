// Two endpoints of the shop at a constant rate of requests, every night alike.

import { check } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import type { Options } from 'k6/options';

const baseUrl = __ENV.BASE_URL || 'http://127.0.0.1:18080';

export const options: Options = {
  scenarios: {
    shoppers: {
      executor: 'constant-arrival-rate',
      rate: 40,
      timeUnit: '1s',
      duration: '40s',
      preAllocatedVUs: 20,
      maxVUs: 100,
    },
  },
  thresholds: {
    http_req_failed: ['rate<0.01'],
    'http_req_duration{name:products}': ['p(95)<100'],
    'http_req_duration{name:orders}': ['p(95)<100'],
  },
};

export default function () {
  const name = exec.scenario.iterationInTest % 2 === 0 ? 'products' : 'orders';
  const response = http.get(`${baseUrl}/${name}`, { tags: { name } });
  check(response, { 'status is 200': (r) => r.status === 200 });
}
