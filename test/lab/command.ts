// Programs of the machine that the lab calls: ip, nft, nsenter.

import { execFile } from 'node:child_process';

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** As a shell words the end by SIGKILL. */
const KILLED = 137;

/** Never throws for a program that fails: look at `code`. */
export async function run(
  program: string,
  words: readonly string[],
  input = '',
  env: NodeJS.ProcessEnv = {},
): Promise<CommandResult> {
  return await new Promise((resolve, reject) => {
    const options = { maxBuffer: 1 << 28, env: { ...systemEnvironment(), ...env } };
    const child = execFile(program, words, options, (error, stdout, stderr) => {
      if (error !== null && typeof error.code === 'string') reject(error);
      else resolve({ code: error === null ? 0 : Number(error.code ?? KILLED), stdout, stderr });
    });
    child.stdin?.on('error', () => undefined); // it did not want to hear all of it
    child.stdin?.end(input);
  });
}

/** Standard output of a program that must succeed. */
export async function ok(program: string, words: readonly string[], input = ''): Promise<string> {
  const { code, stdout, stderr } = await run(program, words, input);
  if (code !== 0) throw new Error(`${program} ${words.join(' ')} ended with ${code}: ${(stderr || stdout).trim()}`);
  return stdout;
}

/** What a host's processes start with: nothing of the caller's shell. */
export function systemEnvironment(): NodeJS.ProcessEnv {
  const { TERM, TZ } = process.env;
  return { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LC_ALL: 'C', TERM, TZ };
}
