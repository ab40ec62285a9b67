// Every second answer of /pay turns bad after 4 s; the threshold then ends the run long before its 30 s.
import http from 'k6/http';
import { check, group, sleep } from 'k6';

export const options = {
  scenarios: { buyers: { executor: 'constant-vus', vus: 4, duration: '30s' } },
  thresholds: {
    http_req_failed: [{ threshold: 'rate<0.20', abortOnFail: true, delayAbortEval: '2s' }],
    http_req_duration: ['p(95)<3000', { threshold: 'p(99)<5000', abortOnFail: true }],
    checks: [{ threshold: 'rate>0.1', abortOnFail: true, delayAbortEval: '1m' }],
  },
};

export default function (): void {
  group('pay', () => {
    const res = http.post('http://127.0.0.1:18480/pay', '{"amount":1}', { tags: { name: 'POST /pay' } });
    check(res, { 'pay: status 200': (r) => r.status === 200 });
  });
  sleep(0.25);
}
