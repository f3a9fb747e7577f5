// Services of this host: started, stopped and asked by the plan's commands, by the agent's settings, or by systemd; the first that knows
// the name.
//
// Hazards: a service that is reported as started while it is still dying at its own configuration; one that dies with the agent because it
// was its child. So a start is over when the status says that it runs, and programs run in a session of their own.
//
// Tested in step-conformance.test.ts (service.start, service.stop).

import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { ServiceCommands } from '@holdfast/shared/recovery/step-types';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import { runProgram, type ProgramResult } from '../../jobs/program.ts';
import type { Services } from '../contract.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { toolPath } from './tool-path.ts';
import { outputOf, runSupervised, type NotedProgram } from './supervised-program.ts';

export interface ServicesDeps {
  readonly clock: Clock;
  readonly stateDir: string;
  /** Of the agent's settings, by name. */
  readonly services: Readonly<Record<string, ServiceCommands>>;
  readonly planServices: Readonly<Record<string, ServiceCommands>>;
  /** Where they run; absent: on this host. Nothing of a sandbox is run by systemd. */
  readonly sandbox?: Sandbox | undefined;
  /** Absent: when the system runs it. */
  readonly systemd?: boolean;
  readonly bounds?: ServiceBounds;
  /** Of the step that starts and stops, before each of its programs. Absent: nobody asks later what became of them. */
  readonly noted?: () => NotedProgram;
}

export interface ServiceBounds {
  /** Of a start or stop command. */
  readonly commandMs: number;
  /** From a start command's end until the status says that it runs; the same for a stop. */
  readonly settleMs: number;
  readonly statusMs: number;
}

const BOUNDS: ServiceBounds = { commandMs: 120_000, settleMs: 30_000, statusMs: 10_000 };
const POLL_MS = 200;

export function newServices(deps: ServicesDeps): Services {
  return new HostServices(deps);
}

class HostServices implements Services {
  readonly #deps: ServicesDeps;
  readonly #bounds: ServiceBounds;

  constructor(deps: ServicesDeps) {
    this.#deps = deps;
    this.#bounds = deps.bounds ?? BOUNDS;
  }

  async runs(unit: string, signal: AbortSignal): Promise<boolean> {
    return this.#asked(await this.#commands(unit, signal), signal);
  }

  async start(unit: string, signal: AbortSignal): Promise<void> {
    const commands = await this.#commands(unit, signal);
    if (await this.#asked(commands, signal)) return;
    const said = await this.#change(unit, 'start', commands.start, signal);
    if (await this.#settles(commands, true, signal)) return;
    throw new HoldfastError('FAILED_PRECONDITION', `${unit} was started, but its status says that it does not run`, {
      hint: said === '' ? 'See its log.' : said,
    });
  }

  async stop(unit: string, signal: AbortSignal): Promise<void> {
    const commands = await this.#commands(unit, signal);
    if (!(await this.#asked(commands, signal))) return;
    const said = await this.#change(unit, 'stop', commands.stop, signal);
    if (await this.#settles(commands, false, signal)) return;
    throw new HoldfastError('FAILED_PRECONDITION', `${unit} was stopped, but its status says that it runs`, {
      hint: said,
    });
  }

  async #commands(unit: string, signal: AbortSignal): Promise<ServiceCommands> {
    const { planServices, services, sandbox } = this.#deps;
    const { systemd = existsSync('/run/systemd/system') && sandbox === undefined } = this.#deps;
    for (const known of [planServices, services]) {
      const commands = Object.hasOwn(known, unit) ? known[unit] : undefined;
      if (commands !== undefined) return commands;
    }
    if (systemd && (await this.#systemdKnows(unit, signal))) return systemdCommands(unit);
    const where = systemd
      ? 'the plan, the agent’s settings and systemd'
      : 'the plan and the agent’s settings (there is no systemd here)';
    throw new HoldfastError('NOT_FOUND', `there is no service ${JSON.stringify(unit)} in ${where}`, {
      hint: `Write it into /etc/holdfast/agent.yaml: services: {${unit}: {start: […], stop: […], status: […]}}`,
    });
  }

  async #systemdKnows(unit: string, signal: AbortSignal): Promise<boolean> {
    if (!/^[A-Za-z0-9@_.:\\-]{1,255}$/.test(unit) || unit.startsWith('-')) return false;
    const command = [toolPath('systemctl'), 'show', '--property=LoadState', '--value', '--', unit];
    const { ok, output } = await this.#look(command, signal);
    return ok && output.trim() === 'loaded';
  }

  async #asked(commands: ServiceCommands, signal: AbortSignal): Promise<boolean> {
    const { ok, problem } = await this.#look(commands.status, signal);
    // What can't be asked must not read as "does not run": it would be started a second time.
    if (!ok && !/exit code \d+$/.test(problem))
      throw new HoldfastError('FAILED_PRECONDITION', `its status can't be asked: ${problem}`);
    return ok;
  }

  #look(words: readonly string[], signal: AbortSignal): Promise<ProgramResult> {
    const run = { command: this.#where(words), timeoutMs: this.#bounds.statusMs, environment: {} };
    return runProgram(run, this.#deps.clock, signal);
  }

  #where(command: readonly string[]): readonly string[] {
    return this.#deps.sandbox?.wrap(command) ?? command;
  }

  /** What the command said. Throws FAILED_PRECONDITION with it. */
  async #change(
    unit: string,
    what: 'start' | 'stop',
    command: readonly string[],
    signal: AbortSignal,
  ): Promise<string> {
    if (this.#deps.noted !== undefined) return this.#supervise(unit, what, command, this.#deps.noted(), signal);
    const folder = join(this.#deps.stateDir, 'services');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const directory = join(folder, randomUUID());
    mkdirSync(directory, { mode: 0o700 });
    try {
      const unnoted = { base: join(directory, what), onReady: () => undefined };
      return await this.#supervise(unit, what, command, unnoted, signal);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }

  async #supervise(
    unit: string,
    what: 'start' | 'stop',
    command: readonly string[],
    { base, onReady }: NotedProgram,
    signal: AbortSignal,
  ): Promise<string> {
    const run = { command: this.#where(command), base, environment: {}, onReady };
    const ending = await runSupervised(run, this.#bounds.commandMs, this.#deps.clock, signal);
    const said = outputOf(base).toString('utf8').trim().slice(-2000);
    if (ending.kind === 'exited' && ending.code === 0) return said;
    const how = ending.kind === 'exited' ? `ended with exit code ${ending.code}` : 'did not come to its end';
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      `${what} of ${unit}: ${command[0]} ${how}${said === '' ? '' : `: ${said}`}`,
    );
  }

  async #settles(commands: ServiceCommands, wanted: boolean, signal: AbortSignal): Promise<boolean> {
    const { clock } = this.#deps;
    const until = clock.monotonicMs() + this.#bounds.settleMs;
    for (;;) {
      if ((await this.#asked(commands, signal)) === wanted) return true;
      if (clock.monotonicMs() >= until || signal.aborted) return false;
      await sleep(clock, POLL_MS, signal);
    }
  }
}

function systemdCommands(unit: string): ServiceCommands {
  const systemctl = toolPath('systemctl');
  return {
    start: [systemctl, 'start', '--', unit],
    stop: [systemctl, 'stop', '--', unit],
    status: [systemctl, 'is-active', '--quiet', '--', unit],
  };
}
