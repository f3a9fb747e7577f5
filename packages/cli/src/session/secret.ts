// Passwords and tokens: asked for on the terminal without echo, or read from a file or standard input. Never from the arguments,
// which every user of the machine can read in the process list.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Environment } from './environment.ts';

export interface SecretOptions {
  readonly prompt: string;
  /** Wins over asking; as named on the command line. */
  readonly file?: string | undefined;
}

const SECRET_MAX_BYTES = 64 * 1024;

/** The secret without its line end. Throws USAGE when there is none. */
export async function readSecret(environment: Environment, options: SecretOptions): Promise<string> {
  const secret =
    options.file !== undefined
      ? readFileSync(environment.resolvePath(options.file), 'utf8')
      : environment.stdinIsTerminal
        ? await ask(environment, options.prompt)
        : await readAll(environment);
  const line = secret.split(/\r?\n/, 1)[0] ?? '';
  if (line === '')
    throw new HoldfastError('USAGE', 'there is no secret to read', { hint: 'Type it, pipe it in, or name a file.' });
  return line;
}

function ask(environment: Environment, prompt: string): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({ input: environment.stdin, output: silent, terminal: true });
  environment.stderr.write(prompt);
  return new Promise((resolve, reject) => {
    reader.question('', (answer) => (reader.close(), resolve(answer)));
    reader.once('SIGINT', () => reader.close());
    reader.once('close', () => {
      environment.stderr.write('\n');
      reject(new HoldfastError('CANCELLED', 'nothing was typed'));
    });
  });
}

async function readAll(environment: Environment): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of environment.stdin) {
    const bytes = Buffer.from(chunk);
    length += bytes.length;
    if (length > SECRET_MAX_BYTES) throw new HoldfastError('USAGE', 'standard input is too long to be a secret');
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}
