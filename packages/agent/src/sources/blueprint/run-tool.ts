// Programs of the host that a blueprint asks: read-only ones, with bounds on time and output. One that is not there answers nothing.

import { execFile } from 'node:child_process';

/** The program's standard output; undefined when it is not there, fails, or takes too long. */
export type RunTool = (command: readonly [string, ...string[]]) => Promise<string | undefined>;

const TIMEOUT_MS = 20_000;
const OUTPUT_MAX_BYTES = 16 * 1024 * 1024;
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

export function toolRunner(signal: AbortSignal): RunTool {
  return ([program, ...words]) =>
    new Promise((resolve) => {
      const options = {
        timeout: TIMEOUT_MS,
        killSignal: 'SIGKILL',
        maxBuffer: OUTPUT_MAX_BYTES,
        env: { PATH, LC_ALL: 'C' },
        signal,
      } as const;
      execFile(program, words, options, (error, stdout) => resolve(error === null ? stdout : undefined));
    });
}
