// Opens the sandboxes of drills, keeps them to their time, and removes them so that nothing stays.
//
//   stateDir/drills/RUN.json     written before anything of it is made, removed when nothing of it is left
//   stateDir/drills/RUN/         layers: what was written inside · data: what was restored into it · root: where it is mounted
//
// Hazard: what a drill leaves on the standby. Mounts belong to the sandbox's own namespace and go with its last process; directories are found
// by their record when the agent that made them was killed.
//
// Invariants (sandboxes.test.ts): SB1 nothing inside reaches a listener outside, by network or by a socket in the file system; SB2 nothing
// that is written inside is seen outside, but below the sandbox's own directory; SB3 a process that was started inside, in the background or
// not, dies with it, and with the agent; SB4 after a removal, and after the start of an agent whose predecessor was killed, nothing is
// left, or what is left is said; SB5 a sandbox does not outlive its time; SB6 without namespaces there is none, and the refusal says why.

import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { fromText } from '@holdfast/shared/base/byte-string';
import type { Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import { replaceFileDurably } from '../../link/durable-file.ts';
import { RestoreTarget } from '../../restore/target/restore-target.ts';
import { initScript } from './init-script.ts';
import { mountsOf, placesToLayer } from './mount-plan.ts';
import { OpenSandbox } from './open-sandbox.ts';
import { runDirectories } from './run-directories.ts';
import type { Removal, Sandbox, Sandboxes, SandboxOrder } from './sandbox.ts';
import { missingForSandbox, refused, startSandboxProcess } from './sandbox-process.ts';
import { wallsOf } from './walls.ts';

export interface SandboxesDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** The agent's own directory; absolute, without links in it. */
  readonly stateDir: string;
}

export const SANDBOXES_MAX = 4;
const TTL_MAX_MS = 7 * 86_400_000;
const FOLDER = 'drills';
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Removes what an earlier agent left; resolves with what could not be removed, in words. Opens nothing. */
export async function removeLeftSandboxes({
  stateDir,
  log,
}: Pick<SandboxesDeps, 'stateDir' | 'log'>): Promise<string[]> {
  const folder = join(stateDir, FOLDER);
  if (!existsSync(folder)) return [];
  const names = new Set(readdirSync(folder).map((entry) => entry.replace(/\.json$/, '')));
  const left: string[] = [];
  for (const name of names) {
    // An interrupted write of a record; the next one removes it.
    if (!NAME.test(name)) continue;
    left.push(...(await removeDirectory(folder, name)));
    log.info('sandbox.left-over-removed', { sandbox: name, left: left.length });
  }
  return left;
}

export function newSandboxes(deps: SandboxesDeps): Sandboxes {
  return new OwnSandboxes(deps);
}

interface Held {
  readonly opening: Promise<OpenSandbox>;
  sandbox: OpenSandbox | undefined;
  readonly over: AbortController;
}

class OwnSandboxes implements Sandboxes {
  readonly #deps: SandboxesDeps;
  readonly #folder: string;
  readonly #held = new Map<string, Held>();

  constructor(deps: SandboxesDeps) {
    this.#deps = deps;
    this.#folder = join(deps.stateDir, FOLDER);
  }

