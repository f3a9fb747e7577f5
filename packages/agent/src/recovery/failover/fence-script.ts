// The plan's power-off script, run on the standby against the primary: once for each attempt, and what became of it is said again when asked.
//
// Hazard: a script that is run twice may power a machine on again, and one that hangs says nothing: only exit code 0 within the time confirms.
//
// Tested in agent-failover.test.ts.

import { execFile } from 'node:child_process';
import { refusedProgram } from '../../jobs/program.ts';

const SCRIPT_WITHIN_MS = 60_000;

export class FenceScript {
  readonly #log: (event: string, fields: Record<string, unknown>) => void;
  #attempt = 0;
  #outcome: Promise<boolean> = Promise.resolve(false);

  constructor(log: (event: string, fields: Record<string, unknown>) => void) {
    this.#log = log;
  }

  /** @param host the primary's name, the script's only argument */
  confirm(script: string, host: string, attempt: number): Promise<boolean> {
    if (attempt > this.#attempt) {
      this.#attempt = attempt;
      this.#outcome = this.#run(script, host);
    }
    return attempt === this.#attempt ? this.#outcome : Promise.resolve(false);
  }

  #run(script: string, host: string): Promise<boolean> {
    const refusal = script === '' ? 'the plan has no script' : refusedProgram(script);
    if (refusal !== undefined) {
      this.#log('failover.fence-script', { script, host, confirmed: false, why: refusal });
      return Promise.resolve(false);
    }
    return new Promise((resolve) => {
      const environment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
      execFile(script, [host], { timeout: SCRIPT_WITHIN_MS, killSignal: 'SIGKILL', env: environment }, (error) => {
        this.#log('failover.fence-script', { script, host, confirmed: error === null, why: error?.message ?? '' });
        resolve(error === null);
      });
    });
  }
}
