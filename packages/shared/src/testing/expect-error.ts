// What a test asserts about a failure: the code that callers act on, not the wording.

import { expect } from 'chai';
import { HoldfastError, type ErrorCode } from '../base/errors.ts';

/** Runs `act`, which must throw a HoldfastError with one of `codes`; answers it. Any other error fails with its stack. */
export function expectError(act: () => unknown, ...codes: readonly ErrorCode[]): HoldfastError {
  let result: unknown;
  try {
    result = act();
  } catch (thrown) {
    if (!(thrown instanceof HoldfastError)) throw thrown;
    expect(codes, thrown.message).to.include(thrown.code);
    return thrown;
  }
  return expect.fail(`nothing was thrown, expected ${codes.join(' or ')}; got ${String(result)}`);
}

/** The same of a promise, which must be rejected. */
export async function expectRejection(
  promise: Promise<unknown>,
  ...codes: readonly ErrorCode[]
): Promise<HoldfastError> {
  const settled = await promise.then(
    (value) => ({ value }),
    (thrown: unknown) => ({ thrown }),
  );
  return expectError(
    () => {
      if ('thrown' in settled) throw settled.thrown;
      return settled.value;
    },
    ...codes,
  );
}
