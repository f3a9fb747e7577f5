// The shop: the small application that the lab protects. It writes orders into PostgreSQL and a small file for each, and answers when
// both are safe.
//
//   POST /orders {"item": …}   201 {id, time, host} once the transaction is committed
//   GET  /orders               the ids of all orders
//   GET  /healthz              "ok" after a query
//
// Its settings are /etc/shop/config.ini: the address that it listens on is that of its host, so that a copy elsewhere has to be told.
// /var/log/shop/requests.log has a line for each write that began: when, and when it was committed, by the machine's monotonic clock.

import { randomUUID } from 'node:crypto';
import { appendFileSync, closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Pool } from 'pg';

const CONFIG_FILE = '/etc/shop/config.ini';
const REQUEST_LOG = '/var/log/shop/requests.log';
const BODY_MAX_BYTES = 4096;
const QUERY_MS = 2000;

const settings = new Map(
  readFileSync(CONFIG_FILE, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const equals = line.indexOf('=');
      return equals < 0 ? [] : [[line.slice(0, equals).trim(), line.slice(equals + 1).trim()] as const];
    }),
);

function setting(name: string): string {
  const value = settings.get(name);
  if (value === undefined) throw new Error(`${CONFIG_FILE} does not say ${name}`);
  return value;
}

const files = setting('files');
const pool = new Pool({
  host: setting('database'),
  user: 'shop',
  database: 'shop',
  max: 4,
  connectionTimeoutMillis: QUERY_MS,
  query_timeout: QUERY_MS,
});
pool.on('error', () => undefined); // the server ended a connection that nobody used

async function placeOrder(request: IncomingMessage): Promise<object> {
  const item = await itemOf(request);
  const id = randomUUID();
  const began = monotonicMs();
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const text = 'INSERT INTO orders (id, item, host) VALUES ($1, $2, $3) RETURNING created_at';
    const { rows } = await client.query<{ created_at: Date }>(text, [id, item, hostname()]);
    writeDurably(join(files, id), `${item}\n`);
    await client.query('COMMIT');
    client.release();
    note({ id, began, committed: monotonicMs() });
    return { id, time: rows[0]?.created_at, host: hostname() };
  } catch (error) {
    client.release(true);
    // It may have been committed all the same: nobody was told.
    note({ id, began, committed: null });
    throw error;
  }
}

async function itemOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const part of request) {
    body += String(part);
    if (body.length > BODY_MAX_BYTES) throw new Error('an order is small');
  }
  const value: unknown = JSON.parse(body);
  if (typeof value === 'object' && value !== null && 'item' in value && typeof value.item === 'string')
    return value.item;
  throw new Error('an order has an item');
}

function writeDurably(path: string, text: string): void {
  const file = openSync(path, 'wx', 0o640);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function note(line: object): void {
  appendFileSync(REQUEST_LOG, `${JSON.stringify(line)}\n`);
}

/** One clock for all hosts of the lab: they are on one kernel. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const what = `${request.method} ${request.url}`;
  if (what === 'POST /orders') {
    const order = await placeOrder(request);
    response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify(order));
  } else if (what === 'GET /orders') {
    const { rows } = await pool.query<{ id: string }>('SELECT id FROM orders');
    response.writeHead(200, { 'content-type': 'text/plain' }).end(rows.map(({ id }) => `${id}\n`).join(''));
  } else if (what === 'GET /healthz') {
    await pool.query('SELECT 1 FROM orders LIMIT 1');
    response.writeHead(200, { 'content-type': 'text/plain', 'x-host': hostname() }).end('ok\n');
  } else response.writeHead(404).end();
}

const server = createServer((request, response) => {
  answer(request, response).catch((error: unknown) => {
    if (!response.headersSent) response.writeHead(503, { 'content-type': 'text/plain' });
    response.end(`${error instanceof Error ? error.message : String(error)}\n`);
  });
});
server.listen(Number(setting('port')), setting('bind'));
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    // What has begun is finished: a planned stop loses no order.
    server.close(() => void pool.end().then(() => process.exit(0)));
    server.closeIdleConnections();
  });
}
