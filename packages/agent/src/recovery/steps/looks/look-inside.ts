// The same look from within a drill's sandbox: its network is not this process's, so a program of ours looks there.

import { fileURLToPath } from 'node:url';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import type { Sandbox } from '../../sandbox/sandbox.ts';
import { LOOK_MS, type Look, type LookTarget } from './look-target.ts';

const ANSWER_MAX_BYTES = 64 * 1024;

export async function lookInside(sandbox: Sandbox, target: LookTarget, signal: AbortSignal): Promise<Look> {
  const program = fileURLToPath(siblingModule(import.meta.url, './program/main'));
  let said = '';
  const command = [process.execPath, ...process.execArgv, program, JSON.stringify(target)];
  const onOutput = (chunk: Buffer): void => {
    if (said.length < ANSWER_MAX_BYTES) said += chunk.toString('utf8');
  };
  const { ok, problem, output } = await sandbox.run(
    { command, timeoutMs: LOOK_MS + 5000, environment: {}, onOutput },
    signal,
  );
  if (!ok)
    return { well: false, message: `nothing can be looked at in the sandbox: ${problem} ${output}`.trim(), facts: {} };
  const answer: Look = JSON.parse(said);
  return answer;
}
