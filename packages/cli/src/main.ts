#!/usr/bin/env node
// `holdfast`, the operator's command line. This file alone reads argv and the environment.
//
// Start-up is part of the product: compiled code is cached, and everything but the version loads what it needs when it needs it.

import { enableCompileCache } from 'node:module';
import { homedir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import type { Environment } from './session/environment.ts';

// In a directory of the user's own: what somebody else could write to (Node's default is below /tmp), they could make this run.
enableCompileCache(
  process.env['NODE_COMPILE_CACHE'] || join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'holdfast'),
);

const FALLBACK_COLUMNS = 80;

function processEnvironment(): Environment {
  const { env, stdin, stdout, stderr } = process;
  const configHome = env['XDG_CONFIG_HOME'] || join(homedir(), '.config');
  return {
    stdin,
    stdout,
    stderr,
    stdinIsTerminal: stdin.isTTY,
    stdoutIsTerminal: stdout.isTTY,
    stderrIsTerminal: stderr.isTTY && env['TERM'] !== 'dumb',
    columns: () => stdout.columns || stderr.columns || FALLBACK_COLUMNS,
    rows: () => stdout.rows || 24,
    contextFile: env['HOLDFAST_CONTEXT'] || join(configHome, 'holdfast', 'context.json'),
    address: env['HOLDFAST_ADDRESS'] || undefined,
    caFile: env['HOLDFAST_CA'] || undefined,
    tokenFile: env['HOLDFAST_TOKEN_FILE'] || undefined,
    user: userName(),
    resolvePath: (path) => resolve(path),
    now: () => Date.now(),
    onInterrupt: (handler) => {
      process.on('SIGINT', handler);
      return () => process.off('SIGINT', handler);
    },
  };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return ''; // a uid without an entry in passwd
  }
}

// `holdfast snapshot ls | head` closes the pipe: that is the reader's decision, not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

const argv = process.argv.slice(2);
if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
  const { version } = await import('./version.ts');
  process.stdout.write(`${version()}\n`);
} else {
  const { run } = await import('./cli.ts');
  process.exitCode = await run(argv, processEnvironment());
}
