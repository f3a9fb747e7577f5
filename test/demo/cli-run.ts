// Runs `holdfast … --json` for the demo, drawing its progress events as the live line that a user sees.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { ProgressLine } from '@holdfast/cli/jobs/progress-line';
import type { SummaryEvent } from '@holdfast/cli/jobs/summary';
import { builtPrograms } from '../fleet/built.ts';
import { layoutOf } from '../fleet/layout.ts';

/** Runs a job to its end. Throws with what the command said when it failed; warnings are no failure. */
export async function runJobCommand(dir: string, args: readonly string[]): Promise<SummaryEvent> {
  const { node, cli } = builtPrograms();
  const { contextFile, cacheDir } = layoutOf(dir);
  const env = { ...process.env, HOLDFAST_CONTEXT: contextFile, NODE_COMPILE_CACHE: cacheDir };
  const child = spawn(node, [cli, ...args, '--json'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const line = process.stderr.isTTY
    ? new ProgressLine(
        process.stderr,
        () => process.stderr.columns || 100,
        () => Date.now(),
      )
    : undefined;
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')));
  const closed = new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve));
  let summary: SummaryEvent | undefined;
  for await (const text of createInterface({ input: child.stdout })) {
    const event: unknown = JSON.parse(text);
    if (isEvent(event, 'progress')) line?.draw(progressOf(event));
    if (isEvent(event, 'summary')) summary = event as unknown as SummaryEvent;
  }
  line?.clear();
  const code = await closed;
  if (summary === undefined || (summary.result !== 'done' && summary.result !== 'warnings')) {
    const why = summary?.error === undefined ? said.trim() : `${summary.error.message} ${summary.error.hint}`.trim();
    throw new Error(`holdfast ${args.join(' ')} ended with ${code}: ${why}`);
  }
  return summary;
}

function isEvent(value: unknown, name: string): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && 'event' in value && value.event === name;
}

function progressOf(event: Readonly<Record<string, unknown>>): Parameters<ProgressLine['draw']>[0] {
  const count = (name: string): bigint => BigInt(Number(event[name] ?? 0));
  return {
    jobId: '',
    phase: String(event['phase']),
    filesDone: count('filesDone'),
    filesTotal: count('filesTotal'),
    bytesDone: count('bytesDone'),
    bytesTotal: count('bytesTotal'),
    bytesNew: count('bytesNew'),
    bytesStored: count('bytesStored'),
    currentPath: String(event['path']),
  };
}
