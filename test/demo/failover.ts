// The demo's last part: web-1 dies while a shop takes orders on it, and web-2 takes over. Two directories and two ports stand for two machines.

import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { fleetKill, holdfast } from '../fleet/fleet.ts';
import { freePort } from '../fleet/fleet-state.ts';
import { recordedProcess, signal } from '../fleet/processes.ts';

export const PLAN = 'shop';
const SOURCE = 'web-1/shop';
const ORDERS = 50;
const STORED_MS = 60_000;
const POLL_MS = 250;
const run = promisify(execFile);

export interface Shop {
  readonly fleet: string;
  readonly places: Readonly<Record<'web-1' | 'web-2', { readonly directory: string; readonly port: number }>>;
  /** What a plan's service runs. */
  readonly program: readonly string[];
  readonly planFile: string;
}

export interface Failover {
  readonly acknowledged: number;
  readonly there: number;
  readonly rtoMs: number;
  readonly rpoMs: number;
}

export async function openShop(dir: string): Promise<Shop> {
  const place = async (name: string) => ({ directory: join(dir, name), port: await freePort() });
  const places = { 'web-1': await place('shop-of-web-1'), 'web-2': await place('shop-of-web-2') };
  const program = [process.execPath, fileURLToPath(new URL('./shop-program.js', import.meta.url))];
  const shop: Shop = { fleet: join(dir, 'fleet'), places, program, planFile: join(dir, 'shop.plan.yaml') };
  writeFileSync(shop.planFile, planOf(shop));
  await run(program[0]!, [...program.slice(1), 'start', places['web-1'].directory, String(places['web-1'].port)]);
  return shop;
}

/** JSON is YAML. */
function planOf({ places, program }: Shop): string {
  const vars = Object.fromEntries(
    Object.entries(places).map(([host, { directory, port }]) => [host, { dir: directory, port: String(port) }]),
  );
  const verb = (word: string): string[] => [...program, word, '${dir}', '${port}'];
  const real = ['unplanned', 'planned'];
  const plan = {
    apiVersion: 'holdfast/v1',
    kind: 'RecoveryPlan',
    metadata: { name: PLAN, owner: 'ops@shop.example' },
    objectives: { rto: '1m', rpo: '30s' },
    placement: { hosts: ['web-1', 'web-2'], vars },
    services: { shop: { start: verb('start'), stop: verb('stop'), status: verb('status') } },
    sources: ['shop'],
    steps: [
      { id: 'fence', type: 'fence', in: real, host: 'primary' },
      { id: 'files', type: 'restore.files', host: 'standby', source: 'shop', target: '${dir}', needs: ['fence'] },
      { id: 'start', type: 'service.start', host: 'standby', units: ['shop'], needs: ['files'] },
      { id: 'healthy', type: 'check.http', host: 'standby', url: 'http://127.0.0.1:${port}/', needs: ['start'] },
    ],
  };
  return `${JSON.stringify(plan, undefined, 2)}\n`;
}

export async function protectShop({ fleet, places, planFile }: Shop): Promise<void> {
  const words = ['--host', 'web-1', '--type', 'files', '--path', places['web-1'].directory, '--continuous'];
  await holdfastJson(fleet, ['source', 'add', 'shop', ...words]);
  await holdfastJson(fleet, ['backup', SOURCE]);
  await holdfastJson(fleet, ['plan', 'apply', planFile]);
}

/** Orders that the shop on web-1 has acknowledged; returns once the vault has them. */
export async function takeOrders({ fleet, places }: Shop): Promise<number> {
  const { port } = places['web-1'];
  for (let order = 0; order < ORDERS; order++) {
    const response = await fetch(`http://127.0.0.1:${port}/orders`, { method: 'POST' });
    if (!response.ok) throw new Error(`the shop answers ${response.status}`);
  }
  const taken = Date.now();
  for (const end = taken + STORED_MS; Date.now() < end; await pause(POLL_MS)) {
    if ((await newestSnapshotBegan(fleet)) >= taken) return ORDERS;
  }
  throw new Error('the last orders were not stored in a minute');
}

async function newestSnapshotBegan(fleet: string): Promise<number> {
  const listed = await holdfastJson(fleet, ['snapshot', 'ls', SOURCE]);
  const [newest] = (listed as { snapshots: readonly { startedAt: string }[] }).snapshots;
  return newest === undefined ? 0 : Date.parse(newest.startedAt);
}

/** Everything of web-1 at once: its shop and its agent. */
export async function killFirstHost({ fleet, places }: Shop): Promise<void> {
  const shop = recordedProcess(`${places['web-1'].directory}.pid`);
  if (shop === undefined || !signal(shop, 'SIGKILL')) throw new Error('the shop on web-1 does not run');
  await fleetKill(fleet, 'web-1');
}

/** A person says that web-1 is off, and the plan does the rest. */
export async function failOver({ fleet, places }: Shop, acknowledged: number): Promise<Failover> {
  const words = ['plan', 'run', PLAN, '--mode', 'unplanned', '--fence-confirmed'];
  const done = await holdfastJson(fleet, words);
  const { rtoMs, rpoMs } = done as { rtoMs: number; rpoMs: number };
  const response = await fetch(`http://127.0.0.1:${places['web-2'].port}/`);
  const there = Number(/^ok: (\d+) orders/.exec(await response.text())?.[1]);
  return { acknowledged, there, rtoMs, rpoMs };
}

export async function closeShop({ places, program }: Shop): Promise<void> {
  for (const { directory, port } of Object.values(places)) {
    if (existsSync(`${directory}.pid`)) {
      await run(program[0]!, [...program.slice(1), 'stop', directory, String(port)]);
    }
  }
}

async function holdfastJson(fleet: string, args: readonly string[]): Promise<unknown> {
  const { code, stdout, stderr } = await holdfast(fleet, [...args, '--json']);
  if (code !== 0) throw new Error(`holdfast ${args.join(' ')} ended with ${code}: ${stderr.trim()}`);
  // Commands that follow a job print a line for each of its events, the last one at the end.
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? 'null');
}
