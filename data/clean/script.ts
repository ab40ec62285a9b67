// The plainest run: a default function, no thresholds, no groups, every request answered well.
import http from 'k6/http';
import { check, sleep } from 'k6';

export const options = { vus: 2, duration: '5s' };

export default function (): void {
  const res = http.get('http://127.0.0.1:18480/products');
  check(res, { 'status is 200': (r) => r.status === 200 });
  sleep(0.4);
}
