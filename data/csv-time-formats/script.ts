// Two requests an iteration, one of them named and tagged, so that each CSV holds every kind of column.
import http from 'k6/http';
import { check, group, sleep } from 'k6';
import exec from 'k6/execution';

export const options = { vus: 1, duration: '3s', tags: { team: 'web' } };

export default function (): void {
  exec.vu.metrics.metadata['trace_id'] = `4bf92f3577b34da6a3ce929d0e0e47${10 + exec.scenario.iterationInTest}`;
  group('catalogue', () => {
    const res = http.get('http://127.0.0.1:18480/products', { tags: { name: 'GET /products', cache: 'hit' } });
    check(res, { 'status is 200': (r) => r.status === 200 });
  });
  http.get('http://127.0.0.1:18480/product/missing');
  sleep(0.4);
}
