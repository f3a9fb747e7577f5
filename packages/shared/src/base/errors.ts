// Errors: one class, one union of codes, one table that says what each means to gRPC, to a retry and to a shell.
//
// A message says what happened and to what; the hint says what to do next. Neither ever carries a secret.

/** What the table holds for each code. `status` is the gRPC status number (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). */
export interface ErrorMeaning {
  readonly status: number;
  /** Whether the same call may go through later without anybody changing anything. */
  readonly retry: boolean;
  /** Exit code of the command line. */
  readonly exit: number;
}

const meanings = {
  USAGE: { status: 3, retry: false, exit: 2 },
  INVALID_ARGUMENT: { status: 3, retry: false, exit: 2 },
  NOT_FOUND: { status: 5, retry: false, exit: 10 },
  ALREADY_EXISTS: { status: 6, retry: false, exit: 1 },
  BUSY: { status: 9, retry: false, exit: 11 },
  FAILED_PRECONDITION: { status: 9, retry: false, exit: 1 },
  UNAUTHENTICATED: { status: 16, retry: false, exit: 12 },
  NOT_ALLOWED: { status: 7, retry: false, exit: 12 },
  UNREACHABLE: { status: 14, retry: true, exit: 13 },
  TIMED_OUT: { status: 4, retry: true, exit: 1 },
  CANCELLED: { status: 1, retry: false, exit: 1 },
  LIMIT_EXCEEDED: { status: 8, retry: false, exit: 1 },
  STORAGE_FULL: { status: 8, retry: true, exit: 1 },
  STORAGE_FAILED: { status: 14, retry: true, exit: 1 },
  SESSION_ENDED: { status: 10, retry: false, exit: 1 },
  UNSUPPORTED_VERSION: { status: 12, retry: false, exit: 1 },
  /** Stored bytes are damaged or missing. */
  DAMAGED: { status: 15, retry: false, exit: 1 },
  /** The other side sent what no correct peer sends. */
  PROTOCOL_VIOLATION: { status: 3, retry: false, exit: 1 },
  /** A path would leave the place that it must stay in. */
  PATH_ESCAPES: { status: 3, retry: false, exit: 1 },
  SYSTEM_CALL_FAILED: { status: 13, retry: false, exit: 1 },
  INTERNAL: { status: 13, retry: false, exit: 1 },
} as const satisfies Record<string, ErrorMeaning>;

export type ErrorCode = keyof typeof meanings;

export type ErrorDetails = Readonly<Record<string, string | number | boolean>>;

export class HoldfastError extends Error {
  readonly code: ErrorCode;
  /** What to do next, one sentence; empty when there is nothing to say. */
  readonly hint: string;
  readonly details: ErrorDetails;

  constructor(
    code: ErrorCode,
    message: string,
    options: { hint?: string; details?: ErrorDetails; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'HoldfastError';
    this.code = code;
    this.hint = options.hint ?? '';
    this.details = options.details ?? {};
  }
}

export function meaningOf(code: ErrorCode): ErrorMeaning {
  return meanings[code];
}

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(meanings, text);
}

/**
 * Any thrown value as a HoldfastError, with the original as its cause: STORAGE_FULL for Node's own error of a full disk (a state
 * directory, say), otherwise INTERNAL.
 */
export function toHoldfastError(thrown: unknown): HoldfastError {
  if (thrown instanceof HoldfastError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  if (thrown instanceof Error && 'code' in thrown && (thrown.code === 'ENOSPC' || thrown.code === 'EDQUOT')) {
    const where = 'path' in thrown && typeof thrown.path === 'string' ? ` for ${thrown.path}` : '';
    return new HoldfastError('STORAGE_FULL', `there is no room${where} on this machine (${thrown.code})`, {
      hint: 'Free space where the program keeps its state, and try again.',
      cause: thrown,
    });
  }
  return new HoldfastError('INTERNAL', message, { cause: thrown });
}
