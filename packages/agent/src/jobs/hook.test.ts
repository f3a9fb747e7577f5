import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { eventually } from '../testing/eventually.ts';
import { runHook } from './hook.ts';
import { OUTPUT_KEPT_BYTES, OutputTail, type ProgramResult } from './program.ts';

describe('hook', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-hook-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  const script = (text: string, mode = 0o755): string => {
    const path = join(dir, 'hook');
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, mode);
    return path;
  };
  const run = (
    command: readonly string[],
    options: { timeoutMs?: number; signal?: AbortSignal; environment?: Record<string, string> } = {},
  ): Promise<ProgramResult> => {
    const { timeoutMs = 10_000, signal = new AbortController().signal, environment = {} } = options;
    return runHook({ command, timeoutMs, environment }, systemClock, signal, 300);
  };
  const alive = (pid: number): boolean => {
    try {
      // A zombie whose parent is elsewhere still has its number; its state tells.
      return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return false;
    }
  };

  it('H4 runs without a shell, with its own environment alone', async () => {
    const result = await run([script('echo "$1"; env | cut -d= -f1 | sort | tr "\\n" " "'), '$HOME; rm -rf /'], {
      environment: { HOLDFAST_RESULT: 'done' },
    });
    expect(result.ok).to.equal(true);
    expect(result.output).to.contain('$HOME; rm -rf /');
    expect(result.output.split('\n')[1]?.trim().split(' ')).to.have.members(['HOLDFAST_RESULT', 'LANG', 'PATH', 'PWD']);
  });

  it('says how a hook failed', async () => {
    const failed = await run([script('echo no space >&2; exit 7')]);
    expect(failed).to.deep.include({ ok: false, output: 'no space\n' });
    expect(failed.problem).to.contain('exit code 7');
    expect((await run([script('kill -9 $$')])).problem).to.contain('SIGKILL');
  });

  it('H1 runs nothing that is relative, missing, not executable, a directory, or open to everybody', async () => {
    const path = script('echo ran', 0o644);
    for (const program of ['hook', './hook', join(dir, 'none'), path, dir]) {
      const result = await run([program]);
      expect(result.ok, program).to.equal(false);
      expect(result.output).to.equal('');
    }
    chmodSync(path, 0o777);
    expect((await run([path])).problem).to.contain('changed by everybody');
  });

  it('H2 ends the whole group at the time-out, also who ignores SIGTERM', async () => {
    const pids = join(dir, 'pids');
    const path = script(
      `trap "" TERM; (trap "" TERM; echo \${$}; exec sleep 60) & echo $! >${pids}; echo $$ >>${pids}; while :; do sleep 0.1; done`,
    );
    const result = await run([path], { timeoutMs: 500 });
    expect(result.problem).to.contain('was ended after');
    const ids = readFileSync(pids, 'utf8').trim().split('\n').map(Number);
    expect(ids).to.have.length(2);
    await eventually(() => ids.every((pid) => !alive(pid)));
  });

  it('H2 ends it when the job is cancelled', async () => {
    const abort = new AbortController();
    const running = run([script('echo started; exec sleep 60')], { signal: abort.signal });
    setTimeout(() => abort.abort(), 100);
    expect((await running).problem).to.contain('cancelled');
  });

  it('H3 holds only the end of a flood', async () => {
    const result = await run([script('yes flood | head -c 20000000; echo the end')]);
    expect(result.ok).to.equal(true);
    expect(result.output.length).to.be.lessThan(OUTPUT_KEPT_BYTES + 10);
    expect(result.output.endsWith('the end\n')).to.equal(true);
    const tail = new OutputTail(100);
    for (let i = 0; i < 1000; i++) {
      tail.add(Buffer.alloc(37, i));
      expect(tail.heldBytes).to.be.lessThan(300);
    }
  });

  it('does not wait for a child that keeps the output open', async () => {
    const path = script(`sleep 5 & echo $! >${join(dir, 'pid')}`);
    expect((await run([path])).ok).to.equal(true);
    const child = Number(readFileSync(join(dir, 'pid'), 'utf8'));
    expect(alive(child)).to.equal(true);
    process.kill(child);
  });
});
