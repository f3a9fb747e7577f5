// Whether a program may be run with the agent's rights, as a finding.

import type { Finding } from '../../jobs/job.ts';
import { refusedProgram } from '../../jobs/program.ts';

export function trustFinding(program: string): Finding {
  const refusal = refusedProgram(program);
  if (refusal === undefined) {
    return { level: 'ok', subject: 'run', message: `${program} can be run by the agent`, remedy: '' };
  }
  return {
    level: 'error',
    subject: 'run',
    message: refusal,
    remedy: `Give the absolute path of a program that only its owner may write: chmod 755 ${program}`,
  };
}
