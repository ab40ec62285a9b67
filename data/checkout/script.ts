// Shoppers who browse and buy, beside a steady rate of searches. 30 s; SECONDS_SCALE shortens it.
import http, { Response } from 'k6/http';
import { check, group, sleep } from 'k6';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
import exec from 'k6/execution';
import { Options } from 'k6/options';

const BASE = 'http://127.0.0.1:18480';
const SCALE = Number(__ENV.SECONDS_SCALE || '1');
const seconds = (n: number): string => `${Math.max(1, Math.round(n * SCALE))}s`;

const paymentLatency = new Trend('payment_latency', true);
const basketItems = new Trend('basket_items');
const ordersPlaced = new Counter('orders_placed');
const paymentDeclined = new Rate('payment_declined');
const stockLeft = new Gauge('stock_left');

export const options: Options = {
  scenarios: {
    shoppers: {
      executor: 'ramping-vus',
      exec: 'shop',
      startVUs: 0,
      stages: [
        { duration: seconds(6), target: 5 },
        { duration: seconds(18), target: 5 },
        { duration: seconds(6), target: 0 },
      ],
      gracefulRampDown: '2s',
      tags: { journey: 'buy' },
    },
    searches: {
      executor: 'constant-arrival-rate',
      exec: 'search',
      startTime: seconds(2),
      rate: 5,
      timeUnit: '1s',
      duration: seconds(28),
      preAllocatedVUs: 8,
      maxVUs: 16,
      tags: { journey: 'search' },
    },
  },
  tags: { team: 'web', release: '2026.11' },
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'count'],
  thresholds: {
    // Every aggregation of a trend; one of them fails.
    http_req_duration: [
      'avg<100',
      'min>=0',
      'med<60',
      'max<5000',
      'p(90)<200',
      'p(95)<30',
      { threshold: 'p(99)<2000', abortOnFail: true, delayAbortEval: '5s' },
      { threshold: 'p(99.9)<4000', abortOnFail: true },
    ],
    // Sub-metrics by request name, status, scenario, a custom tag, two tags, and a status that never comes.
    'http_req_duration{name:POST /pay}': ['p(95)<150', 'p(99.9)<3000'],
    'http_req_duration{name:GET /products}': ['med<100', 'p(90)<500'],
    'http_req_duration{status:200}': ['p(95)<500'],
    'http_req_duration{status:418}': ['p(95)<1'],
    'http_req_duration{scenario:shoppers}': ['avg<200'],
    'http_req_duration{journey:search}': ['p(99)<1000'],
    'http_req_duration{expected_response:true,scenario:searches}': ['max<3000'],
    'group_duration{group:::checkout}': ['avg<2000'],
    // Counters: count and rate. No iteration is dropped, so that metric never gets a sample.
    http_reqs: ['count>200', 'rate>5'],
    'http_reqs{scenario:searches}': ['count>100'],
    orders_placed: ['count>20', 'rate>0.1'],
    dropped_iterations: ['count<5'],
    iterations: ['rate>1'],
    // Rates; two of them fail (the group is ::checkout alone, without ::checkout::payment).
    http_req_failed: ['rate<0.02', { threshold: 'rate<0.5', abortOnFail: true, delayAbortEval: '10s' }],
    checks: ['rate>0.70'],
    'checks{group:::checkout}': ['rate>0.99'],
    payment_declined: ['rate<0.5'],
    // Gauges.
    stock_left: ['value>=0'],
    vus_max: ['value<100'],
    basket_items: ['min>=1', 'max<=9', 'p(50)<6'],
  },
};

function ordinal(): number {
  return exec.scenario.iterationInTest;
}

export function shop(): void {
  const n = ordinal();
  const product = (n * 7) % 40;

  group('browse', () => {
    const list = http.get(`${BASE}/products?page=${n % 3}`, { tags: { name: 'GET /products' } });
    check(list, {
      'products: status 200': (r: Response) => r.status === 200,
      'products: under 40 ms': (r: Response) => r.timings.duration < 40,
    });

    // Every 12th product is gone: a 404 that the script did not expect.
    const path = n % 12 === 5 ? 'missing' : `${product}`;
    const one = http.get(`${BASE}/product/${path}`, { tags: { name: 'GET /product/{id}', cache: n % 2 ? 'hit' : 'miss' } });
    check(one, { 'product: status 200': (r: Response) => r.status === 200 });
    sleep(0.2);
  });

  group('checkout', () => {
    basketItems.add(1 + (n % 8));
    const cart = http.post(`${BASE}/cart`, JSON.stringify({ product, count: 1 + (n % 8) }), {
      headers: { 'Content-Type': 'application/json' },
      tags: { name: 'POST /cart' },
    });
    check(cart, { 'cart: status 201': (r: Response) => r.status === 201 });
    sleep(0.3);

    group('payment', () => {
      const pay = http.post(`${BASE}/pay`, JSON.stringify({ amount: product + 0.5 }), {
        headers: { 'Content-Type': 'application/json' },
        tags: { name: 'POST /pay', provider: n % 3 === 0 ? 'card' : 'wallet' },
      });
      paymentLatency.add(pay.timings.duration, { provider: n % 3 === 0 ? 'card' : 'wallet' });
      const paid = check(pay, {
        'pay: status 200': (r: Response) => r.status === 200,
        'pay: under 120 ms': (r: Response) => r.timings.duration < 120,
      });
      paymentDeclined.add(!paid);
      if (pay.status === 200) ordersPlaced.add(1, { provider: n % 3 === 0 ? 'card' : 'wallet' });
    });
  });

  // Unknown stock is an answer, not a failure: expected_response stays true with status 404.
  const stock = http.get(`${BASE}/stock/${n % 10 === 3 ? 'missing' : product}`, {
    tags: { name: 'GET /stock/{id}' },
    responseCallback: http.expectedStatuses(200, 404),
  });
  if (stock.status === 200) stockLeft.add(500 - n);
  sleep(0.6);
}

export function search(): void {
  const n = ordinal();
  const found = http.get(`${BASE}/search?q=lamp-${n % 5}`, { tags: { name: 'GET /search' } });
  check(found, { 'search: status 200': (r: Response) => r.status === 200 });
}

export function handleSummary(data: object): Record<string, string> {
  return { 'handle-summary.json': JSON.stringify(data) };
}
