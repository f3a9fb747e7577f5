// Runs the command line inside the test's process and catches what it prints.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { run } from '../cli.ts';
import { writeContextFile, type Context } from '../session/context-file.ts';
import type { Environment } from '../session/environment.ts';
import { testCaPem } from './certificate.ts';

export interface CliRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly address: string;
  readonly input?: string;
  /** Whether standard input is a terminal. */
  readonly inputTerminal?: boolean;
  readonly context?: Partial<Context>;
  /** Whether standard error is a terminal, 80 characters wide. */
  readonly terminal?: boolean;
  /** Whether standard output is one, of the same width. */
  readonly outputTerminal?: boolean;
  readonly nowMs?: number;
  /** Instead of `nowMs`. */
  readonly now?: () => number;
  /** Given a function that acts as a SIGINT. */
  readonly onStart?: (interrupt: () => void) => void;
  /** Instead of a fresh one, logged in to `address`. */
  readonly contextFile?: string;
}

export const TEST_TOKEN = 'hfo_test';

export async function runCli(args: readonly string[], options: CliOptions): Promise<CliRun> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-cli-'));
  const contextFile = options.contextFile ?? join(directory, 'context.json');
  if (options.contextFile === undefined) {
    const context = {
      address: options.address,
      ca: testCaPem,
      operator: 'erika',
      token: TEST_TOKEN,
      expiresAtMs: 0,
      domain: '',
    };
    writeContextFile(contextFile, { current: 'test', contexts: { test: { ...context, ...options.context } } });
  }
  const out = sink();
  const err = sink();
  const handlers = new Set<() => void>();
  const environment: Environment = {
    stdin: Readable.from([options.input ?? '']),
    stdout: out.stream,
    stderr: err.stream,
    stdinIsTerminal: options.inputTerminal === true,
    stdoutIsTerminal: options.outputTerminal === true,
    stderrIsTerminal: options.terminal === true,
    columns: () => 80,
    rows: () => 24,
    contextFile,
    address: undefined,
    caFile: undefined,
    tokenFile: undefined,
    user: 'erika',
    resolvePath: (path) => resolve(directory, path),
    now: options.now ?? (() => options.nowMs ?? Date.now()),
    onInterrupt: (handler) => {
      handlers.add(handler);
      return () => void handlers.delete(handler);
    },
  };
  options.onStart?.(() => {
    for (const handler of handlers) handler();
  });
  try {
    const code = await run(args, environment);
    return { code, stdout: out.text(), stderr: err.text() };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function sink(): { stream: Writable; text: () => string } {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  return { stream, text: () => Buffer.concat(chunks).toString('utf8') };
}
