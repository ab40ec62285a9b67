// Two scenarios that ask for more than their VUs can do: k6 drops iterations in both, far more in one.
import http from 'k6/http';

const arrivals = { executor: 'constant-arrival-rate', timeUnit: '1s', duration: '6s' };
export const options = {
  scenarios: {
    reports: { ...arrivals, rate: 20, preAllocatedVUs: 2, maxVUs: 2, exec: 'report' },
    stock: { ...arrivals, rate: 8, preAllocatedVUs: 1, maxVUs: 1, startTime: '1s', exec: 'stock' },
  },
};

export function report(): void {
  http.get('http://127.0.0.1:18480/report?delay_ms=250', { tags: { name: 'GET /report' } });
}

export function stock(): void {
  http.get('http://127.0.0.1:18480/stock?delay_ms=140', { tags: { name: 'GET /stock' } });
}
