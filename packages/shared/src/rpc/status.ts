// HoldfastError ⇄ gRPC status. The status number says enough to any gRPC client; code, sentence and hint travel beside it
// in trailers, so that both ends of Holdfast see the same error.
//
// Hazards: an unexpected exception must not tell a stranger what the inside looks like (it becomes INTERNAL with one fixed
// sentence, and the whole of it goes to the log); a peer's trailers are a stranger's text, bounded and never trusted for
// more than words.
//
// Tested in controller/src/api/transport.test.ts.

import type { ServiceError } from '@grpc/grpc-js';
import {
  type CallContext,
  ClientError,
  type ClientMiddleware,
  Metadata,
  ServerError,
  type ServerMiddleware,
} from 'nice-grpc-common';

import { HoldfastError, isErrorCode, meaningOf, type ErrorCode } from '../base/errors.ts';

const CODE = 'holdfast-code';
const MESSAGE = 'holdfast-message-bin';
const HINT = 'holdfast-hint-bin';
/** Trailers share the header list's limit. */
const TEXT_MAX_BYTES = 2048;

/** What a stranger may know of an exception nobody expected. */
const INTERNAL_SENTENCE = 'the controller failed unexpectedly; its log says why';

/** Turns what a handler threw into a status, and writes the trailers. Throws a ServerError. */
export function errorsToStatus(unexpected: (error: unknown, path: string) => void): ServerMiddleware {
  return async function* toStatus(call, context) {
    try {
      return yield* call.next(call.request, context);
    } catch (error) {
      throw toServerError(error, context, (thrown) => unexpected(thrown, call.method.path));
    }
  };
}

function toServerError(error: unknown, context: CallContext, unexpected: (error: unknown) => void): unknown {
  if (isAbort(error) || error instanceof ServerError) return error;
  let known = error;
  if (!(known instanceof HoldfastError)) {
    unexpected(error);
    known = new HoldfastError('INTERNAL', INTERNAL_SENTENCE);
  }
  if (!(known instanceof HoldfastError)) return known;
  context.trailer.set(CODE, known.code);
  context.trailer.set(MESSAGE, encodeText(known.message));
  if (known.hint !== '') context.trailer.set(HINT, encodeText(known.hint));
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- the table holds gRPC's numbers without knowing gRPC
  return new ServerError(meaningOf(known.code).status, displayable(known.message));
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

function encodeText(text: string): Uint8Array {
  return Buffer.from(text, 'utf8').subarray(0, TEXT_MAX_BYTES);
}

/** grpc-message is percent-encoded on the wire, so its length counts threefold. */
function displayable(text: string): string {
  return text.slice(0, TEXT_MAX_BYTES / 4);
}

/** Turns what a call failed with into a HoldfastError. An abort by the caller itself stays an AbortError. */
export const statusToErrors: ClientMiddleware = async function* toErrors(call, options) {
  let trailer: Metadata | undefined;
  try {
    return yield* call.next(call.request, {
      ...options,
      onTrailer(received) {
        trailer = received;
        options.onTrailer?.(received);
      },
    });
  } catch (error) {
    throw fromClientError(error, trailer);
  }
};

function fromClientError(error: unknown, trailer: Metadata | undefined): unknown {
  if (!(error instanceof ClientError)) return error;
  return describeFailure(error, (name) => trailer?.get(name));
}

/** The same for a failed call of bare grpc-js. */
export function errorFromStatus(error: ServiceError): HoldfastError {
  return describeFailure(error, (name) => error.metadata?.get(name)[0]);
}

function describeFailure(
  error: Error & { readonly code: number; readonly details: string },
  trailer: (name: string) => string | Uint8Array | undefined,
): HoldfastError {
  const code = trailer(CODE);
  if (typeof code === 'string' && isErrorCode(code)) {
    return new HoldfastError(code, decodeText(trailer(MESSAGE)) || error.details, {
      hint: decodeText(trailer(HINT)),
      cause: error,
    });
  }
  const guess = codesOfStatus[error.code] ?? 'INTERNAL';
  const message =
    guess === 'UNREACHABLE' ? `the controller can't be reached: ${plainReason(error.details)}` : error.details;
  return new HoldfastError(guess, message, { cause: error });
}

/** grpc-js wraps the socket's error: "No connection established. Last error: Error: connect ECONNREFUSED HOST:PORT. Resolution note: ". */
function plainReason(details: string): string {
  const wrapped = /^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note: ?(.*)$/s.exec(
    details,
  );
  if (wrapped === null) return details;
  return [wrapped[1], wrapped[2]].filter((part) => part !== '').join('; ');
}

function decodeText(value: string | Uint8Array | undefined): string {
  return value instanceof Uint8Array ? Buffer.from(value).toString('utf8').slice(0, TEXT_MAX_BYTES) : '';
}

/** For statuses that the transport made, without our trailers. */
const codesOfStatus: Readonly<Record<number, ErrorCode>> = {
  1: 'CANCELLED',
  3: 'INVALID_ARGUMENT',
  4: 'TIMED_OUT',
  5: 'NOT_FOUND',
  6: 'ALREADY_EXISTS',
  7: 'NOT_ALLOWED',
  8: 'LIMIT_EXCEEDED',
  9: 'FAILED_PRECONDITION',
  10: 'SESSION_ENDED',
  12: 'UNSUPPORTED_VERSION',
  13: 'INTERNAL',
  14: 'UNREACHABLE',
  15: 'DAMAGED',
  16: 'UNAUTHENTICATED',
};
