// One sandbox that is open: programs, and paths into it.
//
// Hazard: a link. A path of the sandbox is reached here through /proc/PID/root, and an absolute link met on that way would lead to this
// host's own files. So links are followed one by one, from the sandbox's root, and what is given away has none left.

import { lstatSync, mkdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Clock } from '@holdfast/shared/runtime/clock';
import { runProgram, type ProgramResult, type ProgramRun } from '../../jobs/program.ts';
import { DATA_INSIDE } from './init-script.ts';
import type { InsideOptions, Sandbox } from './sandbox.ts';
import { enter, inside, tool, type SandboxProcess } from './sandbox-process.ts';

const LINKS_MAX = 40;
const MOUNT_MS = 20_000;

export class OpenSandbox implements Sandbox {
  readonly name: string;
  readonly #directory: string;
  readonly #process: SandboxProcess;
  readonly #clock: Clock;
  /** Targets, as the sandbox resolves them, and the directory that was put there. */
  readonly #placed = new Map<string, Promise<string>>();

  constructor(name: string, directory: string, process: SandboxProcess, clock: Clock) {
    this.name = name;
    this.#directory = directory;
    this.#process = process;
    this.#clock = clock;
  }

  get initPid(): number {
    return this.#process.init.pid;
  }

  wrap(command: readonly string[], options?: InsideOptions): readonly string[] {
    return inside(this.#process.init, command, options);
  }

  async run(run: ProgramRun, signal: AbortSignal, options?: InsideOptions): Promise<ProgramResult> {
    return runProgram({ ...run, command: this.wrap(run.command, options) }, this.#clock, signal);
  }

  hostPath(path: string): string {
    return this.#root() + this.#resolve(path);
  }

  place(target: string): Promise<string> {
    const resolved = this.#resolve(target);
    if (resolved === '/') {
      throw new HoldfastError('INVALID_ARGUMENT', 'nothing takes the place of a sandbox’s whole file system');
    }
    const known = this.#placed.get(resolved);
    if (known !== undefined) return known;
    const placing = this.#place(resolved, this.#placed.size);
    this.#placed.set(resolved, placing);
    placing.catch(() => this.#placed.delete(resolved));
    return placing;
  }

  /** False when something of it can't be ended. */
  end(): Promise<boolean> {
    return this.#process.end();
  }

  async #place(target: string, number: number): Promise<string> {
    const own = join(this.#directory, 'data', String(number));
    mkdirSync(own, { recursive: true, mode: 0o755 });
    mkdirSync(this.#root() + target, { recursive: true, mode: 0o755 });
    const bind = [...enter(this.#process.init), tool('mount'), '--bind', `${DATA_INSIDE}/${number}`, target];
    const done = await runProgram(
      { command: bind, timeoutMs: MOUNT_MS, environment: {} },
      this.#clock,
      new AbortController().signal,
    );
    if (done.ok) return own;
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      `${target} can't be made in the sandbox: ${done.problem}: ${done.output}`,
    );
  }

  #root(): string {
    if (!this.#process.alive) throw new HoldfastError('FAILED_PRECONDITION', 'the sandbox of this drill has ended');
    return `/proc/${this.#process.init.pid}/root`;
  }

  /** As a program inside would find it: absolute, no links, missing directories made. */
  #resolve(path: string): string {
    if (!path.startsWith('/') || path.includes('\0')) {
      throw new HoldfastError('INVALID_ARGUMENT', `${JSON.stringify(path)} is not an absolute path`);
    }
    const root = this.#root();
    let at = '';
    let links = 0;
    const left = path.split('/').toReversed();
    while (left.length > 0) {
      const name = left.pop() ?? '';
      if (name === '' || name === '.') continue;
      if (name === '..') {
        at = at.slice(0, Math.max(0, at.lastIndexOf('/')));
        continue;
      }
      const stat = lstatSync(`${root}${at}/${name}`, { throwIfNoEntry: false });
      if (stat?.isSymbolicLink() === true) {
        if (++links > LINKS_MAX) throw new HoldfastError('FAILED_PRECONDITION', `${path} leads through too many links`);
        const to = readlinkSync(`${root}${at}/${name}`);
        if (to.startsWith('/')) at = '';
        left.push(...to.split('/').toReversed());
        continue;
      }
      if (stat === undefined && left.some((rest) => rest !== '')) mkdirSync(`${root}${at}/${name}`, { mode: 0o755 });
      at = `${at}/${name}`;
    }
    return at === '' ? '/' : at;
  }
}
