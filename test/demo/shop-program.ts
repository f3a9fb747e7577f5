// The demo's application: takes orders over HTTP, and writes each into its directory before it acknowledges it.
//
//   shop-program start|stop|status DIRECTORY PORT     what a plan's service runs
//   shop-program serve DIRECTORY PORT                 the server itself

import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { adoptProcess, forget, recordedProcess, signal, type ProcessRecord } from '../fleet/processes.ts';

const START_MS = 10_000;
const POLL_MS = 20;

function serve(directory: string, port: number): void {
  const file = join(directory, 'orders');
  mkdirSync(directory, { recursive: true });
  const orders = (): number => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0);
  const server = createServer((request, response) => {
    if (request.method === 'POST') appendFileSync(file, `${new Date().toISOString()}\n`, { flush: true });
    response.end(`ok: ${orders()} orders\n`);
  });
  server.listen(port, '127.0.0.1');
}

/** Beside the directory, which is what is backed up. */
const recordOf = (directory: string): string => `${directory}.pid`;

function start(directory: string, port: string): ProcessRecord {
  const running = recordedProcess(recordOf(directory));
  if (running !== undefined) return running;
  const program = fileURLToPath(import.meta.url);
  const child = spawn(process.execPath, [program, 'serve', directory, port], { detached: true, stdio: 'ignore' });
  child.unref();
  const record = child.pid === undefined ? undefined : adoptProcess(child.pid);
  if (record === undefined) throw new Error('the shop does not start');
  writeFileSync(recordOf(directory), JSON.stringify(record));
  return record;
}

async function answers(port: string): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
  return response?.ok === true;
}

async function main([verb, directory, port]: readonly string[]): Promise<number> {
  if (directory === undefined || port === undefined) return 2;
  switch (verb) {
    case 'serve':
      serve(directory, Number(port));
      return 0;
    case 'start': {
      start(directory, port);
      for (const end = performance.now() + START_MS; performance.now() < end; await pause(POLL_MS)) {
        if (await answers(port)) return 0;
      }
      return 1;
    }
    case 'stop': {
      const record = recordedProcess(recordOf(directory));
      if (record !== undefined) signal(record, 'SIGTERM');
      forget(recordOf(directory));
      rmSync(recordOf(directory), { force: true });
      return 0;
    }
    case 'status':
      return recordedProcess(recordOf(directory)) !== undefined && (await answers(port)) ? 0 : 1;
    default:
      return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
