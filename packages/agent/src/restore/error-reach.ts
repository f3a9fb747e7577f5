// How far an error reaches: one entry, or the whole restore.

import type { ErrorCode, HoldfastError } from '@holdfast/shared/base/errors';
import { endsRestore } from './target/restore-target.ts';
import type { WarningCode } from './warnings.ts';

/** Errors of the connection, of the job, or of this program: no other entry would fare better. */
const REACH_ALL: ReadonlySet<ErrorCode> = new Set([
  'CANCELLED',
  'UNREACHABLE',
  'TIMED_OUT',
  'PROTOCOL_VIOLATION',
  'SESSION_ENDED',
  'NOT_ALLOWED',
  'UNAUTHENTICATED',
  'INTERNAL',
]);

export function endsWhole(error: HoldfastError): boolean {
  return REACH_ALL.has(error.code) || endsRestore(error);
}

/** The warning under which an entry's error is reported. */
export function warningCodeOf(error: HoldfastError): WarningCode {
  return error.code === 'DAMAGED' || error.code === 'UNSUPPORTED_VERSION' || error.code === 'LIMIT_EXCEEDED'
    ? 'damaged'
    : 'not-restored';
}
