// Logs: one event name and its ids a line, JSON, at changes of state.
//
// Hazard: a secret in a log. Events carry ids and counts; fields whose names say that they are secret are masked anyhow.
// Text that comes from outside is a JSON string, so it can't make a line of its own.
//
// Tested in log.test.ts.

import type { Writable } from 'node:stream';

import winston from 'winston';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  error(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  debug(event: string, fields?: LogFields): void;
  /** The same log with these fields on every line. */
  with(fields: LogFields): Log;
  /** Returns when what was logged has been written out. */
  flush(): Promise<void>;
}

export interface LogOptions {
  readonly level?: LogLevel;
  /** Besides the stream. */
  readonly file?: string;
  /** Default: standard error. */
  readonly stream?: Writable;
  /** The program's name, on every line. */
  readonly program: string;
}

const SECRET_FIELD = /secret|password|token|authorization|private.?key/i;

export function openLog(options: LogOptions): Log {
  const transports: winston.transport[] = [new winston.transports.Stream({ stream: options.stream ?? process.stderr })];
  if (options.file !== undefined) transports.push(new winston.transports.File({ filename: options.file }));
  const logger = winston.createLogger({
    level: options.level ?? 'info',
    format: winston.format.combine(winston.format.timestamp(), winston.format.json()),
    transports,
  });
  return logWith(logger, { program: options.program });
}

/** For tests, and where nobody listens. */
export const silentLog: Log = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
  with: () => silentLog,
  flush: () => Promise.resolve(),
};

function logWith(logger: winston.Logger, bound: LogFields): Log {
  const write =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}): void => {
      logger.log(level, event, masked({ ...bound, ...fields }));
    };
  return {
    error: write('error'),
    warn: write('warn'),
    info: write('info'),
    debug: write('debug'),
    with: (fields) => logWith(logger, { ...bound, ...fields }),
    flush: () =>
      new Promise((resolve) => {
        logger.once('finish', () => resolve());
        logger.end();
      }),
  };
}

/** Fields as they go out: secrets masked, errors in words. winston's own names are left to winston. */
function masked(fields: LogFields): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    const field = name === 'message' || name === 'level' || name === 'timestamp' ? `${name}_` : name;
    if (SECRET_FIELD.test(name)) out[field] = '***';
    else out[field] = value instanceof Error ? describe(value) : value;
  }
  return out;
}

function describe(error: Error): Record<string, unknown> {
  const code: unknown = Reflect.get(error, 'code');
  return {
    error: error.message,
    ...(typeof code === 'string' ? { code } : {}),
    ...(error.cause instanceof Error ? { cause: error.cause.message } : {}),
    stack: error.stack?.split('\n').slice(1, 6).join(' | '),
  };
}
