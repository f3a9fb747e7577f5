// The look for each kind of target. What it needs is loaded with the first of its kind.

import type { Look, LookTarget } from './look-target.ts';

export async function look(target: LookTarget, signal: AbortSignal): Promise<Look> {
  if (target.kind === 'http') return (await import('./http-look.ts')).lookAtUrl(target, signal);
  if (target.kind === 'tcp') return (await import('./tcp-look.ts')).lookAtPort(target, signal);
  return (await import('./sql-look.ts')).lookAtDatabase(target, signal);
}
