import { spawn } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { expectRejection } from '@holdfast/shared/testing/expect-error';
import { eventually } from '../../testing/eventually.ts';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { identityOf, isAlive, type ProcessIdentity } from './process-identity.ts';
import { adopt, outputOf, OUTPUT_KEPT_BYTES, runSupervised, type Ending } from './supervised-program.ts';

const never = new AbortController().signal;

describe('supervised program', () => {
  let dir: string;
  let base: string;
  let seen: ProcessIdentity | undefined;
  beforeEach(() => {
    dir = scratchDirectory();
    base = join(dir, 'step');
    seen = undefined;
  });
  afterEach(() => removeScratchDirectories());

  const script = (text: string): string => {
    const path = join(dir, 'program');
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
    return path;
  };
  const run = (
    command: readonly string[],
    options: { timeoutMs?: number; signal?: AbortSignal; environment?: Record<string, string> } = {},
  ): Promise<Ending> => {
    const { timeoutMs = 20_000, signal = never, environment = {} } = options;
    const onReady = (supervisor: ProcessIdentity): void => void (seen = supervisor);
    return runSupervised({ command, base, environment, onReady }, timeoutMs, systemClock, signal, 500);
  };
  const pidsIn = (name: string): number[] => readFileSync(join(dir, name), 'utf8').trim().split('\n').map(Number);

  it('U6 tells the exit code and what was said, and parses none of the words', async () => {
    const ending = await run([script('echo "$1|$2|$SECRET"; echo oops >&2; exit 7'), '$(touch x); `id`', '"'], {
      environment: { SECRET: '$HOME' },
    });
    expect(ending).to.deep.equal({ kind: 'exited', code: 7 });
    expect(outputOf(base).toString()).to.equal('$(touch x); `id`|"|$HOME\noops\n');
  });

  it('U1 starts nothing when the number could not be kept', async () => {
    const marker = join(dir, 'ran');
    const command = [script(`touch ${marker}`)];
    let supervisor: ProcessIdentity | undefined;
    const onReady = (process: ProcessIdentity): void => {
      supervisor = process;
      throw new HoldfastError('STORAGE_FULL', 'no room');
    };
    const refused = runSupervised({ command, base, environment: {}, onReady }, 1000, systemClock, never);
    await expectRejection(refused, 'STORAGE_FULL');
    await eventually(() => supervisor !== undefined && !isAlive(supervisor));
    expect(existsSync(marker)).to.equal(false);
  });

  it('U2 leaves no process of the group at the end of its time, also none that ignores SIGTERM', async () => {
    const text = `trap "" TERM; (trap "" TERM; exec sleep 60) & echo $! >${dir}/pids; echo $$ >>${dir}/pids; echo hangs; while :; do sleep 0.1; done`;
    expect(await run([script(text)], { timeoutMs: 400 })).to.deep.equal({ kind: 'interrupted', why: 'time' });
    const pids = pidsIn('pids');
    expect(pids).to.have.length(2);
    await eventually(() => pids.every((pid) => identityOf(pid) === undefined));
    expect(outputOf(base).toString()).to.equal('hangs\n');
  });

  it('U2 ends it when the job is cancelled, and keeps what it said last', async () => {
    const abort = new AbortController();
    const running = run([script(`echo started; touch ${dir}/up; exec sleep 60`)], { signal: abort.signal });
    await eventually(() => existsSync(join(dir, 'up')));
    abort.abort();
    expect(await running).to.deep.equal({ kind: 'interrupted', why: 'cancelled' });
    expect(isAlive(seen!)).to.equal(false);
    expect(outputOf(base).toString()).to.equal('started\n');
  });

  it('U3 a program goes on when its agent is killed, and the next one hears how it ended', async () => {
    const program = script(`echo begun; while [ ! -e ${dir}/go-on ]; do sleep 0.05; done; echo ended; exit 3`);
    const agent = spawn(
      process.execPath,
      ['--conditions=holdfast-source', join(import.meta.dirname, 'testing', 'supervising-agent.ts'), base, program],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let said = '';
    agent.stdout.on('data', (bytes: Buffer) => void (said += bytes.toString()));
    await eventually(() => said.includes('\n') && outputOf(base).toString() === 'begun\n');
    const supervisor: ProcessIdentity = JSON.parse(said);
    agent.kill('SIGKILL');
    await new Promise((resolve) => agent.once('exit', resolve));
    expect(isAlive(supervisor)).to.equal(true);
    const adopted = adopt(supervisor, base, 20_000, systemClock, never);
    writeFileSync(join(dir, 'go-on'), '');
    expect(await adopted).to.deep.equal({ kind: 'exited', code: 3 });
    await eventually(() => outputOf(base).toString() === 'begun\nended\n');
  });

  it('U3 ends an adopted program whose time is over, and tells one that vanished', async () => {
    const running = run([script('exec sleep 60')]);
    await eventually(() => seen !== undefined);
    expect(await adopt(seen!, base, 0, systemClock, never, 500)).to.deep.equal({ kind: 'interrupted', why: 'time' });
    expect(await running).to.deep.equal({ kind: 'vanished' });
    expect(await adopt(seen!, base, 1000, systemClock, never)).to.deep.equal({ kind: 'vanished' });
  });

  it('U4 keeps the first and the last of a flood', async () => {
    await run([script('echo the beginning; yes flood | head -c 20000000; echo the end')]);
    const output = outputOf(base);
    expect(output.length).to.be.at.most(OUTPUT_KEPT_BYTES);
    expect(output.toString().startsWith('the beginning\n')).to.equal(true);
    expect(output.toString().endsWith('the end\n')).to.equal(true);
  });

  it('U5 leaves a daemon running, which may go on writing', async () => {
    const text = `(while [ ! -e ${dir}/stop ]; do echo still here; sleep 0.02; echo x >>${dir}/beats; done) & echo $! >${dir}/pids`;
    expect(await run([script(text)])).to.deep.equal({ kind: 'exited', code: 0 });
    const [daemon = 0] = pidsIn('pids');
    const before = beats();
    await eventually(() => beats() > before + 3);
    expect(identityOf(daemon)).not.to.equal(undefined);
    writeFileSync(join(dir, 'stop'), '');
    await eventually(() => identityOf(daemon) === undefined && !isAlive(seen!));

    function beats(): number {
      return existsSync(join(dir, 'beats')) ? readFileSync(join(dir, 'beats')).length : 0;
    }
  });

  it('refuses a program that everybody may change', async () => {
    const program = script('true');
    chmodSync(program, 0o777);
    await expectRejection(run([program]), 'FAILED_PRECONDITION');
  });
});
