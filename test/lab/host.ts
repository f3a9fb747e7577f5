// One host of a lab: boots, dies, stops and goes on, and runs what it is told.
//
// Hazard: a host that dies politely. When a machine loses its power nothing is said to anybody, so its plug is pulled first, and then
// process 1 of its process namespace is killed: the kernel ends everything else in it at once, namespaces made within it as well.
//
// Tested in lab.test.ts.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { forget, gone, recordedProcess, spawnRecorded } from '../fleet/processes.ts';
import { ok, run, systemEnvironment, type CommandResult } from './command.ts';
import { onDisk } from './host-disk.ts';
import { BOOTED_FILE } from './init-script.ts';
import type { LabLayout } from './layout.ts';
import { machine, type Machine } from './machines.ts';
import { plugIn, pullPlug } from './network.ts';
import { pauseProcesses, resumeProcesses } from './pause.ts';

const BOOT_MS = 60_000;
const POLL_MS = 20;
const END_MS = 20_000;

export class Host {
  readonly name: string;
  readonly machine: Machine;
  readonly #layout: LabLayout;

  constructor(layout: LabLayout, name: string) {
    this.#layout = layout;
    this.machine = machine(name);
    this.name = name;
  }

  get address(): string {
    return this.machine.address;
  }

  get running(): boolean {
    return this.#init() !== undefined;
  }

  /** Where a file of the host is for everybody else, also while it is dead: below /srv, /opt, /var/log and other directories of its own. */
  file(path: string): string {
    return onDisk(this.#layout, this.name, path);
  }

  /** A directory of the running host with its servers' sockets, for a client out here. */
  socketDirectory(path: string): string {
    return `/proc/${this.#pid()}/root${path}`;
  }

  /** Boots the host and returns when its process 1 has gone through the boot list; does nothing when it runs. */
  async start(): Promise<void> {
    if (this.running) return;
    const { namespaceFile, initFile, logFile, runFile, dir } = this.#layout;
    await plugIn(this.#layout, this.machine);
    const apart = ['--mount', '--uts', '--ipc', '--pid', '--fork', '--kill-child', '/bin/bash', initFile(this.name)];
    spawnRecorded({
      command: '/usr/bin/nsenter',
      args: [`--net=${namespaceFile(this.name)}`, '/usr/bin/unshare', ...apart],
      env: systemEnvironment(),
      cwd: dir,
      logFile: logFile(this.name),
      runFile: runFile(this.name),
    });
    const until = performance.now() + BOOT_MS;
    while (!this.#booted()) {
      const ended = recordedProcess(runFile(this.name)) === undefined;
      if (ended || performance.now() > until) {
        const log = readFileSync(logFile(this.name), 'utf8').slice(-2000);
        throw new Error(`${this.name} did not boot. The end of ${logFile(this.name)}:\n${log}`);
      }
      await sleep(POLL_MS);
    }
  }

  /** As if its power failed. What is on its disk stays. */
  async kill(): Promise<void> {
    const record = recordedProcess(this.#layout.runFile(this.name));
    const init = this.#init();
    if (record === undefined || init === undefined) throw new Error(`${this.name} does not run`);
    await pullPlug(this.#layout, this.name);
    process.kill(init, 'SIGKILL');
    // Who waits for process 1 hears of its end when everything else in the namespace has ended.
    if (!(await gone(record, END_MS))) throw new Error(`${this.name} (process ${init}) does not end`);
    forget(this.#layout.runFile(this.name));
    await ok('ip', ['netns', 'del', this.#layout.namespace(this.name)]);
  }

  /** SIGSTOP to everything in it. */
  async pause(): Promise<void> {
    await pauseProcesses(this.#pid());
  }

  resume(): void {
    resumeProcesses(this.#pid());
  }

  /** Runs a program on the host, as root. Never throws for a program that fails. */
  async exec(words: readonly string[], input = ''): Promise<CommandResult> {
    return await run('nsenter', this.entering(words), input);
  }

  /** Standard output of a program that must succeed. */
  async ok(...words: readonly string[]): Promise<string> {
    return await ok('nsenter', this.entering(words));
  }

  /** start | stop | status of one of the host's units; whether it succeeded. */
  async unit(name: string, verb: 'start' | 'stop' | 'status'): Promise<boolean> {
    const { code, stderr, stdout } = await this.exec([`/etc/lab/units/${name}`, verb]);
    if (code !== 0 && verb !== 'status') throw new Error(`${this.name}: ${name} ${verb}: ${(stderr || stdout).trim()}`);
    return code === 0;
  }

  /** KILL, STOP or CONT to the unit's own process: what it started is not meant. */
  async signalUnit(name: string, signal: 'KILL' | 'STOP' | 'CONT'): Promise<void> {
    await this.ok('sh', '-c', `kill -${signal} "$(cat /run/${name}.pid)"`);
  }

  /** A program on the host with the caller's own input and output. Resolves with its exit code. */
  async attach(words: readonly string[]): Promise<number> {
    const child = spawn('nsenter', this.entering(words), { stdio: 'inherit', env: systemEnvironment() });
    return await new Promise((resolve, reject) =>
      child.once('error', reject).once('close', (code) => resolve(code ?? 137)),
    );
  }

  /** Words of nsenter that run a program on the host. */
  entering(words: readonly string[]): string[] {
    const init = this.#pid();
    return ['-t', String(init), '-m', '-u', '-i', '-n', '-p', '-r', '-w', '--', ...words];
  }

  #pid(): number {
    const init = this.#init();
    if (init === undefined) throw new Error(`${this.name} does not run`);
    return init;
  }

  /** Process 1 of the host, by its pid out here. */
  #init(): number | undefined {
    const record = recordedProcess(this.#layout.runFile(this.name));
    if (record === undefined) return undefined;
    try {
      const children = readFileSync(`/proc/${record.pid}/task/${record.pid}/children`, 'latin1').trim();
      return children === '' ? undefined : Number(children.split(' ')[0]);
    } catch {
      return undefined;
    }
  }

  #booted(): boolean {
    const init = this.#init();
    return init !== undefined && existsSync(`/proc/${init}/root${BOOTED_FILE}`);
  }
}