  async open(order: SandboxOrder): Promise<Sandbox> {
    checkOrder(order);
    const known = this.#held.get(order.name);
    if (known !== undefined) return known.opening;
    const missing = missingForSandbox();
    if (missing !== undefined) throw refused(missing);
    if (this.#held.size >= SANDBOXES_MAX) {
      throw new HoldfastError('BUSY', `${SANDBOXES_MAX} sandboxes are open on this host already`, {
        hint: 'Wait for the end of a drill, or abort one.',
      });
    }
    const opening = this.#make(order);
    const held: Held = { opening, sandbox: undefined, over: new AbortController() };
    this.#held.set(order.name, held);
    try {
      held.sandbox = await opening;
    } catch (error) {
      this.#held.delete(order.name);
      await removeDirectory(this.#folder, order.name);
      throw error;
    }
    this.#endInTime(order, held);
    return held.sandbox;
  }

  get(name: string): Sandbox {
    const sandbox = this.#held.get(name)?.sandbox;
    if (sandbox !== undefined) return sandbox;
    throw new HoldfastError('NOT_FOUND', `this host has no sandbox of the run ${name}`, {
      hint: 'It ended with its time, or with the agent. Start the drill again.',
    });
  }

  async close(name: string): Promise<Removal> {
    if (!NAME.test(name)) throw new HoldfastError('INVALID_ARGUMENT', 'that is no name of a sandbox');
    const held = this.#held.get(name);
    const left: string[] = [];
    if (held !== undefined) {
      held.over.abort();
      const sandbox = held.sandbox ?? (await held.opening.catch(() => undefined));
      if (sandbox !== undefined && !(await sandbox.end()))
        left.push(`processes of it (above process ${sandbox.initPid})`);
    }
    if (left.length === 0) left.push(...(await removeDirectory(this.#folder, name)));
    // What is left can be closed again.
    if (left.length === 0) this.#held.delete(name);
    this.#deps.log.info('sandbox.removed', { sandbox: name, left: left.join('; ') });
    return { left };
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#held.keys()].map((name) => this.close(name)));
  }

  async #make(order: SandboxOrder): Promise<OpenSandbox> {
    const { stateDir, clock, log } = this.#deps;
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const record = { name: order.name, application: order.application, ttlMs: order.ttlMs, openedAtMs: clock.wallMs() };
    replaceFileDurably(this.#folder, `${order.name}.json`, Buffer.from(JSON.stringify(record)), randomUUID());
    const directory = join(this.#folder, order.name);
    rmSync(directory, { recursive: true, force: true });
    for (const part of ['layers', 'root', 'data']) mkdirSync(join(directory, part), { recursive: true, mode: 0o700 });
    const places = placesToLayer(mountsOf(readFileSync('/proc/self/mountinfo', 'latin1')), [stateDir]);
    const script = initScript({
      directory,
      places: places.filter(existsSync).map((path) => ({ path, directory: statSync(path).isDirectory() })),
      own: [stateDir],
      run: runDirectories(),
      addresses: order.addresses,
    });
    const process = await startSandboxProcess(script, clock);
    const breach = wallsOf(process.init.pid);
    if (breach.length > 0) {
      await process.end();
      throw refused(`it would not be closed: ${breach.join('; ')}`);
    }
    log.info('sandbox.opened', { sandbox: order.name, pid: process.init.pid });
    return new OpenSandbox(order.name, directory, process, clock);
  }

  /** SB5. */
  #endInTime(order: SandboxOrder, held: Held): void {
    this.#deps.clock.after(
      Math.min(order.ttlMs, TTL_MAX_MS),
      () => {
        if (this.#held.get(order.name) !== held || held.over.signal.aborted) return;
        this.#deps.log.warn('sandbox.time-is-over', { sandbox: order.name });
        void this.close(order.name).catch((error: unknown) =>
          this.#deps.log.error('sandbox.not-removed', { sandbox: order.name, error: toHoldfastError(error).message }),
        );
      },
      { background: true },
    );
  }
}

/** SB4: what of it could not be removed. */
async function removeDirectory(folder: string, name: string): Promise<string[]> {
  const directory = join(folder, name);
  const mounts = mountsOf(readFileSync('/proc/self/mountinfo', 'latin1')).filter(({ path }) =>
    path.startsWith(`${directory}/`),
  );
  if (mounts.length > 0) return mounts.map(({ path }) => `the mount ${path}`);
  try {
    await rm(directory, { recursive: true, force: true, maxRetries: 2 });
  } catch {
    removeWhatResists(folder, name);
  }
  if (existsSync(directory)) return [`the directory ${directory}`];
  rmSync(join(folder, `${name}.json`), { force: true });
  return [];
}

/** Files that a restore made immutable, and the like. */
function removeWhatResists(folder: string, name: string): void {
  const target = RestoreTarget.open(fromText(folder), { into: 'merge', onWarning: () => undefined });
  try {
    target.remove(fromText(name));
  } catch {
    // The caller looks whether it is there.
  } finally {
    target.close();
  }
}

/** From the wire: checked before it becomes a path or a word of a program (threats, rule 4). Throws INVALID_ARGUMENT. */
function checkOrder({ name, addresses, ttlMs }: SandboxOrder): void {
  if (!NAME.test(name)) throw new HoldfastError('INVALID_ARGUMENT', 'that is no name of a sandbox');
  if (!(ttlMs > 0)) throw new HoldfastError('INVALID_ARGUMENT', 'a sandbox needs an end');
  const wrong = addresses.find(
    (address) => !/^[0-9A-Fa-f.:]+(\/\d{1,3})?$/.test(address) || isIP(address.split('/')[0] ?? '') === 0,
  );
  if (wrong !== undefined) throw new HoldfastError('INVALID_ARGUMENT', `${JSON.stringify(wrong)} is no address`);
  if (addresses.length > 64) throw new HoldfastError('INVALID_ARGUMENT', 'a sandbox has at most 64 addresses');
}
