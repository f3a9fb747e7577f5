// The shop's customers: orders one after the other, from several at once, each with a connection of its own. A process of its own, run on
// the host `client`: `node load.js URL LOG [ORDERS_PER_SECOND]`, until SIGTERM. The log has a line for each order, when it is over.

import { closeSync, openSync, writeSync } from 'node:fs';
import { request } from 'node:http';
import type { OrderAttempt } from './load-report.ts';

const CUSTOMERS = 4;
const PATIENCE_MS = 1500;

/** One clock for all hosts of the lab: they are on one kernel. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

async function order(url: string, item: string): Promise<OrderAttempt> {
  const sentMs = monotonicMs();
  const sentAt = new Date().toISOString();
  const over = (outcome: Partial<OrderAttempt>): OrderAttempt => {
    return { sentAt, sentMs, endedMs: monotonicMs(), status: 0, ...outcome };
  };
  return await new Promise((resolve) => {
    const asking = request(`${url}/orders`, { method: 'POST', agent: false, timeout: PATIENCE_MS });
    const abandoned = setTimeout(() => asking.destroy(new Error('no answer')), PATIENCE_MS);
    const end = (outcome: Partial<OrderAttempt>): void => {
      clearTimeout(abandoned);
      resolve(over(outcome));
    };
    asking.on('error', (error) => end({ error: error.message }));
    asking.on('response', (response) => {
      let body = '';
      response.on('data', (part: Buffer) => (body += part.toString('utf8')));
      response.on('error', (error) => end({ error: error.message }));
      response.on('end', () => {
        const status = response.statusCode ?? 0;
        if (status !== 201) return end({ status, error: body.slice(0, 200).trim() });
        const { id, host } = JSON.parse(body) as { id: string; host: string };
        return end({ status, id, host });
      });
    });
    asking.end(JSON.stringify({ item }));
  });
}

async function customer(url: string, log: number, pauseMs: number, goesOn: () => boolean): Promise<void> {
  for (let count = 0; goesOn(); count++) {
    const attempt = await order(url, `thing ${count}`);
    writeSync(log, `${JSON.stringify(attempt)}\n`);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

const [url, logFile, rate = '40'] = process.argv.slice(2);
if (url === undefined || logFile === undefined || !(Number(rate) > 0))
  throw new Error('load URL LOG [ORDERS_PER_SECOND]');
let stopped = false;
process.once('SIGTERM', () => (stopped = true));
process.stdout.write(`${process.pid}\n`);
const log = openSync(logFile, 'a');
const pauseMs = (1000 * CUSTOMERS) / Number(rate);
await Promise.all(Array.from({ length: CUSTOMERS }, async () => await customer(url, log, pauseMs, () => !stopped)));
closeSync(log);
