// A page: it answers with 2xx or 3xx, and holds a text.
//
// Hazards: a server that accepts and says nothing (the look is bounded); a page without end (its first MiB is read); a redirect to a host
// that is well while this one is not (none is followed: that it answers is what counts).
//
// Tested in ../step-conformance.test.ts.

import type { Look, LookTarget } from './look-target.ts';
import { LOOK_MS } from './look-target.ts';

const PAGE_MAX_BYTES = 1024 * 1024;

export async function lookAtUrl({ url, contains }: LookTarget & { kind: 'http' }, signal: AbortSignal): Promise<Look> {
  const startedAt = performance.now();
  try {
    const answer = await fetch(url, {
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(LOOK_MS)]),
      // A connection that was kept would tell of the process that answered before.
      headers: { 'user-agent': 'holdfast', connection: 'close' },
    });
    const page = await readPage(answer);
    const facts = { status: String(answer.status), 'latency-ms': String(Math.round(performance.now() - startedAt)) };
    if (answer.status < 200 || answer.status >= 400)
      return { well: false, message: `${url} answers ${answer.status}`, facts };
    if (contains !== undefined && !page.includes(contains)) {
      return { well: false, message: `${url} answers ${answer.status}, without ${JSON.stringify(contains)}`, facts };
    }
    return { well: true, message: `${url} answers ${answer.status}`, facts };
  } catch (error) {
    return { well: false, message: `${url} does not answer: ${reasonOf(error)}`, facts: {} };
  }
}

async function readPage(answer: Response): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  if (answer.body === null) return '';
  for await (const chunk of answer.body) {
    const part = Buffer.from(chunk);
    parts.push(part);
    length += part.length;
    if (length >= PAGE_MAX_BYTES) break;
  }
  return Buffer.concat(parts).toString('utf8');
}

/** fetch hides what happened in the cause. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'an unknown failure';
  if (error.name === 'TimeoutError') return `nothing came within ${LOOK_MS / 1000} s`;
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  const code = 'code' in cause ? String(cause.code) : '';
  return cause.message === '' ? code : cause.message;
}
