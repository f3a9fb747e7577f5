// The lab's plan from outside, by the operator's command line: applied, shown, run and followed.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from './eventually.ts';
import type { Lab } from './lab.ts';
import { dnsKeyFile } from './name-server.ts';

export const PLAN = 'shop';

/** Of `plan check`: it could be carried out, and some of it only if what goes before brings what is missing. */
const EXIT_RISKS = 3;

interface Finding {
  readonly level: string;
  readonly field: string;
  readonly message: string;
  readonly remedy: string;
}

/** Of `plan show shop --json`. */
export interface ShownPlan {
  readonly state: string;
  readonly ready: boolean;
  readonly primary: string;
  readonly standby: string;
  readonly epoch: number;
  readonly lease: string | null;
  readonly verdict: string | null;
  readonly readiness: readonly Finding[];
}

/** Of `run show ID --json`. */
export interface ShownRun {
  readonly id: string;
  readonly mode: string;
  /** A preparation. */
  readonly ahead: boolean;
  readonly state: string;
  readonly reason: string | null;
  readonly from: string;
  readonly to: string;
  readonly epoch: number;
  readonly startedBy: string;
  /** ISO 8601. */
  readonly recoveryPoint: string | null;
  /** Why it is that one. */
  readonly pointFindings: readonly string[];
  readonly times: Readonly<Record<string, string | null>>;
  readonly rtoMs: number | null;
  readonly rpoMs: number | null;
}

export interface ShownStep {
  readonly id: string;
  readonly state: string;
  readonly attempt: number;
  /** ISO 8601. */
  readonly startedAt: string | null;
  readonly message: string | null;
  readonly output: string | null;
}

/**
 * Makes test/lab/shop.plan.yaml the plan, and returns when nothing keeps the standby from taking over.
 * @param change of the document, for a plan that is a little different
 */
export async function applyPlan(lab: Lab, change: (document: string) => string = (same) => same): Promise<void> {
  await lab.json('plan', 'secret', 'set', 'shop-dns-key', '--file', dnsKeyFile(lab.layout));
  const document = readFileSync(join(lab.layout.project, 'test', 'lab', 'shop.plan.yaml'), 'utf8');
  const file = join(lab.dir, 'shop.plan.yaml');
  const changedDocument = change(document);
  writeFileSync(file, changedDocument);
  const isCold = changedDocument.includes('mode: cold');
  await lab.json('plan', 'apply', file);
  // Every step is looked at on its host: that is what verifies a plan. Some of what it needs comes with the warm copies; on a cold standby, with the run.
  await eventually('the plan can be carried out', async () => {
    const { code, stdout, stderr } = await lab.holdfast(['plan', 'check', file, '--live']);
    return code === 0 || (isCold && code === EXIT_RISKS) ? undefined : `${stdout}${stderr}`;
  });
  await untilReady(lab);
  await untilWarm(lab);
}

/** A plan is ready without its warm copies: a failover then takes longer. */
async function untilWarm(lab: Lab): Promise<void> {
  await eventually('the standby is warm', async () => {
    const { readiness } = await showPlan(lab);
    const cold = readiness.filter(({ level, message }) => level !== 'ok' && message.includes('warm copy'));
    return cold.length === 0 ? undefined : cold.map(({ message }) => message).join('; ');
  });
}

/** A text of shop.plan.yaml, and what stands there instead. */
export type PlanChange = readonly [from: string, to: string];

/** For `applyPlan`: throws where the document does not say what is to be changed. */
export function changed(...changes: readonly PlanChange[]): (document: string) => string {
  return (document) =>
    changes.reduce((text, [from, to]) => {
      if (!text.includes(from)) throw new Error(`shop.plan.yaml does not say ${from}`);
      return text.replace(from, () => to);
    }, document);
}

export async function showPlan(lab: Lab): Promise<ShownPlan> {
  return await lab.json<ShownPlan>('plan', 'show', PLAN);
}

/** Also of a controller that boots. */
export async function untilReady(lab: Lab): Promise<void> {
  await eventually('the plan is ready', async () => {
    const { code, stdout, stderr } = await lab.holdfast(['plan', 'show', PLAN, '--json']);
    if (code !== 0) return stderr || stdout;
    const plan = JSON.parse(stdout) as ShownPlan;
    // Without automatic failover there is no lease.
    if (plan.ready && plan.state === 'ready' && (plan.lease ?? 'open') === 'open') return undefined;
    return `${plan.state}, lease ${plan.lease}: ${plan.readiness.map(({ level, field, message }) => `${level} ${field}: ${message}`).join('; ')}`;
  });
}

/** Starts a run and returns when it has served, paused or ended. Never throws for a run that fails: look at its state. */
export async function runPlan(lab: Lab, mode: string, ...flags: readonly string[]): Promise<ShownRun> {
  const { stdout, stderr } = await lab.holdfast(['plan', 'run', PLAN, '--mode', mode, ...flags, '--json']);
  const line = stdout.split('\n').find((text) => text.startsWith('{"id"'));
  if (line === undefined) throw new Error(`the run did not start: ${stdout}${stderr}`);
  return JSON.parse(line) as ShownRun;
}

/** Newest first, without preparations that no failover adopted. */
export async function runs(lab: Lab): Promise<readonly ShownRun[]> {
  return (await everyRun(lab)).filter(({ ahead }) => !ahead);
}

/** What was begun while web-1 was only suspected, and no failover adopted (yet). Newest first. */
export async function preparations(lab: Lab): Promise<readonly ShownRun[]> {
  return (await everyRun(lab)).filter(({ ahead }) => ahead);
}

async function everyRun(lab: Lab): Promise<readonly ShownRun[]> {
  return (await lab.json<{ runs: readonly ShownRun[] }>('run', 'ls', PLAN)).runs;
}

/** Waits until the newest run is in one of these states. Throws with what it says of itself. */
export async function untilRun(
  lab: Lab,
  states: readonly string[],
  withinMs?: number,
  pollMs?: number,
): Promise<ShownRun> {
  let newest: ShownRun | undefined;
  const look = async (): Promise<string | undefined> => {
    [newest] = await runs(lab);
    if (newest === undefined) return 'there is none';
    return states.includes(newest.state) ? undefined : `${newest.mode} ${newest.state}`;
  };
  try {
    await eventually(`the newest run is ${states.join(' or ')}`, look, withinMs, pollMs);
  } catch (error) {
    if (newest === undefined) throw error;
    throw new Error(`${String(error)}: ${await whatItSays(lab, newest.id)}`, { cause: error });
  }
  return newest!;
}

/** A run with its steps. */
export async function showRun(lab: Lab, id: string): Promise<ShownRun & { readonly steps: readonly ShownStep[] }> {
  return await lab.json('run', 'show', id);
}

/** State, reason, and every step that is not well: for people. */
export async function whatItSays(lab: Lab, id: string): Promise<string> {
  const run = await showRun(lab, id);
  const steps = run.steps.map(({ id: step, state, message, output }) =>
    state === 'ok' ? `${step} ok` : `${step} ${state} ${message ?? ''} ${output ?? ''}`.trim(),
  );
  return `${run.mode} ${run.state} ${run.reason ?? ''}: ${steps.join('; ')}`;
}
