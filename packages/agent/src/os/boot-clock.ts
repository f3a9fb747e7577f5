// Milliseconds since this machine booted, suspensions included (CLOCK_BOOTTIME): what leases run on.
//
// Hazard: the usual monotonic clock stands still while a machine is suspended, and a lease that ran out meanwhile would look alive.

import koffi from 'koffi';
import { HoldfastError } from '@holdfast/shared/base/errors';

const CLOCK_BOOTTIME = 7;
const clockGettime: (clock: number, result: Buffer) => number = koffi
  .load(null)
  .func('clock_gettime', 'int', ['int', 'void *']);
const result = Buffer.alloc(16);

export function bootClockMs(): number {
  if (clockGettime(CLOCK_BOOTTIME, result) !== 0) {
    throw new HoldfastError('SYSTEM_CALL_FAILED', 'this system has no clock that counts from its boot');
  }
  return Number(result.readBigInt64LE(0)) * 1000 + Number(result.readBigInt64LE(8)) / 1e6;
}
